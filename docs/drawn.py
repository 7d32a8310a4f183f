"""Draws the parts of ARCHITECTURE.md that are made from code: the state chart, the imports, promise -> tests.

`python docs/drawn.py` fails when the page and the code disagree; with `--update` it rewrites the page.
"""

import ast
import re
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

from orch.job import STATES, TRANSITIONS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "ARCHITECTURE.md"
CONTRACT = ROOT / "docs" / "contract.md"
TESTED = ("tests", "property_tests", "orch/testing")


def state_chart() -> str:
    """The life of a job as Mermaid text, from the transition table."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> PENDING: enqueue"]
    for state in STATES:
        arrows: dict[str, list[str]] = defaultdict(list)
        for event, after in TRANSITIONS[state].items():
            arrows[after.name].append(event.value)
        lines += [f"    {state.name} --> {after}: {', '.join(events)}" for after, events in arrows.items()]
    lines += ["    SUCCESS --> [*]: purge", "    FAILED --> [*]: purge", "```"]
    return "\n".join(lines)


@cache
def modules() -> dict[str, set[str]]:
    """Which modules of orch each module of orch imports, lazy imports too."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "orch").rglob("*.py")):
        name = module_name(path)
        imported: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                if node.module.split(".")[0] == "orch":
                    imported |= {resolve(f"{node.module}.{alias.name}", node.module) for alias in node.names}
            elif isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names if alias.name.split(".")[0] == "orch"}
        found[name] = imported - {name}
    return found


def module_name(path: Path) -> str:
    """The dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def resolve(longer: str, shorter: str) -> str:
    """The module that `from shorter import name` names: a module of that name, or `shorter` itself."""
    base = ROOT / Path(*longer.split("."))
    return longer if base.with_suffix(".py").exists() or (base / "__init__.py").exists() else shorter


def roles() -> str:
    """One line a module: its name and the first line of its docstring."""
    rows = ["| file | what it is |", "| --- | --- |"]
    for path in sorted((ROOT / "orch").rglob("*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text())) or ""
        first = doc.split("\n\n", maxsplit=1)[0].replace("\n", " ").replace("|", "\\|")
        rows.append(f"| `{path.relative_to(ROOT)}` | {first} |")
    return "\n".join(rows)


@cache
def promises() -> dict[str, str]:
    """Promise id -> its sentence, from docs/contract.md."""
    rows = re.findall(r"^\| ([QWSDL]\d+) ([^|]+?) \| (.+?) \|$", CONTRACT.read_text(), re.MULTILINE)
    return {number: title for number, title, _ in rows}


@cache
def marked() -> dict[str, dict[str, int]]:
    """Promise id -> file -> how many test functions carry its marker."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for folder in TESTED:
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text())
            module_ids = {
                number
                for node in tree.body
                if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "pytestmark" for t in node.targets)
                for number in ids_in(node.value)
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    inherited = {number for mark in node.decorator_list for number in ids_in(mark)}
                    tests = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test")]
                    for number in inherited:
                        found[number][str(path.relative_to(ROOT))] += len(tests)
                elif isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
                    own = {number for mark in node.decorator_list for number in ids_in(mark)}
                    for number in own | module_ids:
                        found[number][str(path.relative_to(ROOT))] += 1
    return found


def ids_in(mark: ast.expr) -> set[str]:
    """The ids in `pytest.mark.promise("Q1", ...)`, also within lists and parametrize."""
    return {
        arg.value
        for call in ast.walk(mark)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "promise"
        for arg in call.args
        if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
    }


def promise_table() -> str:
    """Promise -> the files whose tests hold it."""
    tests = marked()
    rows = ["| promise | tests |", "| --- | --- |"]
    for number, title in promises().items():
        cells = [f"`{file}`" for file in sorted(tests.get(number, {}))]
        rows.append(f"| **{number}** {title} | {' · '.join(cells)} |")
    return "\n".join(rows)


DRAWN = {"states": state_chart, "roles": roles, "promises": promise_table}


def drawn_page(text: str) -> str:
    """The page with every drawn part as the code has it now."""
    for name, draw in DRAWN.items():
        head, tail = f"<!-- drawn: {name} -->", "<!-- end -->"
        before, found, rest = text.partition(head)
        if not found:
            raise SystemExit(f"{PAGE.name} has no part '{head}'")
        text = f"{before}{head}\n{draw()}\n{tail}{rest.partition(tail)[2]}"
    return text


def main() -> int:
    """0 if the page agrees with the code, or was rewritten; 1 with a word of advice otherwise."""
    old = PAGE.read_text()
    new = drawn_page(old)
    if new == old:
        return 0
    if "--update" in sys.argv[1:]:
        PAGE.write_text(new)
        return 0
    print(f"{PAGE.name} is not what the code says: run `nox -s docs -- --update`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
