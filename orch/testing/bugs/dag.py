# ruff: noqa: SLF001 - a bug reaches into what it breaks
"""Bugs of DAGs and their runs: graphs that are misjudged, tasks that start too early or twice, runs without an end.

Each `make` puts the fault into `orch.dag` or `orch.runner` for the time of a `with`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from heapq import heappush
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from orch import checks, dag, events, runner, yaml_marks
from orch.dag import DAG, Task
from orch.errors import CycleDetectedError, LeaseLost, RunnerError, ValidationError
from orch.runner import _Run
from orch.testing.bugs.catalogue import Bug
from orch.testing.bugs.replacing import replaced
from orch.yaml_marks import Fault, Node, Reader

_RUN_DAG, _TOPOSORT, _JUDGE, _READ_IDS = runner.run_dag, dag.toposort, dag._judge, dag._read_ids


def _run_otherwise(change: Callable[[DAG, dict[str, Any]], tuple[DAG, dict[str, Any]]]) -> Any:
    """`run_dag` with a DAG, or arguments, that are not those it was given."""

    def run_dag(made: DAG, **given: Any) -> dict[str, Any]:
        made, given = change(made, given)
        return _RUN_DAG(made, **given)

    return replaced((runner, "run_dag", run_dag))


# -- D1 ----------------------------------------------------------------------------------------------------------------


@contextmanager
def any_dependency_is_enough() -> Iterator[None]:
    """A task starts when one of its dependencies is done."""
    shipped = _Run._reuse

    class Outputs(dict[str, Any]):
        def __missing__(self, task_id: str) -> Any:
            return {}

    def reuse(self: _Run, done: Mapping[str, Any]) -> None:
        shipped(self, done)
        for task_id, missing in self.missing.items():
            self.missing[task_id] = min(1, missing)
        self.outputs = Outputs(self.outputs)

    with replaced((_Run, "_reuse", reuse)):
        yield


@contextmanager
def failed_dependency_counts() -> Iterator[None]:
    """A dependency that has ended is enough, whatever came of it: what waits for a failed task starts."""
    shipped = _Run._settle

    def settle(self: _Run, attempt: Any, answer: Any) -> None:
        shipped(self, attempt, answer)
        if attempt.task.id not in self.failed:
            return
        self.outputs.setdefault(attempt.task.id, {})
        for dependent in self.dependents.get(attempt.task.id, ()):
            self.missing[dependent] -= 1
            if not self.missing[dependent]:
                heappush(self.ready, self.place[dependent])
        stop, self.stop = self.stop, None
        self._start_ready()
        self.stop = stop

    with replaced((_Run, "_settle", settle)):
        yield


@contextmanager
def limit_counts_nothing() -> Iterator[None]:
    """However many tasks are under way, the next one starts."""
    with _run_otherwise(lambda made, given: (made, {**given, "max_parallel": 1_000})):
        yield


@contextmanager
def one_after_the_other() -> Iterator[None]:
    """Independent tasks wait for each other."""
    with _run_otherwise(lambda made, given: (made, {**given, "max_parallel": 1})):
        yield


# -- D2 ----------------------------------------------------------------------------------------------------------------


@contextmanager
def repeated_dependency_is_a_cycle() -> Iterator[None]:
    """Kahn's count is of the list, what is taken off it of the set: `depends_on: [a, a]` never comes to 0."""

    def toposort(made: DAG, workflows: Container[str] | None = None) -> list[Task]:
        for task in made.tasks:
            if len(set(task.depends_on)) < len(task.depends_on):
                raise CycleDetectedError(f"Cycle detected in DAG {made.name!r}")
        return _TOPOSORT(made, workflows)

    with replaced((dag, "toposort", toposort), (runner, "toposort", toposort)):
        yield


@contextmanager
def unknown_workflow_found_midway() -> Iterator[None]:
    """A name is looked up when its task starts: the tasks before it have run."""

    class Registry(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            def unknown(_: dict[str, Any]) -> dict[str, Any]:
                raise RunnerError(f"Unknown workflow: {name}")

            return unknown

        def __contains__(self, name: object) -> bool:
            return True

    with _run_otherwise(lambda made, given: (made, {**given, "workflows": Registry(given["workflows"])})):
        yield


@contextmanager
def first_fault_only() -> Iterator[None]:
    """One fault is told, the others after it is mended."""

    def judge(*given: Any, **more: Any) -> Any:
        faults, order = _JUDGE(*given, **more)
        return faults[:1], order

    with replaced((dag, "_judge", judge)):
        yield


@contextmanager
def unknown_keys_are_passed_over() -> Iterator[None]:
    """`retrys: 3` means nothing, and nobody says so."""
    shipped = Reader.mapping

    def mapping(
        self: Reader, node: Node, key: str, names: Sequence[str], required: Sequence[str] = ()
    ) -> dict[str, Node] | None:
        found = shipped(self, node, key, names, required)
        self._faults = [fault for fault in self._faults if not fault.message.startswith("unknown key")]
        return found

    with replaced((Reader, "mapping", mapping)):
        yield


@contextmanager
def text_is_a_list_of_letters() -> Iterator[None]:
    """`depends_on: ab` is read as [a, b]; `depends_on: a` works by accident."""

    def read_ids(reader: Reader, node: Node | None, key: str) -> list[str]:
        if node is not None and node.text and not node.items:
            return list(node.text)
        return _READ_IDS(reader, node, key)

    with replaced((dag, "_read_ids", read_ids)):
        yield


@contextmanager
def faults_without_a_line() -> Iterator[None]:
    """What is wrong is told, and not where."""

    def note(self: Reader, _line: int, _column: int, key: str, message: str) -> None:
        self._faults.append(Fault(self.file, 1, 1, key, message))

    with replaced((Reader, "_note", note)):
        yield


# -- D3 ----------------------------------------------------------------------------------------------------------------


@contextmanager
def retries_see_changed_params() -> Iterator[None]:
    """What an attempt does to its params the next one sees, and so does the DAG."""
    shared = {name: getattr(checks, name) for name in dir(checks) if not name.startswith("__")}
    shim = SimpleNamespace(**{**shared, "copy_json": lambda value: value})
    with replaced((runner, "checks", shim)):
        yield


@contextmanager
def colliding_payloads_overwrite() -> Iterator[None]:
    """Two outputs of one payload name: the later one wins, and nobody says so."""

    def merge(upstream: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        return {f"{task}__{key}": value for task, output in upstream.items() for key, value in output.items()}

    with replaced((runner, "merge_payloads", merge)):
        yield


@contextmanager
def payload_overwrites_a_param() -> Iterator[None]:
    """A param named as the output of a dependency is overwritten by it."""
    with replaced((dag, "payload_clashes", lambda *_: []), (runner, "payload_clashes", lambda *_: [])):
        yield


# -- D4 ----------------------------------------------------------------------------------------------------------------


@contextmanager
def failure_leaves_no_end() -> Iterator[None]:
    """A run that failed has no dag_done, and what it did not start is not told of."""
    shipped = _Run._close

    def close(self: _Run, start: float, error: str | None) -> float:
        if error is None:
            return shipped(self, start, error)
        self._flush()
        return 0.0

    with replaced((_Run, "_close", close)):
        yield


@contextmanager
def events_without_a_run() -> Iterator[None]:
    """Events carry no run id: two runs of one DAG at once cannot be told apart."""
    shipped = _Run._event

    def event(self: _Run, kind: str, **fields: Any) -> None:
        shipped(self, kind, **fields)
        del self.events[-1]["run"]

    with replaced((_Run, "_event", event)):
        yield


@contextmanager
def late_answer_counts() -> Iterator[None]:
    """A thread that was given up answers in the end, and its task has succeeded."""
    shipped = _Run._settle_next

    def settle_next(self: _Run) -> None:
        get = self.answers.get

        def get_late(timeout: float | None = None) -> Any:
            attempt, answer = get(timeout=timeout)
            if attempt.given_up:
                self._settle(attempt, answer)
            return attempt, answer

        self.answers, kept = SimpleNamespace(get=get_late, put=self.answers.put), self.answers  # type: ignore[assignment]
        try:
            shipped(self)
        finally:
            self.answers = kept

    with replaced((_Run, "_settle_next", settle_next)):
        yield


@contextmanager
def skipped_tasks_leave_no_trace() -> Iterator[None]:
    """Of tasks that were not started no event tells."""
    shipped = _Run._event

    def event(self: _Run, kind: str, **fields: Any) -> None:
        if kind != "task_skipped":
            shipped(self, kind, **fields)

    with replaced((_Run, "_event", event)):
        yield


# -- D5 ----------------------------------------------------------------------------------------------------------------


@contextmanager
def every_attempt_from_the_start() -> Iterator[None]:
    """What was recorded is not looked at: a second attempt runs everything again."""
    with _run_otherwise(lambda made, given: (made, {**given, "done": {}})):
        yield


@contextmanager
def reused_tasks_release_nobody() -> Iterator[None]:
    """A task that was done before does not count for those that wait for it: they are stuck, and the run ends."""
    shipped = _Run._reuse

    def reuse(self: _Run, done: Mapping[str, Any]) -> None:
        shipped(self, done)
        for task in self.dag.tasks:
            self.missing[task.id] = len(set(task.depends_on))
        self.ready = [place for place in self.ready if not self.missing[self.dag.tasks[place].id]]

    with replaced((_Run, "_reuse", reuse)):
        yield


@contextmanager
def lost_lease_is_a_warning() -> Iterator[None]:
    """Recording says that the run is somebody else's now; it goes on, beside the new one."""
    shipped = _Run._record

    def record(self: _Run, task_id: str, output: dict[str, Any]) -> None:
        inner = self.record
        assert inner is not None

        def told(task_id: str, output: dict[str, Any]) -> None:
            try:
                inner(task_id, output)
            except LeaseLost:
                self.lost = runner._never

        self.record = told
        shipped(self, task_id, output)
        self.record = inner

    with replaced((_Run, "_record", record)):
        yield


@contextmanager
def unrecorded_work_is_a_failure() -> Iterator[None]:
    """The output cannot be recorded: the task that has done its work has failed."""
    shipped = _Run._settle

    def settle(self: _Run, attempt: Any, answer: Any) -> None:
        inner = self.record

        def record(task_id: str, output: dict[str, Any]) -> None:
            assert inner is not None
            try:
                inner(task_id, output)
            except OSError as error:
                self._halt(RunnerError(f"Task {task_id!r} failed: {error}"), "a task failed")

        self.record = record
        shipped(self, attempt, answer)
        self.record = inner

    with replaced((_Run, "_settle", settle)):
        yield


@contextmanager
def recorded_after_the_next_began() -> Iterator[None]:
    """What depends on a task starts before the output of that is recorded: a crash between, and both run again."""
    shipped = _Run._settle

    def settle(self: _Run, attempt: Any, answer: Any) -> None:
        record, late = self.record, []
        self.record = lambda task_id, output: late.append((task_id, output))
        shipped(self, attempt, answer)
        self._start_ready()
        self.record = record
        for task_id, output in late:
            self._record(task_id, output)

    with replaced((_Run, "_settle", settle)):
        yield


# -- D6, D7 ------------------------------------------------------------------------------------------------------------


@contextmanager
def sorting_is_quadratic() -> Iterator[None]:
    """After each task all the others are looked at."""

    def kahn(deps_of: Sequence[Sequence[int]]) -> list[int]:
        order: list[int] = []
        done: set[int] = set()
        while True:
            found = next((i for i, deps in enumerate(deps_of) if i not in done and done.issuperset(deps)), None)
            if found is None:
                return order
            order.append(found)
            done.add(found)

    with replaced((dag, "_kahn", kahn)):
        yield


@contextmanager
def any_path_is_read() -> Iterator[None]:
    """`../..` and /etc/passwd are opened; only their shape is found wanting."""

    def resolved(dag_path: Any, root: Any) -> str:
        return str(Path(root, dag_path).resolve())

    with replaced((dag, "_resolved", resolved)):
        yield


@contextmanager
def links_lead_out() -> Iterator[None]:
    """A path is compared before its links are followed."""

    def resolved(dag_path: Any, root: Any) -> str:
        if Path(dag_path).is_absolute() or ".." in Path(dag_path).parts:
            raise ValidationError(f"DAG path {dag_path!r} is outside the DAG root")
        return str(Path(root, dag_path))

    with replaced((dag, "_resolved", resolved)):
        yield


@contextmanager
def aliases_are_written_out() -> Iterator[None]:
    """A file of some hundred bytes becomes megabytes."""
    with replaced((yaml_marks, "SIZE_MAX", 1 << 40)):
        yield


# -- others' promises, broken here -------------------------------------------------------------------------------------


@contextmanager
def retries_0_is_the_default() -> Iterator[None]:
    """`retries: 0` is falsy, so the default of the run counts: no task can refuse to be repeated."""

    def change(made: DAG, given: dict[str, Any]) -> tuple[DAG, dict[str, Any]]:
        return replace(made, tasks=[replace(task, retries=task.retries or None) for task in made.tasks]), given

    with _run_otherwise(change):
        yield


@contextmanager
def log_failure_fails_the_run() -> Iterator[None]:
    """The disk is full, so the events cannot be written: the run ends with an OSError."""

    def log_events(given: Any, path: Any = None) -> None:
        events.append_events(path, given)

    with replaced((runner, "log_events", log_events)):
        yield


@contextmanager
def durations_by_the_clock_people_set() -> Iterator[None]:
    """The clock is put back during a run: it took less than nothing."""
    shipped = _Run._event
    begun: dict[str, float] = {}

    def event(self: _Run, kind: str, **fields: Any) -> None:
        if kind == "dag_start":
            begun[self.run_id] = self.clock()
        elif kind == "dag_done":
            fields["duration_seconds"] = self.clock() - begun[self.run_id]
        shipped(self, kind, **fields)

    with replaced((_Run, "_event", event)):
        yield


BUGS = (
    Bug(
        "failed-dependency-counts",
        "dag",
        ("D1",),
        "b depends on a; a fails for good: b starts",
        "airflow: trigger rules",
        failed_dependency_counts,
    ),
    Bug(
        "any-dependency-is-enough",
        "dag",
        ("D1",),
        "c depends on a and b; a is done: c starts",
        "orch",
        any_dependency_is_enough,
    ),
    Bug(
        "limit-counts-nothing",
        "dag",
        ("D1",),
        "two tasks, max_parallel 1: both start",
        "dbos#727",
        limit_counts_nothing,
    ),
    Bug(
        "one-after-the-other",
        "dag",
        ("D1",),
        "two independent tasks, max_parallel 2: the second waits for the first",
        "orch",
        one_after_the_other,
    ),
    Bug(
        "repeated-dependency-is-a-cycle",
        "dag",
        ("D2",),
        "depends_on: [a, a] is refused as a cycle",
        "seed 104",
        repeated_dependency_is_a_cycle,
    ),
    Bug(
        "unknown-workflow-found-midway",
        "dag",
        ("D2",),
        "a is fine, b names no workflow: a has run when that is found",
        "seed 110",
        unknown_workflow_found_midway,
    ),
    Bug("first-fault-only", "dag", ("D2",), "two things are wrong, one is told", "orch", first_fault_only),
    Bug(
        "unknown-keys-are-passed-over",
        "dag",
        ("D2",),
        "a file with retrys: 3 is read, without retries",
        "seed 118",
        unknown_keys_are_passed_over,
    ),
    Bug(
        "text-is-a-list-of-letters",
        "dag",
        ("D2",),
        "depends_on: a is read as [a]",
        "seed 116",
        text_is_a_list_of_letters,
    ),
    Bug(
        "faults-without-a-line", "dag", ("D2",), "a file's fault is said to be in line 1", "orch", faults_without_a_line
    ),
    Bug(
        "retries-see-changed-params",
        "dag",
        ("D3",),
        "a workflow changes its params and raises: the next attempt sees the change",
        "seed 112",
        retries_see_changed_params,
    ),
    Bug(
        "colliding-payloads-overwrite",
        "dag",
        ("D3",),
        "key b__n of a and key n of a__b: the task after both sees one of them",
        "seed 107",
        colliding_payloads_overwrite,
    ),
    Bug(
        "payload-overwrites-a-param",
        "dag",
        ("D3", "D2"),
        "b depends on a and has a param a__x: it is run, and no fault is told",
        "seed 107",
        payload_overwrites_a_param,
    ),
    Bug(
        "failure-leaves-no-end",
        "dag",
        ("D4",),
        "a task fails: the run has no dag_done",
        "seed 109",
        failure_leaves_no_end,
    ),
    Bug("events-without-a-run", "dag", ("D4",), "a run's events carry no run id", "seed 125", events_without_a_run),
    Bug(
        "skipped-tasks-leave-no-trace",
        "dag",
        ("D4",),
        "a fails, b depends on it: no event says that b was skipped",
        "seed 109",
        skipped_tasks_leave_no_trace,
    ),
    Bug(
        "reused-tasks-release-nobody",
        "dag",
        ("D4", "D5"),
        "a is done from an earlier attempt, b depends on a: b never starts, the run ends without it",
        "bullmq#4332, bullmq#2554",
        reused_tasks_release_nobody,
    ),
    Bug(
        "every-attempt-from-the-start",
        "dag",
        ("D5",),
        "a is recorded, the run crashes, the next attempt runs a again",
        "dbos#742",
        every_attempt_from_the_start,
    ),
    Bug(
        "lost-lease-is-a-warning",
        "dag",
        ("D5",),
        "recording says that the lease is lost: the run goes on",
        "bullmq#1064",
        lost_lease_is_a_warning,
    ),
    Bug(
        "recorded-after-the-next-began",
        "dag",
        ("D5",),
        "b depends on a: b starts before the output of a is recorded",
        "celery#3802",
        recorded_after_the_next_began,
    ),
    Bug(
        "unrecorded-work-is-a-failure",
        "dag",
        ("W3",),
        "the output of a cannot be recorded: the run fails, the work was done",
        "seed 58",
        unrecorded_work_is_a_failure,
    ),
    Bug(
        "sorting-is-quadratic",
        "dag",
        ("D6",),
        "four times the tasks take sixteen times the steps",
        "seed 106",
        sorting_is_quadratic,
    ),
    Bug("any-path-is-read", "dag", ("D7",), "a DAG path with ../ is read", "seed 127", any_path_is_read),
    Bug(
        "links-lead-out",
        "dag",
        ("D7",),
        "a link inside the DAG root leads out of it and is followed",
        "orch",
        links_lead_out,
    ),
    Bug(
        "aliases-are-written-out",
        "dag",
        ("D7",),
        "a file whose aliases come to more than a megabyte is read",
        "seed 40, seed 122",
        aliases_are_written_out,
    ),
    Bug(
        "late-answer-counts",
        "dag",
        ("W6",),
        "a task is over its timeout_s and was given up; its thread returns: it has succeeded",
        "orch",
        late_answer_counts,
    ),
    Bug(
        "retries-0-is-the-default",
        "dag",
        ("W6",),
        "retries: 0, default 1, a fails: it is tried twice",
        "seed 113",
        retries_0_is_the_default,
    ),
    Bug(
        "log-failure-fails-the-run",
        "dag",
        ("L1",),
        "the disk of the log is full: the run ends with an OSError",
        "seed 121",
        log_failure_fails_the_run,
    ),
    Bug(
        "durations-by-the-clock-people-set",
        "dag",
        ("L3",),
        "the clock is put back during a run: dag_done has a negative duration",
        "seed 124",
        durations_by_the_clock_people_set,
    ),
)
