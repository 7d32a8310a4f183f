"""A graph of tasks: its values, its laws, and the one loader of DAG files.

Law: everything that can be known wrong is found before anything runs, all faults at once (D2), at linear cost (D6),
whatever the file holds (D7). `validate` judges graphs built in Python, `load_dag` those of a file, by the same rules.
How a file is read without losing places is in `orch.yaml_marks`; running a graph is in `orch.runner`.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from orch import checks
from orch.errors import CycleDetectedError, InvalidInput, RunnerError, ValidationError
from orch.yaml_marks import SIZE_MAX, Fault, Node, Reader, did_you_mean, join_key, shown_faults

# The seed's names of this module, imported ones too, and ours.
__all__ = [
    "DAG",
    "CycleDetectedError",
    "DagFileInvalid",
    "DagNotFound",
    "Fault",
    "Task",
    "UnknownWorkflow",
    "ValidationError",
    "find_faults",
    "load_dag",
    "load_dag_from_yaml",
    "merge_payloads",
    "parse_dag",
    "payload_clashes",
    "resolve_dag_path",
    "toposort",
    "validate",
]

MAX_PARALLEL = 3  # tasks of one run at a time; the seed's SCHED_MAX_PARALLEL
PARALLEL_MAX = 1_000
TENANT = "local-dev"
CYCLES_MAX = 10  # cycles named in one message
HINTS_MAX = 50  # faults that are searched for what may have been meant
_STILL_NS = 2_000_000_000  # a file changed more recently is read again: its time stamp may be this coarse
_CACHED_MAX = 128  # parsed files that are kept


@dataclass(frozen=True, slots=True)
class Task:
    """One step of a DAG: a workflow by name, its params, and what it waits for.

    `retries` is how often a failed attempt is repeated within one run: 0 means one attempt, None (the default) takes
    `max_retries_default` of `run_dag`. (In the seed 0 meant the default too, so that no task could refuse it.)
    `depends_on` may repeat an id; that means the same as naming it once. `timeout_s` bounds one attempt.
    Raises `InvalidInput` for wrong types and for params that are no JSON object; both are kept as own copies.
    """

    id: str
    workflow_ref: str
    params: dict[str, Any] = field(default_factory=dict)
    retries: int | None = None
    depends_on: list[str] = field(default_factory=list)
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        checks.check_id(self.id, "task id")
        checks.check_text(self.workflow_ref, "workflow_ref", checks.ID_MAX)
        if self.params or type(self.params) is not dict:
            object.__setattr__(self, "params", checks.check_object(self.params, f"params of task {self.id!r}"))
        if self.retries is not None:
            checks.check_int(self.retries, "retries", 0)
        if not isinstance(self.depends_on, list | tuple):
            raise InvalidInput(f"depends_on must be a list of task ids, got {checks.shown(self.depends_on)}")
        for dep in self.depends_on:
            checks.check_id(dep, "depends_on")
        object.__setattr__(self, "depends_on", list(self.depends_on))
        if self.timeout_s is not None:
            checks.check_seconds(self.timeout_s, "timeout_s", positive=True)


@dataclass(frozen=True, slots=True)
class DAG:
    """Tasks under a name. `max_parallel` is how many of them one run has under way at a time (D1)."""

    name: str
    tasks: list[Task]
    tenant_id: str = TENANT
    max_parallel: int = MAX_PARALLEL

    def __post_init__(self) -> None:
        checks.check_text(self.name, "name", checks.ID_MAX)
        if not isinstance(self.tasks, list | tuple) or not all(isinstance(task, Task) for task in self.tasks):
            raise InvalidInput(f"tasks must be a list of Task, got {checks.shown(self.tasks)}")
        object.__setattr__(self, "tasks", list(self.tasks))
        checks.check_text(self.tenant_id, "tenant_id", checks.ID_MAX)
        checks.check_int(self.max_parallel, "max_parallel", 1, PARALLEL_MAX)


class UnknownWorkflow(ValidationError):
    """The only thing wrong with a DAG is that it names workflows that are not registered here (W6)."""


class DagFileInvalid(ValidationError):
    """A DAG file is wrong; the message lists its faults, a line each, and `faults` holds them."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(shown_faults(self.faults)))


class DagNotFound(RunnerError, FileNotFoundError):
    """A DAG file is not there, or cannot be read; another machine, or a later attempt, may have it (W6)."""


# -- the laws of a graph -----------------------------------------------------------------------------------------


def validate(dag: DAG, workflows: Container[str] | None = None) -> None:
    """Refuse a DAG that cannot run; with `workflows`, also one that names a workflow that is not among them (D2).

    Found are, in this order: no tasks, duplicate ids, missing dependencies, params named like a payload of a
    dependency, unknown workflows, cycles. Raises `CycleDetectedError` if there are only cycles, `UnknownWorkflow` if
    there are only unknown workflows, else `ValidationError`; the message lists all.
    """
    _ordered(dag, workflows)


def toposort(dag: DAG, workflows: Container[str] | None = None) -> list[Task]:
    """The tasks in an order in which each follows its dependencies: Kahn's, first declared first. Validates first."""
    return [dag.tasks[index] for index in _ordered(dag, workflows)]


def merge_payloads(upstream: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The outputs of dependencies in one dict, under `<task>__<key>` (D3).

    Raises `ValidationError` if two of them come to the same name.
    """
    merged: dict[str, Any] = {}
    source: dict[str, tuple[str, str]] = {}
    for task_id, output in upstream.items():
        for key, value in output.items():
            name = f"{task_id}__{key}"
            if name in source:
                other_task, other_key = source[name]
                raise ValidationError(
                    f"payload name {name!r} would be key {other_key!r} of task {other_task!r} and key {key!r} of "
                    f"task {task_id!r}: rename one of them"
                )
            source[name] = (task_id, key)
            merged[name] = value
    return merged


def payload_clashes(names: Iterable[str], depends_on: Iterable[str]) -> list[tuple[str, str]]:
    """Those param names that are reserved for the output of a dependency, each with that dependency."""
    deps = set(depends_on)
    clashes = []
    for name in names:
        at = name.find("__")
        while at >= 0:
            if name[:at] in deps:
                clashes.append((name, name[:at]))
                break
            at = name.find("__", at + 1)
    return clashes


_EMPTY = "DAG must have at least one task"


class _Kind(StrEnum):
    SHAPE = "shape"
    WORKFLOW = "workflow"
    CYCLE = "cycle"


@dataclass(frozen=True, slots=True)
class _GraphFault:
    index: int  # of the task
    key: str  # of the task
    kind: _Kind
    message: str


class _TaskLike(Protocol):
    """What the laws of a graph look at: a `Task`, or what could be read of one."""

    @property
    def id(self) -> str: ...
    @property
    def workflow_ref(self) -> str | None: ...
    @property
    def params(self) -> Mapping[str, Any]: ...
    @property
    def depends_on(self) -> Sequence[str]: ...


def _ordered(dag: DAG, workflows: Container[str] | None) -> list[int]:
    if not dag.tasks:
        raise ValidationError(_EMPTY)
    faults, order = _judge(dag.name, dag.tasks, workflows)
    if faults:
        kinds = {fault.kind for fault in faults}
        text = "; ".join(shown_faults([fault.message for fault in faults]))
        if kinds == {_Kind.CYCLE}:
            raise CycleDetectedError(text)
        if kinds == {_Kind.WORKFLOW}:
            raise UnknownWorkflow(text)
        raise ValidationError(text)
    return order


def _judge(
    name: str, tasks: Sequence[_TaskLike], workflows: Container[str] | None, *, complete: bool = True
) -> tuple[list[_GraphFault], list[int]]:
    """Every fault of a graph, and the order of its tasks as far as there is one.

    If the tasks are not `complete`, missing dependencies are not looked for.
    """
    faults: list[_GraphFault] = []
    index_of: dict[str, int] = {}
    for index, task in enumerate(tasks):
        first = index_of.setdefault(task.id, index)
        if first != index:
            message = f"Duplicate task IDs found: {task.id!r} is task {first + 1} and task {index + 1}"
            faults.append(_GraphFault(index, "id", _Kind.SHAPE, message))
    for index, task in enumerate(tasks):
        for dep in dict.fromkeys(task.depends_on):
            if complete and dep not in index_of:
                hint = "" if len(faults) > HINTS_MAX else did_you_mean(dep, index_of)
                message = f"Task {task.id!r} depends on non-existent task {dep!r}{hint}"
                faults.append(_GraphFault(index, "depends_on", _Kind.SHAPE, message))
    for index, task in enumerate(tasks):
        if task.params:
            for param, dep in payload_clashes(task.params, task.depends_on):
                message = f"Task {task.id!r} has a param {param!r}, a name kept for the output of {dep!r}: rename it"
                faults.append(_GraphFault(index, "params", _Kind.SHAPE, message))
    if workflows is not None:
        for index, task in enumerate(tasks):
            if task.workflow_ref is not None and task.workflow_ref not in workflows:
                names = workflows if isinstance(workflows, Iterable) and len(faults) <= HINTS_MAX else ()
                message = f"Unknown workflow: {task.workflow_ref}{did_you_mean(task.workflow_ref, names)}"
                message += f" in task {task.id!r}"
                faults.append(_GraphFault(index, "workflow_ref", _Kind.WORKFLOW, message))

    deps_of = [[index_of[dep] for dep in dict.fromkeys(task.depends_on) if dep in index_of] for task in tasks]
    order = _kahn(deps_of)
    if len(order) < len(tasks):
        for cycle in _cycles(deps_of, order):
            text = _cycle_text([tasks[index].id for index in cycle])
            faults.append(_GraphFault(cycle[0], "depends_on", _Kind.CYCLE, f"Cycle detected in DAG {name!r}: {text}"))
    return faults, order


def _kahn(deps_of: Sequence[Sequence[int]]) -> list[int]:
    """Kahn's algorithm (Topological sorting of large networks, 1962): first in, first out, so ties stay as declared."""
    waits = [len(deps) for deps in deps_of]
    dependents: list[list[int]] = [[] for _ in deps_of]
    for index, deps in enumerate(deps_of):
        for dep in deps:
            dependents[dep].append(index)
    ready = deque(index for index, count in enumerate(waits) if count == 0)
    order = []
    while ready:
        done = ready.popleft()
        order.append(done)
        for index in dependents[done]:
            waits[index] -= 1
            if waits[index] == 0:
                ready.append(index)
    return order


def _cycles(deps_of: Sequence[Sequence[int]], sorted_part: Iterable[int]) -> list[list[int]]:
    """Up to CYCLES_MAX cycles, each as its tasks with the first repeated at the end; every knot of tasks gives one.

    Depth first without recursion; a dependency that is on the current path closes a cycle.
    """
    finished = set(sorted_part)
    named: set[int] = set()
    cycles: list[list[int]] = []
    for start in range(len(deps_of)):
        if start in finished:
            continue
        path = [start]
        place = {start: 0}  # of a task in `path`
        todo = [iter(deps_of[start])]
        while path:
            dep = next(todo[-1], None)
            if dep is None:
                todo.pop()
                gone = path.pop()
                del place[gone]
                finished.add(gone)
            elif dep in place:
                if path[-1] not in named or dep not in named:
                    cycles.append([*path[place[dep] :], dep])
                    named.update(cycles[-1])
                    if len(cycles) == CYCLES_MAX:
                        return cycles
            elif dep not in finished:
                place[dep] = len(path)
                path.append(dep)
                todo.append(iter(deps_of[dep]))
    return cycles


def _cycle_text(ids: Sequence[str]) -> str:
    if len(ids) > 20:
        ids = [*ids[:10], f"... {len(ids) - 15} more ...", *ids[-5:]]
    return " -> ".join(ids)


# -- files -------------------------------------------------------------------------------------------------------


def load_dag(
    path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    workflows: Container[str] | None = None,
) -> DAG:
    """The DAG of a YAML file inside `root` (None: `ORCH_DAG_ROOT`, else the current folder).

    With `workflows`, also refuses names that are not among them. A file that did not change is parsed once.
    Raises `DagFileInvalid` with every fault, `ValidationError` for a path outside the root, `DagNotFound`.
    """
    return _load(_resolved(path, root), os.fspath(path), workflows)


def load_dag_from_yaml(path: str | os.PathLike[str], *, workflows: Container[str] | None = None) -> DAG:
    """`load_dag` under the seed's name: of any path, since here the caller names the file and not a stored job."""
    return _load(os.path.realpath(_path_text(path)), os.fspath(path), workflows)


def resolve_dag_path(dag_path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> Path:
    """The real path of a DAG file, links followed. Raises `ValidationError` if that is outside the root (D7)."""
    return Path(_resolved(dag_path, root))


def _resolved(dag_path: str | os.PathLike[str], root: str | os.PathLike[str] | None) -> str:
    base = os.path.realpath(_path_text(root or os.environ.get("ORCH_DAG_ROOT") or os.curdir))
    inside = base if base.endswith(os.sep) else base + os.sep
    joined = os.path.join(base, _path_text(dag_path))  # noqa: PTH118 -- runs for each job; pathlib takes ten times as long
    full = os.path.realpath(joined)
    if not full.startswith(inside):
        raise ValidationError(
            f"DAG path {os.fspath(dag_path)!r} is outside the DAG root {base!r}: "
            "move the file there, or set ORCH_DAG_ROOT"
        )
    return full


def parse_dag(text: str | bytes, file: str = "<dag>", *, workflows: Container[str] | None = None) -> DAG:
    """The DAG that a YAML text describes. Raises `DagFileInvalid` with every fault; `file` is its name in them."""
    dag, faults = _read(text, file, workflows)
    if dag is None:
        raise DagFileInvalid(faults)
    return dag


def find_faults(
    text: str | bytes, file: str = "<dag>", *, workflows: Container[str] | None = None
) -> tuple[Fault, ...]:
    """Every fault of a YAML text, in the order of the lines; none if `parse_dag` accepts it. Pure."""
    return _read(text, file, workflows)[1]


def _path_text(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidInput(f"a path must be text without NUL, got {checks.shown(text)}")
    return text


_Stamp = tuple[int, ...]
_cache: dict[str, tuple[_Stamp, DAG]] = {}  # by real path
_cache_lock = threading.Lock()


def _load(full: str, file: str, workflows: Container[str] | None) -> DAG:
    try:
        known = _cache.get(full)
        same = known is not None and known[0] == _stamp(os.stat(full))  # noqa: PTH116 -- runs for each job, as above
        dag = known[1] if known is not None and same else _load_new(full, file, workflows)
    except OSError as error:
        raise DagNotFound(f"DAG file {file!r} cannot be read: {type(error).__name__}: {error.strerror}") from None
    if workflows is not None and any(task.workflow_ref not in workflows for task in dag.tasks):
        parse_dag(Path(full).read_bytes(), file, workflows=workflows)  # raises, with the places
    # A copy, as its params and lists can be changed.
    tasks = [
        Task(task.id, task.workflow_ref, task.params, task.retries, task.depends_on, task.timeout_s)
        for task in dag.tasks
    ]
    return DAG(dag.name, tasks, dag.tenant_id, dag.max_parallel)


def _load_new(full: str, file: str, workflows: Container[str] | None) -> DAG:
    path = Path(full)
    if not stat.S_ISREG(path.stat().st_mode):  # not opened: a pipe would block
        raise DagFileInvalid([Fault(file, 1, 1, "", "expected a regular file")])
    with path.open("rb") as stream:
        found = os.fstat(stream.fileno())
        data = stream.read(SIZE_MAX + 1)
    if len(data) > SIZE_MAX:
        size = max(found.st_size, len(data))
        raise DagFileInvalid([Fault(file, 1, 1, "", f"expected at most {SIZE_MAX} bytes, got {size}")])
    try:
        dag = parse_dag(data, file)  # what is remembered does not depend on the workflows of a call
    except DagFileInvalid:
        if workflows is not None:
            parse_dag(data, file, workflows=workflows)  # raises, with the unknown ones among all faults (D2)
        raise
    # A second change within the resolution of the time stamp would not show, so young files are not kept.
    if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) > _STILL_NS:
        with _cache_lock:
            _cache.pop(full, None)
            if len(_cache) >= _CACHED_MAX:
                del _cache[next(iter(_cache))]
            _cache[full] = (_stamp(found), dag)
    return dag


def _stamp(found: os.stat_result) -> _Stamp:
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev)


# -- the keys of a DAG file --------------------------------------------------------------------------------------

_DAG_KEYS = ("name", "tenant_id", "max_parallel", "tasks")
_TASK_KEYS = ("id", "workflow_ref", "params", "retries", "depends_on", "timeout_s")


@dataclass(slots=True)
class _Draft:
    """What could be read of a task: enough to judge the graph even if the rest is wrong."""

    id: str
    workflow_ref: str | None
    params: dict[str, Any]
    depends_on: list[str]
    places: dict[str, Node]  # where the value of each key stands


def _read(text: str | bytes, file: str, workflows: Container[str] | None) -> tuple[DAG | None, tuple[Fault, ...]]:
    reader = Reader(file)
    root = reader.read(text)
    dag = None if root is None else _read_dag(reader, root, workflows)
    return (None if reader.faults else dag), reader.faults


def _read_dag(reader: Reader, root: Node, workflows: Container[str] | None) -> DAG | None:
    places = reader.mapping(root, "", _DAG_KEYS, required=("name", "tasks"))
    if places is None:
        return None
    name = _required(reader, places, "name", "", lambda value: checks.check_text(value, "name", checks.ID_MAX))
    tenant = reader.checked(
        places.get("tenant_id"),
        "tenant_id",
        reader.text,
        lambda value: checks.check_text(value, "tenant_id", checks.ID_MAX),
    )
    parallel = reader.checked(
        places.get("max_parallel"),
        "max_parallel",
        reader.json,
        lambda value: checks.check_int(value, "max_parallel", 1, PARALLEL_MAX),
    )
    tasks: list[Task | None] = []
    if "tasks" in places:
        items = reader.items(places["tasks"], "tasks", "a list of tasks")
        if items is not None and not items:
            reader.fault(places["tasks"], "tasks", _EMPTY)
        drafts = []
        for index, item in enumerate(items or ()):
            task, draft = _read_task(reader, item, f"tasks[{index}]")
            tasks.append(task)
            drafts.append(draft)
        written = places["name"].text if "name" in places else ""
        _judge_drafts(reader, name or written, drafts, workflows)
    if name is None or reader.faults:
        return None
    return DAG(
        name,
        [task for task in tasks if task is not None],
        TENANT if tenant is None else tenant,
        MAX_PARALLEL if parallel is None else parallel,
    )


def _read_task(reader: Reader, node: Node, key: str) -> tuple[Task | None, _Draft]:
    places = reader.mapping(node, key, _TASK_KEYS, required=("id", "workflow_ref"))
    if places is None:
        return None, _Draft("", None, {}, [], {})
    task_id = _required(reader, places, "id", key, lambda value: checks.check_id(value, "task id"))
    ref = _required(
        reader, places, "workflow_ref", key, lambda value: checks.check_text(value, "workflow_ref", checks.ID_MAX)
    )
    params = reader.checked(
        places.get("params"), f"{key}.params", reader.object, lambda value: checks.check_object(value, "params")
    )
    retries = reader.checked(
        places.get("retries"), f"{key}.retries", reader.json, lambda value: checks.check_int(value, "retries", 0)
    )
    deps = _read_ids(reader, places.get("depends_on"), f"{key}.depends_on")
    timeout_s = reader.checked(
        places.get("timeout_s"),
        f"{key}.timeout_s",
        reader.json,
        lambda value: checks.check_seconds(value, "timeout_s", positive=True),
    )
    # A faulty id is kept as it was written, so that those who depend on it are not faulty too.
    written = places["id"].text if "id" in places else ""
    draft = _Draft(task_id or written, ref, params or {}, deps, places)
    if task_id is None or ref is None:
        return None, draft
    return Task(task_id, ref, params or {}, retries, deps, timeout_s), draft


def _required(
    reader: Reader, places: Mapping[str, Node], name: str, key: str, check: Callable[[Any], str]
) -> str | None:
    node = places.get(name)
    return None if node is None else reader.checked(node, join_key(key, name), reader.text, check, null=False)


def _read_ids(reader: Reader, node: Node | None, key: str) -> list[str]:
    """The readable ids of a list; so one faulty id does not hide what is wrong with the others."""
    if node is None or node.is_null:
        return []
    items = reader.items(node, key, "a list of task ids, as [a, b]")
    ids = [
        reader.checked(
            item, f"{key}[{index}]", reader.text, lambda value: checks.check_id(value, "task id"), null=False
        )
        for index, item in enumerate(items or ())
    ]
    return [task_id for task_id in ids if task_id is not None]


def _judge_drafts(reader: Reader, name: str, drafts: Sequence[_Draft], workflows: Container[str] | None) -> None:
    # If a task has no readable id, those that depend on it would seem to depend on a missing one.
    complete = all(draft.id for draft in drafts)
    for fault in _judge(name, drafts, workflows, complete=complete)[0]:
        node = drafts[fault.index].places.get(fault.key)
        if node is not None:
            reader.fault(node, f"tasks[{fault.index}].{fault.key}", fault.message)
