"""The faults that are put into Python code: the classic ones, and those that queues are known for.

A site is a place in a syntax tree and what goes there instead. Messages of errors, annotations, docstrings and what
stands outside functions are left alone.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_CALCULATED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.Pow: ast.Mult,
}
_FUNCTIONS = {"min": "max", "max": "min", "any": "all", "all": "any"}
#: The other field that somebody may have meant.
_FIELDS = {
    "ticket": "seq",
    "seq": "ticket",
    "failures": "crashes",
    "crashes": "failures",
    "attempts": "failures",
    "expires_us": "finished_us",
    "started_at": "finished_at",
    "finished_at": "started_at",
    "error": "result",
}
_EVENTS = {"FAIL": "RETRY", "RETRY": "GIVE_BACK", "EXHAUST": "FAIL", "GIVE_BACK": "RETRY", "LEASE_LOST": "GIVE_BACK"}
_TWICE = frozenset({"_make_pending", "_push_ready", "settle", "promote", "_record"})
_DELETED = (ast.AugAssign, ast.Delete, ast.Raise, ast.Continue, ast.Break)
_SYMMETRIC = ("min", "max", "suppress")  # calls whose arguments may stand in any order
_SAFETY = frozenset({"strict", "errors", "encoding"})  # arguments that only matter where something else is wrong
_NOT_ENTERED = (ast.JoinedStr, ast.Raise, ast.Assert)


@dataclass(frozen=True, slots=True)
class Site:
    """One fault: where (in which function, at which line), what is written there and what is put instead."""

    function: str
    line: int
    operator: str
    before: str
    after: str
    holder: Any  # the list or node, and the index or field in it, that holds the part
    place: int | str
    new: ast.AST

    def put(self, new: Any) -> Any:
        """Put something there; returns what was there."""
        if isinstance(self.place, int):
            old, self.holder[self.place] = self.holder[self.place], new
        else:
            old = getattr(self.holder, self.place)
            setattr(self.holder, self.place, new)
        return old


def sites(tree: ast.Module, in_scope: Callable[[str], bool], left: Callable[[str], bool]) -> Iterator[Site]:
    """The faults of a module, in functions of whose qualified names `in_scope` is true.

    Simple statements and headers whose text is `left` have none.
    """
    for function, node in functions(tree.body, ""):
        if in_scope(function):
            yield from _of_block(function, node.body, left)


def functions(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions and methods with their qualified names; inner functions belong to the one they are in."""
    for node in body:
        if isinstance(node, ast.FunctionDef):
            yield f"{prefix}{node.name}", node
        elif isinstance(node, ast.ClassDef):
            yield from functions(node.body, f"{prefix}{node.name}.")


def _of_block(function: str, body: list[ast.stmt], left: Callable[[str], bool]) -> Iterator[Site]:
    for place, statement in enumerate(body):
        text = header(statement)
        if place == 0 and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # a docstring
        if not left(text):
            yield from _of_statement(function, body, place)
            yield from _of_expressions(function, statement)
        for name in ("body", "orelse", "finalbody"):
            inner = getattr(statement, name, None)
            if isinstance(inner, list) and inner and isinstance(inner[0], ast.stmt):
                yield from _of_block(function, inner, left)
        for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
            yield from _of_block(function, part.body, left)


def header(statement: ast.stmt) -> str:
    """The text of a statement without what it holds."""
    return ast.unparse(statement).partition("\n")[0]


def _site(function: str, operator: str, holder: Any, place: int | str, new: ast.AST) -> Site:
    old = holder[place] if isinstance(place, int) else getattr(holder, place)
    ast.copy_location(new, old)
    ast.fix_missing_locations(new)
    return Site(function, old.lineno, operator, _short(old), _short(new), holder, place, new)


def _short(node: ast.AST) -> str:
    return "; ".join(line.strip() for line in ast.unparse(node).splitlines())[:200]


# -- statements --------------------------------------------------------------------------------------------------------


def _of_statement(function: str, body: list[ast.stmt], place: int) -> Iterator[Site]:
    statement = body[place]

    def site(operator: str, new: ast.AST) -> Site:
        return _site(function, operator, body, place, new)

    call = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(call, ast.Call | ast.YieldFrom):
        yield site("statement deleted", ast.Pass())
    if isinstance(call, ast.Call):
        yield site("every third time not done", ast.If(_parsed("_third()"), [ast.Pass()], [statement]))
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name in _TWICE:
            yield site("done twice", ast.If(ast.Constant(True), [statement, statement], []))
    if isinstance(statement, _DELETED):
        yield site("exception swallowed" if isinstance(statement, ast.Raise) else "statement deleted", ast.Pass())
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Attribute | ast.Subscript):
        yield site("assignment deleted", ast.Pass())
    if isinstance(statement, ast.Break):
        yield site("continue for break", ast.Continue())
    if isinstance(statement, ast.Continue):
        yield site("break for continue", ast.Break())
    if isinstance(statement, ast.Return) and statement.value is not None and not _is_none(statement.value):
        yield site("returns None", ast.Return(ast.Constant(None)))
    if isinstance(statement, ast.If | ast.While) and not isinstance(statement.test, ast.Constant):
        for value in (True, False):
            if not (value and isinstance(statement, ast.While)):
                yield _site(function, f"if {value}", statement, "test", ast.Constant(value))


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and not node.value  # False is as good as None


def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


# -- expressions -------------------------------------------------------------------------------------------------------


def _of_expressions(function: str, statement: ast.stmt) -> Iterator[Site]:
    """The faults in the statement's own expressions, not in the statements that it holds."""
    for holder, place, node in _expressions(statement):
        for operator, new in _instead(node):
            yield _site(function, operator, holder, place, new)


def _expressions(node: ast.AST) -> Iterator[tuple[Any, int | str, ast.expr]]:
    if isinstance(node, _NOT_ENTERED):
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        if isinstance(value, list):
            for place, item in enumerate(value):
                if isinstance(item, ast.expr):
                    yield value, place, item
                if isinstance(item, ast.keyword) and item.arg in _SAFETY:
                    continue
                if isinstance(item, ast.expr | ast.keyword | ast.comprehension | ast.withitem):
                    yield from _expressions(item)
        elif isinstance(value, ast.expr):
            yield node, name, value
            yield from _expressions(value)


def _instead(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    match node:
        case ast.Compare(left=left, ops=[op], comparators=comparators):
            for other in _COMPARED.get(type(op), ()):
                yield "comparison", ast.Compare(left, [other()], comparators)
        case ast.Compare(left=left, ops=[first, second], comparators=comparators):
            for other in _COMPARED.get(type(first), ()):
                yield "comparison", ast.Compare(left, [other(), second], comparators)
            for other in _COMPARED.get(type(second), ()):
                yield "comparison", ast.Compare(left, [first, other()], comparators)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _CALCULATED:
            yield "arithmetic", ast.BinOp(left, _CALCULATED[type(op)](), right)
        case ast.BoolOp(op=op, values=values):
            yield "and/or", ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            for n in range(len(values)):
                rest = values[:n] + values[n + 1 :]
                yield "condition dropped", rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "not dropped", operand
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield "sign dropped", operand
        case ast.IfExp(body=body, orelse=orelse):
            yield "always the first", body
            yield "always the second", orelse
        case ast.Constant(value=bool(value)):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield "constant", ast.Constant(value + 1)
            if value > 1:
                yield "constant", ast.Constant(value - 1)
        case ast.Constant(value=float(value)):
            yield "constant", ast.Constant(value + 1)
        case ast.Attribute(value=ast.Name(id="Event") as event, attr=attr) if attr in _EVENTS:
            yield "another event", ast.Attribute(event, _EVENTS[attr], ast.Load())
        case ast.Attribute(value=value, attr=attr, ctx=ctx) if attr in _FIELDS:
            yield "wrong field", ast.Attribute(value, _FIELDS[attr], ctx)
        case ast.Call():
            yield from _calls(node)


def _calls(node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    args, keywords = node.args, node.keywords
    match node.func:
        case ast.Name(id="heappop"):
            yield "other end", ast.Call(ast.Name("_pop_last", ast.Load()), args, keywords)
        case ast.Name(id="sorted"):
            yield "other end", ast.Call(ast.Name("_backwards", ast.Load()), args, keywords)
        case ast.Name(id="reversed") if len(args) == 1:
            yield "other end", args[0]
        case ast.Name(id=name) if name in _FUNCTIONS:
            yield "other end", ast.Call(ast.Name(_FUNCTIONS[name], ast.Load()), args, keywords)
        case ast.Attribute(value=value, attr="append"):
            yield "other end", ast.Call(ast.Attribute(value, "insert", ast.Load()), [ast.Constant(0), *args], [])
        case ast.Attribute(value=value, attr="popleft"):
            yield "other end", ast.Call(ast.Attribute(value, "pop", ast.Load()), [], [])
        case ast.Attribute(value=value, attr="pop") if not args:
            yield "other end", ast.Call(ast.Attribute(value, "pop", ast.Load()), [ast.Constant(0)], [])
        case ast.Attribute(value=value, attr="appendleft"):
            yield "other end", ast.Call(ast.Attribute(value, "append", ast.Load()), args, [])
        case ast.Attribute(value=value, attr="sort"):
            backwards = ast.keyword("reverse", ast.Constant(True))
            yield "other end", ast.Call(node.func, args, [*keywords, backwards])
        case ast.Attribute(value=value, attr="copy") if not args and not keywords:
            yield "no copy", value
    for n, keyword in enumerate(keywords):
        if keyword.arg is not None and keyword.arg not in _SAFETY:
            yield "argument dropped", ast.Call(node.func, args, keywords[:n] + keywords[n + 1 :])
    name = getattr(node.func, "id", "") or getattr(node.func, "attr", "")
    for n in range(0 if name in _SYMMETRIC else len(args) - 1):
        alike = ast.dump(args[n]) == ast.dump(args[n + 1])
        if not alike and not any(isinstance(arg, ast.Starred) for arg in args[n : n + 2]):
            yield "arguments swapped", ast.Call(node.func, [*args[:n], args[n + 1], args[n], *args[n + 2 :]], keywords)
