"""The faults that are put into SQL statements: an order, a condition or a limit that is wrong or missing.

Statements keep the number of their parameters. `INDEXED BY` is dropped in a mutant: otherwise SQLite would refuse
most of them, which would prove nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_COMPARED = {"<=": ("<", ">"), ">=": (">", "<"), "<": ("<=", ">="), ">": (">=", "<="), "=": ("<>",)}
_ASSIGNED = re.compile(r"^(    )(\w+) = (.+?)(,?)$")


def mutants(statement: str) -> Iterator[tuple[str, str]]:
    """Each fault of a statement: the operator, and the whole statement with it."""
    plain = re.sub(r" INDEXED BY \w+", "", statement)
    lines = plain.split("\n")
    seen = {plain}
    for operator, mutant in (*_of_lines(lines), *_of_tokens(plain)):
        if mutant not in seen:
            seen.add(mutant)
            yield operator, mutant


def _of_lines(lines: list[str]) -> Iterator[tuple[str, str]]:
    setting = False
    for n, line in enumerate(lines):

        def with_(*new: str, n: int = n) -> str:
            return "\n".join([*lines[:n], *new, *lines[n + 1 :]])

        word = line.strip().split(" ")[0]
        if word in ("UPDATE", "SET", "FROM", "WHERE", "INSERT", "SELECT", "RETURNING"):
            setting = word == "SET"
        found = _ASSIGNED.match(line) if setting else None
        if line.startswith("SET ") and line != "SET":
            found = re.match(r"(SET )(\w+) = (.+?)(,?)$", line)
        if found is not None:
            begin, name, value, comma = found.groups()
            yield "assignment dropped", with_(f"{begin}{name} = iif(1, {name}, {value}){comma}")
        before, ordered, terms = line.partition("ORDER BY ")
        if ordered and "LIMIT" not in terms and ")" not in terms:
            yield "ORDER BY dropped", with_(*([before.rstrip()] if before.strip() else []))
            yield from ((what, with_(f"{before}ORDER BY {other}")) for what, other in _orders(terms))
        if "WHERE " in line and "(" not in line.partition("WHERE ")[2] and "LIMIT" not in line:
            start, _, condition = line.partition("WHERE ")
            terms_ = condition.split(" AND ")
            for i, term in enumerate(terms_):
                rest = [*terms_[:i], _unheeded(term), *terms_[i + 1 :]]
                yield "condition dropped", with_(f"{start}WHERE {' AND '.join(rest)}")


def _unheeded(term: str) -> str:
    """A condition that is always true, with the same parameters."""
    return f"({term} OR 1)"


def _orders(terms: str) -> Iterator[tuple[str, str]]:
    parts = terms.split(", ")
    for i, part in enumerate(parts):
        turned = part.removesuffix(" DESC") if part.endswith(" DESC") else f"{part} DESC"
        yield "other end", ", ".join([*parts[:i], turned, *parts[i + 1 :]])
        if len(parts) > 1:
            yield "order term dropped", ", ".join(parts[:i] + parts[i + 1 :])
    if len(parts) > 1:
        yield "order terms swapped", ", ".join([parts[1], parts[0], *parts[2:]])


def _of_tokens(text: str) -> Iterator[tuple[str, str]]:
    for found in re.finditer(r" (<=|>=|<|>|=) ", text):
        sign = found[1]
        line = text[text.rfind("\n", 0, found.start()) + 1 : found.start()]
        if sign == "=" and ("WHERE" not in line and "AND" not in line and " ON " not in line):
            continue  # an assignment
        for other in _COMPARED[sign]:
            yield "comparison", f"{text[: found.start()]} {other} {text[found.end() :]}"
    for found in re.finditer(r"\bLIMIT (\?|\d+)(?!\s*\))", text):  # a subquery that is a value is its first row anyway
        yield "LIMIT dropped", f"{text[: found.start()]}LIMIT {found[1]} + 100000{text[found.end() :]}"
        yield "LIMIT off by one", f"{text[: found.start()]}LIMIT {found[1]} + 1{text[found.end() :]}"
    for found in re.finditer(r"(?<![\w.])(\d+)(?![\w.])", text):
        if not text[: found.start()].endswith("LIMIT "):
            yield "constant", f"{text[: found.start()]}{int(found[1]) + 1}{text[found.end() :]}"
    for one, other in (("max(", "min("), ("min(", "max("), (" + ", " - "), ("IS NULL", "IS NOT NULL"), ("DESC", "ASC")):
        for found in re.finditer(re.escape(one), text):
            yield (
                "other end" if "(" in one or one == "DESC" else "arithmetic",
                (f"{text[: found.start()]}{other}{text[found.end() :]}"),
            )
