"""The laws of graphs and of DAG files (D1, D2, D7), each by an oracle of its own.

Which faults there are, in which order, at which line; the order of tasks; what is remembered of a file that changes.

The oracles look at every pair, or write the file themselves; they share no code with `orch.dag`. Functions raise
`Broken`.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import chdir, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from orch import dag
from orch.errors import CycleDetectedError, InvalidInput, ValidationError
from orch.testing.machines.world import Broken

shipped: Any = dag  # some of its imports are replaced here, which no type says
NAMES = ("a", "a__b", "c", "d", "a__", "e", "f", "g")
KNOWN = ("x", "y")  # workflows


class _Names:
    """Workflows that can only be asked for, one by one."""

    def __contains__(self, name: object) -> bool:
        return name in KNOWN


@dataclass(frozen=True, slots=True)
class Vertex:
    """A task as the oracle knows it."""

    name: str
    deps: tuple[str, ...] = ()
    workflow: str | None = "x"
    params: tuple[str, ...] = ()

    def task(self) -> dag.Task:
        """The same as the code under test takes it."""
        return dag.Task(self.name, str(self.workflow), dict.fromkeys(self.params, 1), depends_on=list(self.deps))


def drawn(seed: int, n: int, wild: int) -> list[Vertex]:
    """A graph of up to n tasks. `wild` 0: in order; 1: in any order; 2: cycles; 3: everything that can be wrong."""
    rng = random.Random(seed)
    faults = [fault for fault in ("dep", "workflow", "param", "twice") if wild == 3 and rng.random() < 0.5]
    if wild == 3 and rng.random() < 0.3:
        faults = [rng.choice(("dep", "workflow", "param", "twice"))]  # and nothing else
    names = list(NAMES[:n])
    if wild:
        rng.shuffle(names)
    order = list(names)
    if wild in (1, 3):
        rng.shuffle(order)
    if wild == 3 and rng.random() < 0.3:
        wild = 2
    vertices = []
    for at, name in enumerate(names):
        among = names if wild == 2 else order[: order.index(name)] if wild else names[:at]
        deps = [rng.choice(among) for _ in range(rng.randrange(3 if wild == 2 else 4))] if among else []
        workflow, params = "x", [*rng.choice(((), ("k",), ("_",), ("k", "l__m")))]
        if "dep" in faults:
            deps += rng.choice(([], [], ["ghost"], ["ghost", "spook", "ghost"]))
        if "workflow" in faults:
            workflow = rng.choice(("x", "x", "y", "nowhere"))
        if "param" in faults:
            params += rng.choice(([], [], ["a__k"], ["a__b__c", "c__"], ["__"], ["d__x", "q", "a__b__"]))
        vertices.append(Vertex(name, tuple(deps), workflow, tuple(params)))
    again = range(rng.randrange(3) if "twice" in faults else 0)
    return [*vertices, *(Vertex(rng.choice(names), (), rng.choice(("x", "nowhere"))) for _ in again)]


# -- graphs ------------------------------------------------------------------------------------------------------------


def faults_of(vertices: Sequence[Vertex], *, known: bool) -> list[tuple[int, str, tuple[str, ...]]]:
    """What is wrong, but for cycles, in the order of the contract: index, key, words of the message."""
    found: list[tuple[int, str, tuple[str, ...]]] = []
    names = [vertex.name for vertex in vertices]
    for at, name in enumerate(names):
        if name in names[:at]:
            words = (repr(name), f"task {names.index(name) + 1} and task {at + 1}", "Duplicate")
            found.append((at, "id", words))
    for at, vertex in enumerate(vertices):
        missing = [dep for dep in dict.fromkeys(vertex.deps) if dep not in names]
        found += [(at, "depends_on", (f"{vertex.name!r} depends on non-existent", repr(dep))) for dep in missing]
    for at, vertex in enumerate(vertices):
        for param in vertex.params:
            reserved = sorted((dep for dep in set(vertex.deps) if param.startswith(f"{dep}__")), key=len)
            if reserved:
                found.append((at, "params", (repr(vertex.name), repr(param), f"the output of {reserved[0]!r}")))
    for at, vertex in enumerate(vertices):
        if known and vertex.workflow is not None and vertex.workflow not in KNOWN:
            found.append((at, "workflow_ref", (f"Unknown workflow: {vertex.workflow}", f"in task {vertex.name!r}")))
    return found


def knots_of(vertices: Sequence[Vertex]) -> set[frozenset[str]]:
    """The sets of tasks that all lead to each other, by closing the relation (Warshall)."""
    names = list(dict.fromkeys(vertex.name for vertex in vertices))
    leads = {(vertex.name, dep) for vertex in vertices for dep in vertex.deps}
    for via in names:
        leads |= {(one, other) for one in names for other in names if (one, via) in leads and (via, other) in leads}
    return {
        frozenset(other for other in names if (one, other) in leads and (other, one) in leads)
        for one in names
        if (one, one) in leads
    }


def order_of(vertices: Sequence[Vertex]) -> list[str]:
    """First come, first served: whoever became ready earlier comes first, ties as declared."""
    at: dict[str, int] = {}
    while len(at) < len(vertices):
        ready = [
            (max((at[dep] for dep in vertex.deps), default=-1), number, vertex.name)
            for number, vertex in enumerate(vertices)
            if vertex.name not in at and all(dep in at for dep in vertex.deps)
        ]
        at[min(ready)[2]] = len(at)
    return list(at)


def graph(vertices: Sequence[Vertex], workflows: int) -> None:
    """A graph is judged as the oracles judge it; `workflows` 0: not asked for, 1 and 2: two kinds of containers."""
    made = shipped.DAG("d", [vertex.task() for vertex in vertices])
    known = (None, set(KNOWN), _Names())[workflows]
    twice = len({vertex.name for vertex in vertices}) < len(vertices)
    due = faults_of(vertices, known=known is not None)
    knots = knots_of(vertices)
    error: Exception | None = None
    order: list[dag.Task] = []
    for judge in (shipped.validate, shipped.toposort):
        again = error
        try:
            answer: Any = judge(made, known)
            order = answer or []
            error = None
        except (ValidationError, CycleDetectedError) as refused:
            error = refused
        if judge is shipped.toposort and str(again) != str(error):
            raise Broken(
                "D2", f"a graph is {error or 'sound'} when it is sorted, and {again or 'sound'} when it is not"
            )
    if error is None:
        if due or knots:
            raise Broken("D2", f"a graph is run though {due[0][2] if due else sorted(map(sorted, knots))} is wrong")
        if [task.id for task in order] != order_of(vertices):
            raise Broken("D1", f"tasks are in the order {[task.id for task in order]}, not {order_of(vertices)}")
        if sorted(map(id, order)) != sorted(map(id, made.tasks)):
            raise Broken("D1", "the sorted tasks are not those of the DAG")
        return
    if not due and not knots:
        raise Broken("D2", f"a sound graph was refused: {error}")
    kinds = {"workflow" if key == "workflow_ref" else "shape" for _, key, _ in due} | ({"cycle"} if knots else set())
    kind: type[Exception] = {"cycle": CycleDetectedError, "workflow": shipped.UnknownWorkflow}.get(
        "".join(kinds), ValidationError
    )
    if type(error) is not kind:
        raise Broken("D2", f"a graph with faults of {sorted(kinds)} was refused as {type(error).__name__}: {error}")
    told = str(error).split("; ")
    for (_, _, words), text in zip(due, told, strict=False):
        if not all(word in text for word in words):
            raise Broken("D2", f"expected was a fault of {words}, told was {text}")
    cycles = told[len(due) :]
    if len(told) < len(due) or (bool(cycles) != bool(knots) and not twice):
        raise Broken("D2", f"of {len(due)} faults and {len(knots)} knots {len(told)} faults were told: {error}")
    if not twice:
        _judge_cycles(vertices, knots, cycles)


def _judge_cycles(vertices: Sequence[Vertex], knots: set[frozenset[str]], cycles: Sequence[str]) -> None:
    deps = {vertex.name: vertex.deps for vertex in vertices}
    seen: set[str] = set()
    reached: set[frozenset[str]] = set()
    for text in cycles:
        head, _, path = text.partition("Cycle detected in DAG 'd': ")
        names = path.split(" -> ")
        real = all(later in deps.get(one, ()) for one, later in pairwise(names))
        if head or names[0] != names[-1] or not real or len(set(names)) != len(names) - 1:
            raise Broken("D2", f"told was of a cycle that there is not: {text}")
        if set(names) <= seen:
            raise Broken("D2", f"a cycle has no task that was not named before: {text}")
        seen |= set(names)
        reached |= {knot for knot in knots if names[0] in knot}
    if reached != knots:
        raise Broken("D2", f"nothing was told of the cycle among {min(map(sorted, knots - reached))}")


def _ring(names: Iterable[str]) -> list[Vertex]:
    ring = list(names)
    return [Vertex(name, (ring[(at + 1) % len(ring)],)) for at, name in enumerate(ring)]


def cycles() -> None:
    """Cycles are named in the words of the contract: the order of the search, long ones shortened, ten at most."""
    long = [f"t{n}" for n in range(26)]
    cases: list[tuple[list[Vertex], list[str]]] = [
        (_ring("abc"), ["a -> b -> c -> a"]),
        ([Vertex("z", ("a",)), *_ring("ab"), Vertex("y", ("z",))], ["a -> b -> a"]),
        ([*_ring("ab"), *_ring("cde"), *_ring("f")], ["a -> b -> a", "c -> d -> e -> c", "f -> f"]),
        (
            [Vertex("a", ("b", "c")), Vertex("b", ("a",)), Vertex("c", ("a",))],
            ["a -> b -> a", "a -> c -> a"],
        ),
        ([Vertex("a", ("b",)), Vertex("b", ("c",)), Vertex("c", ("b", "a"))], ["b -> c -> b", "a -> b -> c -> a"]),
        ([Vertex("a", ("b",)), Vertex("b", ("c", "a")), Vertex("c", ("a", "b"))], ["a -> b -> c -> a"]),
        (
            [Vertex("s", ("t", "u")), Vertex("t", ("v",)), Vertex("u", ("v", "u")), Vertex("v", ("t",))],
            ["t -> v -> t", "u -> u"],
        ),
        (_ring(long[:20]), [" -> ".join([*long[:20], "t0"]).replace(" -> ".join(long[10:16]), "... 6 more ...")]),
        (_ring(long[:19]), [" -> ".join([*long[:19], "t0"])]),
        (_ring(long), [" -> ".join([*long[:10], "... 12 more ...", *long[22:], "t0"])]),
        ([Vertex(name, (name,)) for name in long], [f"{name} -> {name}" for name in long[:10]]),
    ]
    for vertices, due in cases:
        try:
            shipped.validate(shipped.DAG("d", [vertex.task() for vertex in vertices]))
        except CycleDetectedError as error:
            told = [text.removeprefix("Cycle detected in DAG 'd': ") for text in str(error).split("; ")]
            if told != due:
                raise Broken("D2", f"the cycles {due} were told as {told}") from None
            continue
        raise Broken("D2", f"a graph with the cycles {due} was taken")
    layers = [Vertex(f"{name}{n}", (f"a{n + 1}", f"b{n + 1}")) for n in range(30) for name in "ab"]
    looped = [*layers, Vertex("a30", ("a30",)), Vertex("b30", ("b30",))]
    with suppress(CycleDetectedError):  # D6: there are as many ways through it as a hang takes
        shipped.validate(shipped.DAG("d", [vertex.task() for vertex in looped]))
    try:
        shipped.validate(shipped.DAG("d", []))
    except ValidationError:
        return
    raise Broken("D2", "a DAG without tasks was taken")


# -- values ------------------------------------------------------------------------------------------------------------

_LONG = "x" * 200
_BAD_TASKS: tuple[dict[str, Any], ...] = (
    {"id": ""},
    {"id": 5},
    {"id": f"{_LONG}x"},
    {"id": "a\nb"},
    {"workflow_ref": ""},
    {"workflow_ref": None},
    {"workflow_ref": f"{_LONG}x"},
    {"params": []},
    {"params": None},
    {"params": {1: 2}},
    {"params": {"x": {1}}},
    {"params": [("a", 1)]},
    {"retries": -1},
    {"retries": True},
    {"retries": "2"},
    {"depends_on": "a"},
    {"depends_on": None},
    {"depends_on": {"a"}},
    {"depends_on": ["a", ""]},
    {"depends_on": [5]},
    {"timeout_s": 0},
    {"timeout_s": -1},
    {"timeout_s": "1"},
)
_GOOD_TASKS: tuple[dict[str, Any], ...] = (
    {"id": _LONG, "workflow_ref": _LONG},
    {"retries": 0, "timeout_s": 0.001},
    {"retries": None, "timeout_s": None, "params": {}},
    {"depends_on": ("a", "b")},
    {"depends_on": []},
)


def values() -> None:
    """Tasks and DAGs refuse what they cannot be, and keep own copies of what they are given."""
    task = {"id": "t", "workflow_ref": "x"}
    good = shipped.Task("t", "x")
    bad_dags: tuple[dict[str, Any], ...] = (
        *({"name": ""}, {"name": 5}, {"name": f"{_LONG}x"}, {"tenant_id": ""}, {"tenant_id": f"{_LONG}x"}),
        *({"max_parallel": 0}, {"max_parallel": 1001}, {"max_parallel": "3"}, {"tasks": good}, {"tasks": {"t"}}),
        *({"tasks": [good, "t"]}, {"tasks": ["t"]}, {"tasks": None}),
    )
    for bad in _BAD_TASKS:
        _refused(partial(shipped.Task, **{**task, **bad}), f"a task with {bad}")
    for fields in bad_dags:
        _refused(partial(shipped.DAG, **{"name": "d", "tasks": [good], **fields}), f"a DAG with {fields}")
    for _ in range(3):
        for fields in _GOOD_TASKS:
            found = shipped.Task(**{**task, **fields})
            for name, value in fields.items():
                due = list(value) if isinstance(value, tuple) else value
                if getattr(found, name) != due or type(getattr(found, name)) is not type(due):
                    raise Broken("D2", f"a task with {name} {value!r} has {getattr(found, name)!r}")
        params, deps, tasks = {"k": [1]}, ["a"], [good]
        kept, made = shipped.Task("t", "x", params, depends_on=deps), shipped.DAG(_LONG, tasks, _LONG, 1000)
        params["k"].append(2)
        deps.append("b")
        tasks.clear()
        if (kept.params, kept.depends_on, made.tasks) != ({"k": [1]}, ["a"], [good]):
            raise Broken("D2", "a task or DAG changes with what it was made of")
        if (made.name, made.tenant_id, made.max_parallel) != (_LONG, _LONG, 1000):
            raise Broken("D2", "a DAG is not what it was made as")
        if (shipped.DAG("d", [good]).tenant_id, shipped.DAG("d", [good]).max_parallel) != ("local-dev", 3):
            raise Broken("D2", "a DAG has other defaults than the contract says")


def _refused(make: Callable[[], object], what: str) -> None:
    for _ in range(3):
        try:
            make()
        except InvalidInput as error:
            if not str(error):
                raise Broken("D2", f"{what} was refused without a word") from None
            continue
        raise Broken("D2", f"{what} was taken")


def payloads(seed: int) -> None:
    """Payloads are all kept under their names, or refused; names of params that are reserved are found."""
    rng = random.Random(seed)
    upstream = {
        name: {key: rng.random() for key in rng.sample(["b", "_b", "b__c", "c", "_"], rng.randrange(4))}
        for name in rng.sample(["a", "a_", "a__b", "b", "_b"], rng.randrange(1, 4))
    }
    due = [(f"{task}__{key}", value) for task, output in upstream.items() for key, value in output.items()]
    names = [name for name, _ in due]
    try:
        found = list(shipped.merge_payloads(upstream).items())
    except ValidationError as error:
        twice = [name for name in names if names.count(name) > 1]
        if not twice or repr(twice[0]) not in str(error):
            raise Broken("D3", f"payloads {names} were refused: {error}") from None
        return
    if found != due:
        raise Broken("D3", f"payloads {due} became {found}")
    _judge_names(["a__", "__a", "_", "a", "b__a__c", "a__b__c", "c__a__b__", "a____b", "b_", "k"], list(upstream))


def _judge_names(names: Sequence[str], deps: Sequence[str]) -> None:
    due = []
    for name in names:
        reserved = sorted((dep for dep in deps if name.startswith(f"{dep}__")), key=len)
        due += [(name, dep) for dep in reserved[:1]]
    found = shipped.payload_clashes(iter(names), iter(deps))
    if found != due:
        raise Broken("D3", f"with dependencies {list(deps)} the reserved names are {due}, found were {found}")


# -- files -------------------------------------------------------------------------------------------------------------

Option = tuple[str | None, str, Any]  # as it is written (None: not at all), the end of the key of its fault, the value

_OF_TASK: dict[str, tuple[Option, ...]] = {
    "workflow_ref": (
        ("x", "", "x"),
        ("y", "", "y"),
        ("'12'", "", "12"),
        (None, "workflow_ref", None),
        *((text, "workflow_ref", None) for text in ("5", "~", "''", "[x]", f"'{_LONG}x'")),
    ),
    "params": (
        (None, "", {}),
        ("{k: [1, {l: ~}]}", "", {"k": [1, {"l": None}]}),
        ("~", "", {}),
        ("{}", "", {}),
        *((text, "params", {}) for text in ("[1]", "5", "'{}'")),
    ),
    "retries": (
        (None, "", None),
        ("2", "", 2),
        ("0", "", 0),
        ("~", "", None),
        *((text, "retries", None) for text in ("-1", "'2'", "1.5", "true")),
    ),
    "timeout_s": (
        (None, "", None),
        ("1.5", "", 1.5),
        ("2", "", 2.0),
        ("~", "", None),
        *((text, "timeout_s", None) for text in ("0", "soon", "-1", "'1'")),
    ),
}
_OF_DAG: dict[str, tuple[Option, ...]] = {
    "name": (
        ("d", "", "d"),
        ("'no'", "", "no"),
        *((text, "name", None) for text in ("no", "5", "''", f"'{_LONG}x'")),
        (None, "name", None),
    ),
    "tenant_id": (
        (None, "", "local-dev"),
        ("acme", "", "acme"),
        ("~", "", "local-dev"),
        *((text, "tenant_id", None) for text in ("5", "''", f"'{_LONG}x'")),
    ),
    "max_parallel": (
        (None, "", 3),
        ("1", "", 1),
        ("1000", "", 1000),
        ("~", "", 3),
        *((text, "max_parallel", None) for text in ("0", "1001", "two", "-1")),
    ),
}


class _File:
    """A DAG file that is being written, with what is wrong with it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.faults: list[tuple[int, str]] = []

    def key(self, indent: str, where: str, name: str, option: Option, first: int) -> Any:
        """A line with a value; the fault of a key that is missing stands at line `first`."""
        text, fault, value = option
        if text is not None:
            self.lines.append(f"{indent}{name}: {text}")
        if fault:
            self.faults.append((len(self.lines) if text is not None else first, f"{where}{fault}"))
        return value


def written(seed: int, n: int, wrong: int) -> None:
    """A file of up to n tasks, each key at a line of its own, `wrong` sixteenths faulty, is read as it is meant."""
    rng = random.Random(seed)

    def pick(options: Sequence[Option]) -> Option:
        fine = [option for option in options if not option[1]]
        return rng.choice([option for option in options if option[1]] if rng.random() * 16 < wrong else fine)

    file = _File()
    of_dag = {name: file.key("", "", name, pick(options), 1) for name, options in _OF_DAG.items()}
    if not file.lines:
        file.lines.append("# nothing")
    nameless = [(1, "name")] if (1, "name") in file.faults and not file.lines[0].startswith("name:") else []
    file.lines.append("tasks:")
    drafts: list[Vertex] = []
    tasks: list[dag.Task] = []
    lines: list[dict[str, int]] = []
    complete = True
    for at in range(n):
        drafts.append(_one_task(file, rng, pick, at, wrong, lines, tasks, drafts[0].name if drafts else ""))
        complete = complete and bool(drafts[-1].name)
    for index, key, _ in faults_of(drafts, known=True):
        if key == "depends_on" and not complete:
            continue
        if key in lines[index]:
            file.faults.append((lines[index][key], f"tasks[{index}].{key}"))
    if nameless:  # the mapping begins at the first key
        first = next(number for number, line in enumerate(file.lines, 1) if not line.startswith("#"))
        file.faults = [(first, "name") if fault == (1, "name") else fault for fault in file.faults]
    text = "\n".join(file.lines) + "\n"
    found = shipped.find_faults(text, "f.yaml", workflows=set(KNOWN))
    told = sorted((fault.line, fault.key) for fault in found)
    if told != sorted(file.faults):
        raise Broken("D2", f"the faults of {text!r} are {sorted(file.faults)}, told were {told}")
    if [fault.line for fault in found] != sorted(fault.line for fault in found):
        raise Broken("D2", f"the faults of {text!r} are not told in the order of the lines")
    if any(fault.file != "f.yaml" or fault.column < 1 or not fault.message for fault in found):
        raise Broken("D2", f"a fault of {text!r} does not say where it is, or what: {found[0]}")
    _judge_reading(text, found, of_dag, tasks)


def _judge_reading(text: str, found: Sequence[dag.Fault], of_dag: Mapping[str, Any], tasks: list[dag.Task]) -> None:
    try:
        read = shipped.parse_dag(text, "f.yaml", workflows=set(KNOWN))
    except shipped.DagFileInvalid as error:
        if not found or list(error.faults) != list(found) or str(error) != "\n".join(map(str, found)):
            raise Broken("D2", f"{text!r} was refused with other faults than are found in it: {error}") from None
        return
    if found:
        raise Broken("D2", f"{text!r} was read though {found[0]}")
    if read != shipped.DAG(tasks=tasks, **of_dag):
        raise Broken("D2", f"{text!r} was read as {read}")


def _one_task(
    file: _File,
    rng: random.Random,
    pick: Callable[[Sequence[Option]], Option],
    at: int,
    wrong: int,
    lines: list[dict[str, int]],
    tasks: list[dag.Task],
    first_name: str,
) -> Vertex:
    """A task of a file: its lines, its faults but for those of the graph, and what can be read of it."""
    where, first = f"tasks[{at}].", len(file.lines) + 1
    names = [f"t{number}" for number in range(at)]
    faulty = rng.random() * 16 < wrong
    option: Option = (f"t{at}", "", f"t{at}")
    if faulty:
        option = rng.choice((("no", "id", "no"), ("12:30", "id", "12:30"), ("''", "id", ""), (None, "id", "")))
        if first_name == "t0" and rng.random() < 0.3:
            option = ("t0", "", "t0")  # once more; the graph says so
    begun = len(file.lines)
    if option[0] is None and not names:
        option = ("no", "id", "no")
    name = file.key("  ", where, "id", option, first)
    at_line: dict[str, int] = {}
    if option[0] is not None:
        at_line["id"] = len(file.lines)
    values: dict[str, Any] = {}
    for key, options in _OF_TASK.items():
        chosen = pick(options)
        if key == "workflow_ref" and not chosen[1] and rng.random() * 16 < wrong:
            chosen = ("nowhere", "", "nowhere")
        if key == "params" and not chosen[1] and names and rng.random() * 16 < wrong:
            chosen = ("{t0__k: 1}", "", {"t0__k": 1})
        values[key] = file.key("  ", where, key, chosen, first)
        if chosen[0] is not None:
            at_line[key] = len(file.lines)
    deps = _deps(file, rng, where, names, wrong, at_line)
    if rng.random() * 16 < wrong:
        file.lines.append("  retrys: 3")
        file.faults.append((len(file.lines), f"{where}retrys"))
    file.lines[begun] = "- " + file.lines[begun].removeprefix("  ")
    lines.append(at_line)
    if not option[1] and values["workflow_ref"] is not None:
        task = shipped.Task(
            name, values["workflow_ref"], values["params"], values["retries"], list(deps), values["timeout_s"]
        )
        tasks.append(task)
    return Vertex(name, tuple(deps), values["workflow_ref"], tuple(values["params"]))


def _deps(
    file: _File, rng: random.Random, where: str, names: Sequence[str], wrong: int, at_line: dict[str, int]
) -> list[str]:
    deps = [rng.choice(names) for _ in range(rng.randrange(3))] if names else []
    words = list(deps)
    at_line["depends_on"] = len(file.lines) + 1
    if rng.random() * 16 < wrong:
        which = rng.randrange(3)
        if which == 0:
            file.lines.append("  depends_on: t0")
            file.faults.append((len(file.lines), f"{where}depends_on"))
            return []
        if which == 1:
            deps.append("ghost")
            words.append("ghost")
        else:
            file.faults.append((len(file.lines) + 1, f"{where}depends_on[{len(words)}]"))
            words += [rng.choice(("7", "''", "~", "[a]")), *names[:1]]
            deps += names[:1]
    if words or rng.random() < 0.5:
        file.lines.append(f"  depends_on: [{', '.join(words)}]")
    elif rng.random() < 0.5:
        file.lines.append("  depends_on: ~")
    else:
        del at_line["depends_on"]
    return deps


_DOCUMENTS: tuple[tuple[str, list[tuple[int, str]]], ...] = (
    ("", [(1, "")]),
    ("- a", [(1, "")]),
    ("just text", [(1, "")]),
    ("name: d", [(1, "tasks")]),
    ("x: 1", [(1, "name"), (1, "tasks"), (1, "x")]),
    ("tasks: [{id: a, workflow_ref: x}]", [(1, "name")]),
    ("name: d\ntasks: []", [(2, "tasks")]),
    ("name: d\ntasks:", [(2, "tasks")]),
    ("name: d\ntasks: {a: b}", [(2, "tasks")]),
    ("name: d\ntasks:\n- a\n- {id: b, workflow_ref: x, depends_on: [q]}", [(3, "tasks[0]")]),
    ("name: d\nname: e\ntasks: [{id: a, workflow_ref: x}]", [(2, "name")]),
    ("name: no\ntasks:\n- {id: a, workflow_ref: x, depends_on: [a]}", [(1, "name"), (3, "tasks[0].depends_on")]),
    ("tasks:\n- {id: a, workflow_ref: x, depends_on: [a]}", [(1, "name"), (2, "tasks[0].depends_on")]),
    ("name: d\ntasks:\n- {id: 'no', workflow_ref: x}\n- {id: b, workflow_ref: x, depends_on: ['no']}", []),
    (
        "name: d\ntasks:\n- {id: a, workflow_ref: x, depends_on: [b]}\n- {id: b, workflow_ref: x, depends_on: [a]}",
        [(3, "tasks[0].depends_on")],
    ),
    (
        "name: d\ntasks:\n- {id: no, workflow_ref: x}\n- {id: b, workflow_ref: x, depends_on: ['no']}",
        [(3, "tasks[0].id")],
    ),
    ("name: d\ntasks:\n- {id: b, workflow_ref: x, depends_on: [a]}\n- {workflow_ref: x}", [(4, "tasks[1].id")]),
    ("name: d\ntasks:\n- {id: a}\n- {id: b, workflow_ref: x, depends_on: [a]}", [(3, "tasks[0].workflow_ref")]),
)


def documents() -> None:
    """Documents that are no DAG at all are told where."""
    for text, due in _DOCUMENTS:
        for data in (text, text.encode()):
            found = shipped.find_faults(data)
            if sorted((fault.line, fault.key) for fault in found) != sorted(due):
                raise Broken("D2", f"the faults of {text!r} are {due}, told were {list(map(str, found))}")
    looped = shipped.find_faults("name: no\ntasks:\n- {id: a, workflow_ref: x, depends_on: [a]}")
    if "'no': a -> a" not in looped[-1].message or looped[0].file != "<dag>":
        raise Broken("D2", f"a cycle of a DAG with a faulty name is told as {looped[-1]}")
    shared = "name: d\ntasks:\n- &t {id: a, workflow_ref: x, retries: 3, params: &p {k: 1}}\n- {<<: *t, id: b}\n"
    first, second = shipped.parse_dag(shared).tasks
    first.params["k"] = 2
    if second != shipped.Task("b", "x", {"k": 1}, 3):
        raise Broken("D2", f"a task that shares values with another was read as {second}")


def _text_of(name: str, more: str = "") -> str:
    params = json.dumps({"k": [1]})
    return (
        f"name: {name}\ntenant_id: acme\nmax_parallel: 2\ntasks:\n"
        f"- {{id: a, workflow_ref: x, params: {params}}}\n"
        f"- {{id: b, workflow_ref: y, depends_on: [a], retries: 2, timeout_s: 3{more}}}\n"
    )


def _due(name: str) -> dag.DAG:
    tasks = [shipped.Task("a", "x", {"k": [1]}), shipped.Task("b", "y", {}, 2, ["a"], 3.0)]
    return dag.DAG(name, tasks, "acme", 2)


def reload() -> None:
    """A file is read once while it does not change, as it is when it does, and never when it is gone."""
    parsed: list[str] = []
    real, clock = shipped.parse_dag, shipped.time
    later = SimpleNamespace(time_ns=lambda: 4_000_000_000_000_000_000)

    def counted(text: str | bytes, file: str = "<dag>", **more: Any) -> Any:
        parsed.append(file)
        return real(text, file, **more)

    def loads(path: str, name: str, times: int, workflows: Any = None) -> None:
        """It is read as this, for the so many-th time."""
        found = shipped.load_dag(path, root, workflows=workflows)
        if found != _due(name):
            raise Broken("D2", f"file {path} was read as {found}")
        if len(parsed) != times:
            raise Broken("D6", f"{len(parsed)} files were parsed for {path}, not {times}")
        found.tasks[0].params["k"].append(5)
        found.tasks[1].depends_on.clear()
        found.tasks.clear()

    kept = shipped._CACHED_MAX, shipped.SIZE_MAX  # noqa: SLF001 - fewer files to write, and smaller ones
    shipped._cache.clear()  # noqa: SLF001 - another run may have read a file of the same name
    shipped.parse_dag, shipped.time = counted, later  # stand-ins
    try:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder, "root")
            root.mkdir()
            file = root / "a.yaml"
            file.write_text(_text_of("one"))
            loads("a.yaml", "one", 1)
            loads("a.yaml", "one", 1)
            loads("a.yaml", "one", 1, {"x", "y"})
            _invalid(lambda: shipped.load_dag("a.yaml", root, workflows={"x"}), "a.yaml:6:", "Unknown workflow: y")
            _invalid(lambda: shipped.load_dag("a.yaml", root, workflows={"y"}), "a.yaml:5:", "Unknown workflow: x")
            del parsed[1:]
            file.write_text(_text_of("two"))
            loads("a.yaml", "two", 2)
            stamp = file.stat()
            (root / "new").write_text(_text_of("six"))
            os.utime(root / "new", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
            (root / "new").rename(file)
            loads("a.yaml", "six", 3)
            later.time_ns = lambda: stamp.st_mtime_ns + 1_000_000_000
            (root / "b.yaml").write_text(_text_of("ten"))
            for times in (4, 5):
                loads("b.yaml", "ten", times)
            os.utime(root / "b.yaml", ns=(0, 0))  # what was written just now may claim to be old
            changed = max((root / "b.yaml").stat().st_ctime_ns, (root / "b.yaml").stat().st_mtime_ns)
            for seconds in (1, 2):
                later.time_ns = lambda seconds=seconds: changed + seconds * 1_000_000_000
                loads("b.yaml", "ten", 5 + seconds)
            del parsed[-2:]
            later.time_ns = lambda: 4_000_000_000_000_000_000
            shipped._CACHED_MAX, shipped.SIZE_MAX = 2, 1000  # noqa: SLF001
            for name in "cde":
                (root / f"{name}.yaml").write_text(_text_of(name))
            for name, times in (("c", 6), ("a", 6), ("d", 7), ("d", 7), ("a", 8), ("c", 9), ("d", 10), ("a", 11)):
                loads(f"{name}.yaml", {"a": "six"}.get(name, name), times)
            for text, times in (("d2", 12), ("d33", 13)):
                (root / "d.yaml").write_text(_text_of(text))
                loads("d.yaml", text, times)
            loads("a.yaml", "six", 13)  # the one that changed took no other's place
            file.unlink()
            _raises(shipped.DagNotFound, lambda: shipped.load_dag("a.yaml", root), "a file that is gone")
            file.write_text("name: d\nx: 1\ntasks: [{id: a, workflow_ref: nowhere}]\n")
            _invalid(lambda: shipped.load_dag("a.yaml", root), "a.yaml:2:1 x")
            _invalid(lambda: shipped.load_dag("a.yaml", root, workflows={"x"}), "a.yaml:2:1 x", "a.yaml:3:", "nowhere")
            _paths(root)
    finally:
        shipped._CACHED_MAX, shipped.SIZE_MAX = kept  # noqa: SLF001
        shipped.parse_dag, shipped.time = real, clock
        shipped._cache.clear()  # noqa: SLF001


def _paths(root: Path) -> None:
    """Where a path leads, and which is none."""
    (root / "sub").mkdir()
    file = root / "sub" / "b.yaml"
    file.write_text(_text_of("b"))
    out = root.parent / "root-2.yaml"
    out.write_text(_text_of("out"))
    real = file.resolve()
    before = os.environ.get("ORCH_DAG_ROOT")
    try:
        os.environ["ORCH_DAG_ROOT"] = str(root)
        for given in (("sub/b.yaml",), (Path("sub/b.yaml"),), ("b.yaml", root / "sub"), (str(file), "/"), (file,)):
            if shipped.resolve_dag_path(*given) != real or shipped.load_dag(*given) != _due("b"):
                raise Broken("D7", f"the path {given} does not lead to {real}")
        _raises(ValidationError, lambda: shipped.load_dag("../root-2.yaml"), "a path out of the root")
        _raises(ValidationError, lambda: shipped.load_dag(str(out)), "a path beside the root that begins like it")
        del os.environ["ORCH_DAG_ROOT"]
        with chdir(root):
            if shipped.load_dag("sub/b.yaml") != _due("b"):
                raise Broken("D7", "the root is not the current folder")
            _raises(ValidationError, lambda: shipped.load_dag("../root-2.yaml"), "a path out of the current folder")
            _begins("sub/b.yaml:6:", lambda: shipped.load_dag_from_yaml("sub/b.yaml", workflows={"x"}))
    finally:
        os.environ.pop("ORCH_DAG_ROOT", None)
        if before is not None:
            os.environ["ORCH_DAG_ROOT"] = before
    if shipped.load_dag_from_yaml(out) != _due("out"):
        raise Broken("D7", "load_dag_from_yaml does not read any path")
    _invalid(lambda: shipped.load_dag_from_yaml(out, workflows={"x"}), "Unknown workflow: y")
    for _ in range(3):
        for bad in ("", "a\0b", b"a.yaml", b""):
            path: Any = bad
            _raises(InvalidInput, partial(shipped.load_dag, path, root), f"the path {bad!r}")
            _raises(InvalidInput, partial(shipped.load_dag_from_yaml, path), f"the path {bad!r}")
        _invalid(lambda: shipped.load_dag("sub", root), "sub:1:1: expected a regular file")
        _raises(shipped.DagNotFound, lambda: shipped.load_dag("no.yaml", root), "no.yaml")
    big = root / "big.yaml"
    at_most = shipped.SIZE_MAX
    for size, fits in ((at_most, True), (at_most + 1, False)):
        text = _text_of("b")
        big.write_text(text + "#" * (size - len(text)))
        if fits and shipped.load_dag("big.yaml", root) != _due("b"):
            raise Broken("D7", "a file of the largest size is not read")
        if not fits:
            _invalid(lambda: shipped.load_dag("big.yaml", root), "big.yaml:1:1: expected at most", f"got {size}")


def _raises(kind: type[Exception], call: Callable[[], object], what: str) -> None:
    try:
        call()
    except kind as error:
        if not str(error):
            raise Broken("D7", f"{what} was refused without a word") from None
        return
    raise Broken("D7", f"{what} was taken")


def _invalid(call: Callable[[], object], *words: str) -> None:
    try:
        call()
    except shipped.DagFileInvalid as error:
        if not all(word in str(error) for word in words):
            raise Broken("D2", f"a file with faults was refused without {words}: {error}") from None
        return
    raise Broken("D2", f"a file with faults was read: expected was {words}")


def _begins(word: str, call: Callable[[], object]) -> None:
    """The fault is told under the name that was given."""
    try:
        call()
    except shipped.DagFileInvalid as error:
        if not str(error).startswith(word):
            raise Broken("D2", f"a fault of {word} is told as {error}") from None
