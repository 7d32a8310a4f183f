"""The machine of DAG runs (D1 to D7): graphs that grow task by task, runs that fail, are lost, crash and go on.

The shipping runner runs on virtual time, its threads one at a time (see `virtual`), so a run is the same each time.
Tasks give numbers that depend on what they were given; the oracle computes these, and what is wrong with a graph, from
the definitions. A run that was cut short is gone on with by the next one, with what was recorded.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from orch import dag as shipped
from orch import events, runner
from orch.errors import LeaseLost, OrchError, RunnerError, ValidationError
from orch.testing.machines import graphs
from orch.testing.machines.virtual import Stage, on_stage
from orch.testing.machines.world import Act, Broken, Machine, World
from orch.yaml_marks import SIZE_MAX

NAMES = ("a", "a__b", "c", "d", "e", "f")  # a key `b__n` of `a` has the payload name of the key `n` of `a__b`
KINDS = (
    "ok",
    "wide",
    "fails once",
    "fails twice",
    "fails",
    "exits",
    "changes its params and fails once",
    "returns nonsense",
    "hangs",
    "late",
    "slow",
    "gives nothing",
)
RETRIES = (None, 0, 1, 2)
PARAMS: tuple[dict[str, Any], ...] = ({}, {"k": [1, {"deep": []}]}, {"shared": [9]})
SPOILS = ("cycle", "missing", "twice", "unknown", "clash")
FAULTS = ("", "record fails", "record lost", "crash before record", "crash after record", "lost", "log full")
PATHS = ("above", "absolute", "link", "huge", "bomb", "deep", "itself", "folder")
WRITTEN = (
    "good",
    "unknown key",
    "retries as text",
    "depends_on as text",
    "id as bool",
    "params as list",
    "timeout_s below 0",
    "duplicate key",
    "no workflow_ref",
    "two faults",
)
SHAPES = ("chain", "star")
GRAPHS = 8  # that are judged together: one costs less than to draw an act
SHARED = {"shared": [1, [2]]}  # the job's params
TIMEOUT_S = 1.0
SLOW_S = 3.0


class Crash(BaseException):
    """The process is gone."""


@dataclass(slots=True)
class Spec:
    """A task as the oracle knows it."""

    name: str
    deps: list[str]
    kind: str = "ok"
    retries: int | None = None
    params: dict[str, Any] = field(default_factory=dict)
    workflow: str = ""  # None of its own: the one of its name

    def task(self) -> shipped.Task:
        """The same as the code under test takes it."""
        timeout_s = TIMEOUT_S if self.kind in ("hangs", "late") else None
        return shipped.Task(
            self.name, self.workflow or self.name, deepcopy(self.params), self.retries, list(self.deps), timeout_s
        )

    def fails(self) -> float:
        """How many of its attempts fail."""
        if self.kind in ("fails", "exits", "returns nonsense", "hangs", "late"):
            return inf
        return {"fails once": 1, "fails twice": 2, "changes its params and fails once": 1}.get(self.kind, 0)

    def takes(self) -> float:
        """How long an attempt takes."""
        return {"hangs": inf, "late": TIMEOUT_S * 1.5, "slow": SLOW_S}.get(self.kind, 0.01)

    def output(self, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """What it returns."""
        n = 1 + sum(given.get(f"{dep}__n", 0) for dep in dict.fromkeys(self.deps))
        if self.kind == "gives nothing":
            return None
        return {"n": n, "b__n": 5} if self.kind == "wide" else {"n": n}


class _Seen:
    """What happened in one run."""

    def __init__(self, run_id: str, fault: str, at: str, parallel: int, retries: int) -> None:
        self.run_id, self.fault, self.at = run_id, fault, at
        self.parallel, self.retries = parallel, retries
        self.attempts: dict[str, int] = {}
        self.made: dict[str, int] = {}  # calls that were made to their end
        self.outputs: dict[str, dict[str, Any]] = {}
        self.recorded: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.gone = False  # it was told that it is lost
        self.broken: Broken | None = None  # found while a task ran, where the runner must not take it for the task's


class Runs(World):
    """A DAG under construction, and one job that runs it, attempt after attempt."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: list[Spec] = []
        self.spoiled: list[str] = []
        self.kept: dict[str, dict[str, Any]] = {}  # what was recorded
        self.runs = 0
        self._seen = _Seen("", "", "", 1, 0)
        self._stage: Stage | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
        super().close()

    # -- building ----------------------------------------------------------------------------------------------------

    def task(self, name: str, deps: list[str], kind: str, retries: int | None, params: dict[str, Any]) -> None:
        """One more task."""
        self.tasks.append(Spec(name, deps, kind, retries, params))
        self.kept.clear()

    def spoil(self, how: str) -> None:
        """The graph is made wrong."""
        first, last = self.tasks[0], self.tasks[-1]
        match how:
            case "cycle":
                first.deps = [*first.deps, last.name]
                last.deps = [*last.deps, first.name]
            case "missing":
                last.deps = [*last.deps, "ghost"]
            case "twice":
                self.tasks.append(Spec(first.name, []))
            case "unknown":
                last.workflow = "nowhere"
            case "clash":
                last.params = {**last.params, f"{last.deps[0]}__x": 1}
        self.spoiled.append(how)

    # -- running -----------------------------------------------------------------------------------------------------

    def run(self, parallel: int, retries: int, fault: str, at: str, lifo: bool, main: bool) -> None:
        """One attempt at the job; what `fault` is happens at the task `at`."""
        self.runs += 1
        seen = self._seen = _Seen(f"job#{self.runs}", fault, at, parallel, retries)
        before = dict(self.kept)
        specs = {spec.name: spec for spec in self.tasks}
        made = shipped.DAG("d", [spec.task() for spec in self.tasks])
        stage = self._stage = Stage(
            takes=lambda name: (specs[name].takes(), TIMEOUT_S if specs[name].kind in ("hangs", "late") else None),
            started=self._started,
            waits=self._waits,
            lifo=lifo,
            main=main,
        )
        begun = stage.now
        result: dict[str, Any] | None = None
        error: BaseException | None = None
        append = events.append_events
        events.append_events = self._append  # type: ignore[assignment]  # a stand-in
        try:
            with on_stage(stage):
                result = runner.run_dag(
                    made,
                    tenant="acme",
                    events_path="events.jsonl",
                    run_id=seen.run_id,
                    job_id="job",
                    attempt=self.runs,
                    token=self.runs,
                    params=deepcopy(SHARED),
                    done=deepcopy(before),
                    record=self._record,
                    lost=lambda: seen.gone,
                    max_parallel=parallel,
                    max_retries_default=retries,
                    workflows={name: self._workflow(spec) for name, spec in specs.items()},
                    clock=lambda: 2e9 - stage.now,  # the clock that people set runs backwards
                    sleep=stage.sleep,
                    rng=random.Random(1),
                )
        except Broken:
            raise
        except (OrchError, Crash) as caught:
            error = caught
        except Exception as caught:  # what it must never raise
            error = caught
        finally:
            events.append_events = append
        if seen.broken is not None:
            raise seen.broken
        if self.spoiled:
            self._judge_refusal(error)
            return
        self._judge_outcome(before, result, error)
        if made != shipped.DAG("d", [spec.task() for spec in self.tasks]):
            raise Broken("D3", "a run changed the DAG that it was given")
        if fault != "log full":
            self._judge_events(before, error, stage.now - begun)

    def _workflow(self, spec: Spec) -> Callable[[dict[str, Any]], Any]:
        def workflow(params: dict[str, Any]) -> Any:
            seen, stage = self._seen, self._stage
            assert stage is not None
            if stage.landing is None:  # it is called in the thread of the run
                try:
                    self._started(spec.name, params)
                    self._waits(beside=1)
                except Broken as broken:
                    seen.broken = seen.broken or broken
                    raise
                stage.now += spec.takes()
            n = seen.made[spec.name] = seen.made.get(spec.name, 0) + 1
            output = spec.output(params)
            if spec.kind == "changes its params and fails once":
                params.setdefault("shared", []).append("changed")
                params["more"] = True
            if spec.kind == "exits":
                raise SystemExit(3)
            if spec.kind == "returns nonsense":
                return {1, 2}
            if n <= spec.fails() and spec.kind not in ("late", "hangs"):
                raise RuntimeError(f"{spec.name} fails")
            if seen.fault == "lost" and seen.at == spec.name:
                seen.gone = True
            if spec.kind != "late":
                seen.outputs[spec.name] = dict(output or {})
            return output

        return workflow

    def _started(self, name: str, inputs: dict[str, Any]) -> None:
        """An attempt begins: may it, and is it given what it should be?"""
        seen, stage = self._seen, self._stage
        assert stage is not None
        spec = next(spec for spec in self.tasks if spec.name == name)
        done = {**self.kept, **seen.outputs}
        if self.spoiled:
            promise = "D3" if set(self.spoiled) == {"clash"} else "D2"
            raise Broken(promise, f"task {name!r} was started in a DAG that is wrong ({', '.join(self.spoiled)})")
        if name in self.kept and name not in seen.recorded:
            raise Broken("D5", f"task {name!r} was run again though its output was recorded")
        waiting = [dep for dep in spec.deps if dep not in done]
        said = [event["task_id"] for event in seen.events if event["event"] == "task_ok"]
        if waiting and waiting[0] in said and any(s.name == waiting[0] and s.kind == "late" for s in self.tasks):
            raise Broken("W6", f"task {waiting[0]!r} was over its time, and its late answer counts")
        if waiting:
            raise Broken("D1", f"task {name!r} was started before {waiting[0]!r} had succeeded")
        unrecorded = [dep for dep in spec.deps if dep not in self.kept]
        if unrecorded and seen.fault != "record fails":
            raise Broken("D5", f"task {name!r} was started before the output of {unrecorded[0]!r} was recorded")
        if seen.gone:
            raise Broken("D5", f"task {name!r} was started after the run was lost")
        if len(stage.flying) >= seen.parallel:
            raise Broken("D1", f"task {name!r} was started as one more than {seen.parallel} at a time")
        if self._collides(spec):
            raise Broken("D3", f"task {name!r} was started with two outputs under one name")
        n = seen.attempts[name] = seen.attempts.get(name, 0) + 1
        if n > self._allowed(spec):
            raise Broken("W6", f"task {name!r} was tried {n} times with {self._allowed(spec) - 1} retries")
        given: dict[str, Any] = {**SHARED, **spec.params}
        for dep in dict.fromkeys(spec.deps):
            given |= {f"{dep}__{key}": value for key, value in done[dep].items()}
        if inputs != given:
            raise Broken("D3", f"attempt {n} of task {name!r} was given {inputs}, not {given}")

    def _allowed(self, spec: Spec) -> int:
        return 1 + (self._seen.retries if spec.retries is None else spec.retries)

    def _waits(self, beside: int = 0) -> None:
        """The run waits, `beside` a task that it calls itself: is there nothing that it could start?"""
        seen, stage = self._seen, self._stage
        assert stage is not None
        if seen.gone or seen.fault or any(self._doomed(spec) for spec in self.tasks):
            return  # what was started may be all that ever will be
        under_way = len(stage.flying) + beside
        if under_way < seen.parallel:
            done = {**self.kept, **seen.outputs}
            for spec in self.tasks:
                if spec.name not in seen.attempts and spec.name not in done and all(dep in done for dep in spec.deps):
                    reused = any(dep in self.kept and dep not in seen.recorded for dep in spec.deps)
                    promise = "D5" if reused else "D1"
                    raise Broken(
                        promise, f"task {spec.name!r} waits while {under_way} of {seen.parallel} are under way"
                    )

    def _doomed(self, spec: Spec) -> bool:
        """Can it only fail, if it is run?"""
        if spec.name in self.kept:
            return False
        return spec.fails() >= self._allowed(spec) or self._collides(spec)

    def _collides(self, spec: Spec) -> bool:
        specs = {other.name: other for other in self.tasks}
        names = [f"{dep}__{key}" for dep in dict.fromkeys(spec.deps) for key in (specs[dep].output({}) or {})]
        return len(set(names)) < len(names)

    def _record(self, name: str, output: dict[str, Any]) -> None:
        seen = self._seen
        here = seen.at == name
        if name in seen.recorded or name in self.kept:
            raise Broken("D5", f"the output of {name!r} was recorded twice")
        if here and seen.fault == "crash before record":
            raise Crash
        if here and seen.fault == "record fails":
            seen.recorded.append(name)
            raise OSError("no space left on device")
        if here and seen.fault == "record lost":
            seen.gone = True
            raise LeaseLost(name)
        if next(spec for spec in self.tasks if spec.name == name).kind == "late":
            raise Broken("W6", f"task {name!r} was over its time, and its late answer counts")
        if output != seen.outputs.get(name):
            raise Broken("D5", f"{output} was recorded for {name!r}, which gave {seen.outputs.get(name)}")
        seen.recorded.append(name)
        self.kept[name] = deepcopy(output)
        output["scribbled"] = True  # what it was handed is its own
        if here and seen.fault == "crash after record":
            raise Crash

    def _append(self, _: Any, given: Iterable[Mapping[str, Any]]) -> None:
        self._seen.events += [dict(event) for event in given]
        if self._seen.fault == "log full":
            raise OSError(28, "No space left on device")

    # -- judging -----------------------------------------------------------------------------------------------------

    def _judge_refusal(self, error: BaseException | None) -> None:
        seen = self._seen
        promise = "D3" if set(self.spoiled) == {"clash"} else "D2"
        wrong = ", ".join(self.spoiled)
        if error is None:
            raise Broken(promise, f"a DAG that is wrong ({wrong}) was run")
        if not isinstance(error, RunnerError | ValidationError):
            raise Broken("D2", f"a DAG that is wrong ({wrong}) was refused with {type(error).__name__}: {error}")
        if seen.events:
            raise Broken("D2", f"a DAG that is wrong ({wrong}) left events: {seen.events[0]['event']}")
        ends = {
            "cycle": "Cycle detected",
            "missing": "'ghost'",
            "twice": "Duplicate",
            "unknown": "nowhere",
            "clash": "__x'",
        }
        told = str(error)
        for how in self.spoiled:
            if ends[how] not in told:
                promise = "D3" if how == "clash" else "D2"
                raise Broken(promise, f"of all that is wrong ({wrong}) the refusal does not tell of {how}: {told}")

    def _judge_outcome(
        self, before: Mapping[str, Any], result: dict[str, Any] | None, error: BaseException | None
    ) -> None:
        seen = self._seen
        if isinstance(error, OSError):
            raise Broken("L1", f"a log that cannot be written ended the run: {error}")
        if error is not None and not isinstance(error, OrchError | Crash):
            raise Broken("D4", f"the run ended with {type(error).__name__}: {error}")
        if isinstance(error, ValidationError) or "validation failed" in str(error):
            raise Broken("D2", f"a DAG with nothing wrong was refused: {error}")
        doomed = [spec.name for spec in self.tasks if spec.name not in before and self._doomed(spec)]
        if seen.gone:
            if not isinstance(error, LeaseLost):
                raise Broken("D5", f"a run that was lost ended with {error or 'success'}")
            return
        if isinstance(error, Crash):
            return
        if doomed and error is None:
            raise Broken("D4", f"the run succeeded though {doomed[0]!r} can only fail")
        if doomed:
            return
        promise = {"log full": "L1", "record fails": "W3"}.get(seen.fault, "D4")
        if error is not None:
            raise Broken(promise, f"the run failed though every task can succeed: {error}")
        assert result is not None
        due: dict[str, dict[str, Any]] = {}
        while len(due) < len(self.tasks):
            for spec in self.tasks:
                if spec.name not in due and all(dep in due for dep in spec.deps):
                    given = {f"{dep}__{key}": value for dep in spec.deps for key, value in due[dep].items()}
                    due[spec.name] = spec.output(given) or {}
        if result["task_outputs"] != due:
            raise Broken("D3", f"the run gave {result['task_outputs']}, not {due}")
        for spec in self.tasks:
            calls = 0 if spec.name in before else 1 + int(spec.fails())
            if seen.made.get(spec.name, 0) != calls:
                raise Broken(promise, f"task {spec.name!r} was called {seen.made.get(spec.name, 0)} times, not {calls}")

    def _judge_events(self, before: Mapping[str, Any], error: BaseException | None, took: float) -> None:
        seen = self._seen
        kinds = [event["event"] for event in seen.events]
        ended = isinstance(error, Crash) and "dag_done" not in kinds  # its worker died
        if kinds.count("dag_start") != 1 or kinds[0] != "dag_start":
            raise Broken("D4", f"a run has one dag_start, got {kinds}")
        if not ended and (kinds.count("dag_done") != 1 or kinds[-1] != "dag_done"):
            raise Broken("D4", f"a run has one dag_done, got {kinds}")
        due = {"run": seen.run_id, "job": "job", "tenant": "acme"}
        for event in seen.events:
            for key, value in due.items():
                if event.get(key) != value:
                    raise Broken("D4", f"event {event['event']} of run {seen.run_id} has {key} {event.get(key)!r}")
            if event.get("duration_seconds", 0) < 0:
                raise Broken("L3", f"event {event['event']} has a duration of {event['duration_seconds']} s")
        if ended:
            return
        ends: dict[str, str] = {}
        late = {spec.name for spec in self.tasks if spec.kind == "late"}
        for event in seen.events:
            if event["event"] in ("task_ok", "task_fail", "task_skipped", "task_reused"):
                if event["event"] == "task_ok" and event["task_id"] in late:
                    raise Broken("W6", f"task {event['task_id']!r} was over its time, and its late answer counts")
                if event["task_id"] in ends:
                    raise Broken("D4", f"task {event['task_id']!r} ended twice, as the events say")
                ends[event["task_id"]] = event["event"]
        for spec in self.tasks:
            end = ends.get(spec.name)
            if end is None:
                raise Broken("D4", f"no event says what became of task {spec.name!r}")
            if (end == "task_reused") != (spec.name in before):
                raise Broken("D5", f"of task {spec.name!r} the events say {end}")
            if end == "task_ok" and spec.name not in seen.outputs:
                raise Broken("D4", f"the events say that task {spec.name!r} succeeded, and it did not")
        done = seen.events[-1]
        if (done["status"] == "success") != (error is None):
            raise Broken("D4", f"dag_done says {done['status']}, the run ended with {error or 'success'}")
        counted = [list(ends.values()).count(kind) for kind in ("task_fail", "task_skipped", "task_reused")]
        if [done["tasks_failed"], done["tasks_skipped"], done["tasks_reused"]] != counted:
            raise Broken("D4", f"dag_done counts otherwise than the events before it: {done}")
        if abs(done["duration_seconds"] - took) > 1e-5:
            raise Broken("L3", f"dag_done says {done['duration_seconds']} s, the run took {took:g} s")

    # -- graphs and files by themselves; the oracles are those of `graphs` --------------------------------------------

    def graph(self, seed: int, n: int, wild: int, workflows: int) -> None:
        """Some graphs of up to n tasks, the wilder the more can be wrong with them, are judged and sorted."""
        for number in range(GRAPHS):
            graphs.graph(graphs.drawn(GRAPHS * seed + number, n, wild), workflows)

    def payloads(self, seed: int) -> None:
        """Outputs of dependencies meet under one name, or do not."""
        graphs.payloads(seed)

    def written(self, seed: int, n: int, wrong: int) -> None:
        """A file of n tasks is read, `wrong` sixteenths of whose values are faulty."""
        graphs.written(seed, n, wrong)

    def cycles(self) -> None:
        """Cycles of every kind are named."""
        graphs.cycles()

    def values(self) -> None:
        """Tasks and DAGs are made of values that they cannot be."""
        graphs.values()

    def documents(self) -> None:
        """Documents that are no DAG are read."""
        graphs.documents()

    def reload(self) -> None:
        """Files are read again and again while they change, by every kind of path."""
        graphs.reload()

    # -- files -------------------------------------------------------------------------------------------------------

    def file(self, what: str) -> None:
        """A DAG path, or file, that must be refused."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory()
            for name in ("root", "root/folder.yaml"):
                Path(self._folder.name, name).mkdir()
            Path(self._folder.name, "out.yaml").write_text("name: d\ntasks: [{id: a, workflow_ref: a}]\n")
            Path(self._folder.name, "root", "link.yaml").symlink_to("../out.yaml")
        root = Path(self._folder.name, "root")
        path = {
            "above": "../out.yaml",
            "absolute": str(Path(self._folder.name, "out.yaml")),
            "link": "link.yaml",
            "folder": "folder.yaml",
        }.get(what, "file.yaml")
        if path == "file.yaml":
            root.joinpath(path).write_text(_huge(what))
        try:
            found = shipped.load_dag(path, root)
        except ValidationError:
            return
        except OrchError as error:
            raise Broken("D7", f"a DAG path ({what}) was refused as {type(error).__name__}: {error}") from None
        raise Broken("D7", f"a DAG path ({what}) was read: {len(found.tasks)} tasks")

    def text(self, how: str) -> None:
        """The DAG is written as a file, with a fault, and read."""
        lines = ["name: d", "tasks:"]
        rows = [_row(spec) for spec in self.tasks]
        due = _miswritten(rows, how)
        lines += ["- " + row for row in (json.dumps(row) if isinstance(row, dict) else row for row in rows)]
        text = "\n".join(lines) + "\n"
        known = {spec.name for spec in self.tasks}
        faults = shipped.find_faults(text, "d.yaml", workflows=known)
        if how == "good":
            if faults:
                raise Broken("D2", f"a file with nothing wrong was refused: {faults[0]}")
            if shipped.parse_dag(text) != shipped.DAG("d", [spec.task() for spec in self.tasks]):
                raise Broken("D2", "a file was not read as it was written")
            return
        for place, key in due:
            if not any(fault.line == place + 3 and fault.key.endswith(key) for fault in faults):
                told = "; ".join(map(str, faults)) or "nothing"
                raise Broken("D2", f"{how}: expected a fault in line {place + 3} at {key}, told was {told}")

    def size(self, shape: str) -> None:
        """Four times as many tasks are sorted in about four times as many steps of the code."""
        small, large = (_steps_to_sort(shape, n) for n in (40, 160))
        if large > 8 * small:
            raise Broken("D6", f"a {shape} of 40 tasks is sorted in {small} steps, one of 160 in {large}")


def _huge(what: str) -> str:
    head = "name: d\ntasks:\n- {id: a, workflow_ref: a, params: {x: 1"
    match what:
        case "huge":
            return head + "}}\n#" + "x" * SIZE_MAX + "\n"
        case "bomb":
            levels = "".join(f", l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 12)}]" for n in (1, 2, 3))
            return f"{head}, l0: &l0 {'x' * 1000}{levels}}}}}\n"
        case "deep":
            return f"{head}, deep: {'[' * 300}{']' * 300}}}}}\n"
        case _:
            return head + ", me: &me [*me]}}\n"


def _row(spec: Spec) -> dict[str, Any]:
    row: dict[str, Any] = {"id": spec.name, "workflow_ref": spec.name, "params": spec.params, "depends_on": spec.deps}
    task = spec.task()
    return {**row, "retries": task.retries, "timeout_s": task.timeout_s}


def _miswritten(rows: list[Any], how: str) -> list[tuple[int, str]]:
    """Puts a fault into the last row (or two), and says where which is: the row, and the end of the key."""
    last = len(rows) - 1
    row = rows[last]
    if how == "two faults":
        rows[0] = {**rows[0], "retrys": 3}
        rows[last] = {**rows[last], "retries": "2"}
        return [(0, "retrys"), (last, "retries")]
    match how:
        case "unknown key":
            rows[last] = {**row, "retrys": 3}
            return [(last, "retrys")]
        case "retries as text":
            rows[last] = {**row, "retries": "2"}
            return [(last, "retries")]
        case "depends_on as text":
            rows[last] = {**row, "depends_on": rows[0]["id"]}
            return [(last, "depends_on")]
        case "id as bool":
            rows[last] = {**row, "id": False}
            return [(last, "id")]
        case "params as list":
            rows[last] = {**row, "params": [1]}
            return [(last, "params")]
        case "timeout_s below 0":
            rows[last] = {**row, "timeout_s": -1}
            return [(last, "timeout_s")]
        case "duplicate key":
            rows[last] = json.dumps(row)[:-1] + ', "retries": 1}'
            return [(last, "retries")]
        case "no workflow_ref":
            rows[last] = {key: value for key, value in row.items() if key != "workflow_ref"}
            return [(last, "workflow_ref")]
    return []


def _steps_to_sort(shape: str, n: int) -> int:
    """How many lines of `orch.dag` are gone through to sort so many tasks: the same each time, unlike seconds."""
    deps: list[list[str]] = [[f"t{i - 1}"] if i and shape == "chain" else [] for i in range(n)]
    if shape == "star":
        deps[-1] = [f"t{i}" for i in range(n - 1)]
    made = shipped.DAG("d", [shipped.Task(f"t{i}", "a", depends_on=deps[i]) for i in range(n)][::-1])
    lines = 0

    def local(*_: Any) -> Any:
        nonlocal lines
        lines += 1
        return local

    def trace(frame: Any, *_: Any) -> Any:
        return local if "orch" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        shipped.toposort(made)
    finally:
        sys.settrace(before)
    return lines


# -- the acts ----------------------------------------------------------------------------------------------------------


def _task(world: Runs, first: int, second: int, kind: int, retries: int, params: int) -> tuple[Any, ...] | None:
    n = len(world.tasks)
    if n == len(NAMES) or world.spoiled:
        return None
    deps = [NAMES[n - which] for which in (first, second) if 0 < which <= n]
    return NAMES[n], deps, KINDS[kind], RETRIES[retries], deepcopy(PARAMS[params])


def _spoil(world: Runs, how: int) -> tuple[str] | None:
    if not world.tasks or SPOILS[how] in world.spoiled:
        return None
    if SPOILS[how] == "clash" and not [dep for dep in world.tasks[-1].deps if dep != "ghost"][:1]:
        return None
    return (SPOILS[how],)


def _run(world: Runs, parallel: int, retries: int, fault: int, at: int, lifo: int, main: int) -> tuple[Any, ...] | None:
    if not world.tasks or (FAULTS[fault] in ("", "log full") and at) or at >= len(world.tasks):
        return None
    name = world.tasks[at].name
    return parallel + 1, retries, FAULTS[fault], name, bool(lifo), not main


def _text(world: Runs, how: int) -> tuple[str] | None:
    if not world.tasks or world.spoiled or (WRITTEN[how] == "two faults" and len(world.tasks) < 2):
        return None
    return (WRITTEN[how],)


ACTS = (
    Act("task", "t", (4, 4, len(KINDS), len(RETRIES), len(PARAMS)), _task, "D2", 6),
    Act("task", "p", (4, 4, 2), lambda w, first, second, kind: _task(w, first, second, kind, 0, 0), "D2", 8),
    Act("run", "r", (3, 3, len(FAULTS), len(NAMES), 2, 2), _run, "D4", 10),
    Act("spoil", "s", (len(SPOILS),), _spoil, "D2", 1),
    Act("text", "x", (len(WRITTEN),), _text, "D2", 1),
    Act("file", "f", (len(PATHS),), lambda _, what: (PATHS[what],), "D7", 1),
    Act("size", "n", (len(SHAPES),), lambda _, shape: (SHAPES[shape],), "D6", 1),
    Act("graph", "g", (36, 36, 8, 4, 3), lambda _, a, b, n, wild, known: (36 * a + b, n + 1, wild, known), "D2", 12),
    Act("payloads", "c", (36, 36), lambda _, a, b: (36 * a + b,), "D3", 2),
    Act("written", "w", (36, 36, 4, 4), lambda _, a, b, n, wrong: (36 * a + b, n + 1, wrong), "D2", 12),
    Act("cycles", "y", (), lambda _: (), "D2", 2),
    Act("values", "v", (), lambda _: (), "D2", 2),
    Act("documents", "m", (), lambda _: (), "D2", 2),
    Act("reload", "k", (), lambda _: (), "D7", 2),
)

_THEMES = ("gcyv", "wmk", "ptrs", "ptrs", "ptrsx", "ptxfn")

MACHINE = Machine("dag", "d1", Runs, ACTS, always="prgywk", themes=_THEMES, length=14)
