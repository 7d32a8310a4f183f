"""Runs a DAG, or the one callable of a job, and says how it ended.

Law: what a workflow does stays in its attempt (W3): it may raise anything, exit, hang beyond its time or return
nonsense; the run goes on by its rules and ends with one `dag_done` (D4). A task sees copies only (D3), starts after
its dependencies (D1), and is not run again once its output was recorded (D5). What is logged never decides what is
done (L1). One coordinator, the caller's thread, owns all state of a run; the threads of tasks only put their answers
into its queue.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from os import PathLike
from typing import Any

from orch import checks
from orch import workflows as shipped
from orch.clock import Clock, iso, process_clock, to_us
from orch.dag import (
    DAG,
    PARALLEL_MAX,
    TENANT,
    Task,
    UnknownWorkflow,
    load_dag,
    merge_payloads,
    payload_clashes,
    toposort,
)
from orch.errors import CycleDetectedError, InvalidInput, LeaseLost, RunnerError, ValidationError
from orch.events import log_event, log_events
from orch.job import Job, uuid7
from orch.workflows import CONTEXT, Context, Workflow

# The seed's names of this module, imported ones too, and ours.
__all__ = [
    "Dead",
    "Done",
    "FinalFailure",
    "Lost",
    "Outcome",
    "Record",
    "Retry",
    "RunnerError",
    "log_event",
    "run_dag",
    "run_job",
]

WORKFLOW_PREFIX = "workflow:"  # a dag_path that names one callable instead of a file
BACKOFF_S = 0.1  # before the first retry of a task; doubles, less a random part of up to one half
BACKOFF_S_MAX = 10.0

log = logging.getLogger("orch.runner")

Record = Callable[[str, dict[str, Any]], None]


class FinalFailure(RunnerError):
    """A run ended in a way that a further attempt would only repeat: an invalid DAG, an output that cannot be kept."""


# -- a job ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """The attempt succeeded."""

    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Retry:
    """The attempt failed; another may succeed (W6)."""

    error: str


@dataclass(frozen=True, slots=True)
class Dead:
    """The attempt failed, and each further one would (W6)."""

    error: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The job belongs to somebody else now, so there is nothing to report (W2)."""


Outcome = Done | Retry | Dead | Lost


def run_job(
    job: Job,
    *,
    events_path: str | PathLike[str] | None = None,
    dag_root: str | PathLike[str] | None = None,
    done: Mapping[str, Any] | None = None,
    record: Record | None = None,
    lost: Callable[[], bool] | None = None,
    deadline: float | None = None,
    workflows: Mapping[str, Workflow] | None = None,
    clock: Clock = process_clock,
) -> Outcome:
    """One attempt at a delivered job, as the run `<job id>#<attempts>`: the only place that turns a job into work.

    `dag_path` is a DAG file inside `dag_root` or `workflow:<name>`. The job's params are given to that callable, or to
    every task, where the task's own params win. `deadline` (epoch seconds of `clock`; None: from `timeout_s`) stops
    further tasks from starting; whoever watches the clock gives up on the running one. The others are of `run_dag`.

    An invalid DAG, or an output that cannot be kept, is Dead; a missing file, an unknown workflow and a failed task
    are Retry. Raises nothing that a workflow, a DAG file or the log can cause.
    """
    if deadline is None and job.timeout_s is not None:
        deadline = clock() + job.timeout_s
    token = None if job.lease is None else job.lease.token
    run_id = f"{job.id}#{job.attempts}"
    registry = shipped.WORKFLOW_MAP if workflows is None else workflows
    if job.dag_path.startswith(WORKFLOW_PREFIX):
        context = Context(
            job.id, run_id, "", job.attempts, 1, token, deadline, job.tenant_id, lost if lost is not None else _never
        )
        return _run_callable(job.dag_path.removeprefix(WORKFLOW_PREFIX), registry, job.params, context)
    try:
        result = run_dag(
            load_dag(job.dag_path, dag_root),
            tenant=job.tenant_id,
            events_path=events_path,
            run_id=run_id,
            job_id=job.id,
            attempt=job.attempts,
            token=token,
            params=job.params,
            done=done,
            record=record,
            lost=lost,
            deadline=deadline,
            workflows=registry,
            clock=clock,
        )
    except LeaseLost as error:
        log.warning("job %s, run %s: %s", job.id, run_id, error)
        return Lost()
    except FinalFailure as error:
        return Dead(str(error))
    except RunnerError as error:  # DagNotFound is one
        return Retry(str(error))
    except (ValidationError, CycleDetectedError, InvalidInput) as error:
        return Dead(f"DAG validation failed: {error}")
    return Done(_fitted(result))


def _run_callable(name: str, registry: Mapping[str, Workflow], params: dict[str, Any], context: Context) -> Outcome:
    workflow = registry.get(name)
    if workflow is None:
        return Retry(f"Unknown workflow: {name}")
    answer = _apart(lambda: _answer(workflow, checks.copy_json(params), context))
    if context.lost():
        return Lost()
    if answer.output is not None:
        return Done(answer.output)
    return Dead(answer.error) if answer.final else Retry(answer.error)


def _fitted(result: dict[str, Any]) -> dict[str, Any]:
    """A run's result that a job can keep: finished work does not fail because its outputs together are too big.

    The largest outputs are left out, and `outputs_omitted` says how many.
    """
    size = _size(result)
    if size <= checks.RESULT_MAX:
        return result
    outputs = dict(result["task_outputs"])
    spare = len(',"outputs_omitted":') + 20
    omitted = 0
    for task_id in sorted(outputs, key=lambda task_id: _size(outputs[task_id]), reverse=True):
        if size + spare <= checks.RESULT_MAX:
            break
        size -= _size(outputs.pop(task_id)) + _size(task_id) + 2  # its colon and comma
        omitted += 1
    return {**result, "task_outputs": outputs, "outputs_omitted": omitted}


def _size(value: object) -> int:
    text = checks.dump_json(value)
    return len(text) if text.isascii() else len(text.encode())


# -- a DAG ---------------------------------------------------------------------------------------------------------


def run_dag(
    dag: DAG,
    *,
    tenant: str = TENANT,
    dry_run: bool = False,
    max_retries_default: int = 0,
    events_path: str | PathLike[str] | None = None,
    run_id: str | None = None,
    job_id: str = "",
    attempt: int = 1,
    token: int | None = None,
    params: Mapping[str, Any] | None = None,
    done: Mapping[str, Any] | None = None,
    record: Record | None = None,
    lost: Callable[[], bool] | None = None,
    deadline: float | None = None,
    max_parallel: int | None = None,
    workflows: Mapping[str, Workflow] | None = None,
    clock: Clock = process_clock,
    backoff_s: float = BACKOFF_S,
    sleep: Callable[[float], None] = time.sleep,
    rng: random.Random | None = None,
) -> dict[str, Any]:
    """Run the tasks of a DAG, independent ones in parallel threads; returns what they gave.

    The result is `{dag_name, tasks_succeeded, tasks_failed: 0, duration_seconds, task_outputs: {id: output}}`; a dry
    run prints the plan, writes no event and returns `{dry_run: True, tasks_planned}`.

    - `tenant`: whom the run is for; the default gives way to the DAG's own `tenant_id`.
    - `max_retries_default`: for tasks whose `retries` is None. Between attempts a task waits `backoff_s`, doubling up
      to 10 s, less a random part of up to one half, and leaves its place to others.
    - `events_path`: where events go (None: `ORCH_EVENTS_PATH`). All of them carry run, job and tenant.
    - `run_id` (None: a new one), `job_id`, `attempt`, `token`: what `orch.workflows.current()` tells.
    - `params`: given to every task, under its own params.
    - `done`: outputs that an earlier attempt recorded, by task id; those tasks are not run again (D5).
    - `record(task_id, output)`: called after each task but the one that completes the run, whose output the report
      carries. `LeaseLost` from it stops the run; any other error is logged and changes nothing.
    - `lost()`: true when the run should stop; running tasks may see it through `current().lost()` and are waited for.
    - `deadline`: epoch seconds of `clock`; no attempt starts after it.
    - `workflows`: name to callable (None: `WORKFLOW_MAP` as it is now).

    Everything that can be known wrong is refused before the first event (D2). After a failed task what runs may
    finish, nothing else starts, and `RunnerError` says which task failed; `FinalFailure` if trying again is of no use.
    Raises `LeaseLost` if the run was lost. A task over its `timeout_s` failed that attempt: its thread is left behind,
    and what it still does or returns is ignored.
    """
    if not isinstance(dag, DAG):
        raise InvalidInput(f"run_dag takes a DAG, got {checks.shown(dag)}")
    checks.check_text(tenant, "tenant", checks.ID_MAX)
    checks.check_int(max_retries_default, "max_retries_default", 0)
    checks.check_seconds(backoff_s, "backoff_s")
    parallel = dag.max_parallel if max_parallel is None else max_parallel
    checks.check_int(parallel, "max_parallel", 1, PARALLEL_MAX)
    registry = shipped.WORKFLOW_MAP if workflows is None else workflows
    shared = checks.check_object(dict(params or {}), "params")
    order = _planned(dag, registry, shared)
    tenant = dag.tenant_id if tenant == TENANT else tenant
    if dry_run:
        _print_plan(dag, order, tenant)
        return {"dry_run": True, "tasks_planned": len(order)}
    run = _Run(
        dag=dag,
        order=order,
        workflows={task.id: registry[task.workflow_ref] for task in order},
        tenant=tenant,
        retries=max_retries_default,
        events_path=events_path,
        run_id=uuid7(clock()) if run_id is None else run_id,
        job_id=job_id,
        attempt=attempt,
        token=token,
        params=shared,
        record=record,
        lost=_never if lost is None else lost,
        deadline=deadline,
        parallel=parallel,
        clock=clock,
        backoff_s=backoff_s,
        sleep=sleep,
        rng=rng,
    )
    return run.execute(done or {})


def _planned(dag: DAG, registry: Mapping[str, Workflow], params: dict[str, Any]) -> list[Task]:
    """The tasks in order. Raises what is known to be wrong: nothing has happened yet (D2)."""
    try:
        order = toposort(dag, registry)
    except UnknownWorkflow as error:
        raise RunnerError(str(error)) from error
    except (ValidationError, CycleDetectedError) as error:
        raise FinalFailure(f"DAG validation failed: {error}") from error
    if params:
        for task in order:
            for name, dep in payload_clashes(params, task.depends_on):
                raise FinalFailure(
                    f"DAG validation failed: the job's param {name!r} is a name kept for the output of {dep!r} in "
                    f"task {task.id!r}: rename it"
                )
    return order


def _print_plan(dag: DAG, order: list[Task], tenant: str) -> None:
    rule = "=" * 60
    print(f"{rule}\nDRY RUN: DAG '{dag.name}'\n{rule}\nTenant: {tenant}\nTasks: {len(order)}\n\nExecution Plan:")
    for number, task in enumerate(order, 1):
        deps = ", ".join(task.depends_on) or "none"
        print(f"  {number}. {task.id} (workflow: {task.workflow_ref}, depends_on: {deps})")
    print(rule)


@dataclass(eq=False, slots=True)
class _Attempt:
    """One try of a task that is under way."""

    task: Task
    number: int  # from 1
    end: float | None = None  # of its time, on the monotonic clock
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of calling a workflow: an output, or an error that is final if the work was done but is useless."""

    output: dict[str, Any] | None = None
    error: str = ""
    final: bool = False


@dataclass(eq=False, slots=True, kw_only=True)
class _Run:
    """One run: what it was told, and what has happened. Only the coordinator changes it."""

    dag: DAG
    order: list[Task]
    workflows: dict[str, Workflow]
    tenant: str
    retries: int
    events_path: str | PathLike[str] | None
    run_id: str
    job_id: str
    attempt: int
    token: int | None
    params: dict[str, Any]
    record: Record | None
    lost: Callable[[], bool]
    deadline: float | None
    parallel: int
    clock: Clock
    backoff_s: float
    sleep: Callable[[float], None]
    rng: random.Random | None  # None: made when it is needed, as that takes longer than a small run

    ready: list[int] = field(default_factory=list)  # heap of places in dag.tasks: first declared, first started
    waiting: list[tuple[float, int]] = field(default_factory=list)  # heap of (monotonic time of the retry, place)
    running: list[_Attempt] = field(default_factory=list)
    answers: queue.SimpleQueue[tuple[_Attempt, _Answer]] = field(default_factory=queue.SimpleQueue)
    place: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)  # dependencies that have not succeeded yet
    dependents: dict[str, list[str]] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)
    began: dict[str, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)  # the last one of each task that failed an attempt
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    reused: int = 0
    stop: LeaseLost | RunnerError | None = None  # why nothing more starts
    reason: str = ""  # the same for those who did not start
    over: bool = False  # nobody waits for what still runs
    events: list[dict[str, Any]] = field(default_factory=list)  # not written yet

    def execute(self, done: Mapping[str, Any]) -> dict[str, Any]:
        start = time.monotonic()
        self._event("dag_start", task_count=len(self.order))
        try:
            self._reuse(done)
            while True:
                self._start_ready()
                if self.running:
                    self._settle_next()
                elif self.waiting and self.stop is None:
                    self._rest()
                else:
                    break
            if self.lost():
                self._halt_lost("before it could report")
        except BaseException as error:  # Ctrl+C in the caller's thread, or a fault of orch: the run still ends
            self.over = True
            self.reason = "the run was interrupted"
            self._close(start, _said(error))
            raise
        self.over = True
        if self.stop is not None:
            self._close(start, str(self.stop))
            raise self.stop
        duration = self._close(start, None)
        return {
            "dag_name": self.dag.name,
            "tasks_succeeded": len(self.outputs),
            "tasks_failed": 0,
            "duration_seconds": duration,
            "task_outputs": {task.id: self.outputs[task.id] for task in self.order},
        }

    # -- before the first task -------------------------------------------------------------------------------------

    def _reuse(self, done: Mapping[str, Any]) -> None:
        """Take over what an earlier attempt recorded (D5) and find out what may start."""
        for place, task in enumerate(self.dag.tasks):
            self.place[task.id] = place
            deps = dict.fromkeys(task.depends_on)
            self.missing[task.id] = len(deps)
            for dep in deps:
                self.dependents.setdefault(dep, []).append(task.id)
        for task in self.order:
            output = done.get(task.id)
            if isinstance(output, dict):
                self.outputs[task.id] = checks.check_object(output, f"the recorded output of task {task.id!r}")
                self.reused += 1
                self._event("task_reused", task_id=task.id)
                for dependent in self.dependents.get(task.id, ()):
                    self.missing[dependent] -= 1
        self.ready = [
            place
            for place, task in enumerate(self.dag.tasks)
            if not self.missing[task.id] and task.id not in self.outputs
        ]
        heapify(self.ready)

    # -- starting --------------------------------------------------------------------------------------------------

    def _start_ready(self) -> None:
        while self.stop is None and len(self.running) < self.parallel:
            while self.waiting and self.waiting[0][0] <= time.monotonic():
                heappush(self.ready, heappop(self.waiting)[1])
            if not self.ready:
                return
            task = self.dag.tasks[self.ready[0]]
            if self.lost():
                self._halt_lost(f"before task {task.id!r}")
                return
            if self.deadline is not None and self.clock() >= self.deadline:
                late = RunnerError(f"DAG {self.dag.name!r} ran out of time before task {task.id!r}")
                self._halt(late, "the run is out of time")
                return
            heappop(self.ready)
            self._start(task)

    def _start(self, task: Task) -> None:
        number = self.tries.get(task.id, 0) + 1
        if number == 1:
            self.began[task.id] = time.monotonic()
            self._event("task_start", task_id=task.id, workflow_ref=task.workflow_ref)
        attempt = _Attempt(task, number)
        try:
            upstream = merge_payloads({dep: self.outputs[dep] for dep in task.depends_on})
        except ValidationError as error:
            self._settle(attempt, _Answer(error=str(error), final=True))
            return
        self.tries[task.id] = number
        # Fresh copies: what an attempt does to its params, the next one and the DAG do not see (D3).
        inputs = checks.copy_json({**self.params, **task.params, **upstream})
        context = self._context(attempt)
        self._flush()
        if self._may_stay_here(task):
            self._settle(attempt, _answer(self.workflows[task.id], inputs, context))
            return
        if task.timeout_s is not None:
            attempt.end = time.monotonic() + task.timeout_s
        self.running.append(attempt)
        call = _Call(self.answers, attempt, self.workflows[task.id], inputs, context)
        try:
            threading.Thread(target=call, name=f"orch {self.run_id} {task.id}", daemon=True).start()
        except RuntimeError as error:  # no more threads
            self.running.remove(attempt)
            self._settle(attempt, _Answer(error=_said(error)))

    def _may_stay_here(self, task: Task) -> bool:
        """Nothing else could go on meanwhile, so a thread would be of no use.

        The main thread only waits: a Ctrl+C there is the caller's, while a KeyboardInterrupt in a task is that task's.
        """
        alone = self.parallel == 1 or not (self.running or self.ready or self.waiting)
        return alone and task.timeout_s is None and threading.current_thread() is not threading.main_thread()

    def _context(self, attempt: _Attempt) -> Context:
        deadline = self.deadline
        if attempt.task.timeout_s is not None:
            end = self.clock() + attempt.task.timeout_s
            deadline = end if deadline is None else min(deadline, end)
        return Context(
            self.job_id,
            self.run_id,
            attempt.task.id,
            self.attempt,
            attempt.number,
            self.token,
            deadline,
            self.tenant,
            lambda: attempt.given_up or self.over or self.lost(),
        )

    # -- ending ----------------------------------------------------------------------------------------------------

    def _rest(self) -> None:
        """Nothing runs: wait for the next retry."""
        self._flush()
        due, place = heappop(self.waiting)
        self.sleep(max(0.0, due - time.monotonic()))
        heappush(self.ready, place)

    def _settle_next(self) -> None:
        """Wait for an answer, the end of somebody's time, or a retry that may start."""
        self._flush()
        ends = [attempt.end for attempt in self.running if attempt.end is not None]
        if self.waiting and self.stop is None and len(self.running) < self.parallel:
            ends.append(self.waiting[0][0])
        try:
            timeout = max(0.0, min(ends) - time.monotonic()) if ends else None
            attempt, answer = self.answers.get(timeout=timeout)
        except queue.Empty:
            now = time.monotonic()
            for late in [attempt for attempt in self.running if attempt.end is not None and attempt.end <= now]:
                late.given_up = True
                self.running.remove(late)
                log.warning("run %s: task %s is over its time; its thread is left behind", self.run_id, late.task.id)
                error = f"TimeoutError: still running after {late.task.timeout_s:g} s; its thread is left behind"
                self._settle(late, _Answer(error=error))
            return
        if not attempt.given_up:
            self.running.remove(attempt)
            self._settle(attempt, answer)

    def _settle(self, attempt: _Attempt, answer: _Answer) -> None:
        task = attempt.task
        duration = round(time.monotonic() - self.began[task.id], 6)
        if answer.output is not None:
            self.outputs[task.id] = answer.output
            self._event("task_ok", task_id=task.id, attempt=attempt.number, duration_seconds=duration)
            if len(self.outputs) < len(self.order):
                self._record(task.id, answer.output)
            for dependent in self.dependents.get(task.id, ()):
                self.missing[dependent] -= 1
                if not self.missing[dependent] and dependent not in self.outputs:
                    heappush(self.ready, self.place[dependent])
            return
        self.errors[task.id] = answer.error
        if self.lost():
            self._halt_lost(f"during task {task.id!r}")
        retries = self.retries if task.retries is None else task.retries
        if self.stop is None and not answer.final and attempt.number <= retries:
            delay = min(BACKOFF_S_MAX, self.backoff_s * 2.0 ** min(attempt.number - 1, 60))
            self.rng = random.Random() if self.rng is None else self.rng
            delay *= 0.5 + 0.5 * self.rng.random()
            self._event("task_retry", task_id=task.id, attempt=attempt.number, error=answer.error)
            heappush(self.waiting, (time.monotonic() + delay, self.place[task.id]))
            return
        self._fail(task, answer.error)
        kind = FinalFailure if answer.final else RunnerError
        tries = self.tries.get(task.id, 0)
        self._halt(kind(f"Task '{task.id}' failed after {tries} attempts: {answer.error}"), f"task {task.id!r} failed")

    def _record(self, task_id: str, output: dict[str, Any]) -> None:
        if self.record is None:
            return
        try:
            self.record(task_id, checks.copy_json(output))
        except LeaseLost as error:
            self._halt_lost(f"when the output of {task_id!r} was recorded: {error}")
        except Exception as error:  # the work is done, whether or not that is on record (L1, W3)
            log.warning("run %s: output of task %s not recorded: %s", self.run_id, task_id, _said(error))

    def _halt(self, error: RunnerError, reason: str) -> None:
        """Nothing more starts. The first error counts."""
        if self.stop is None:
            self.stop, self.reason = error, reason

    def _halt_lost(self, when: str) -> None:
        """Nothing more starts, and there is nothing to report, whatever happened before."""
        if not isinstance(self.stop, LeaseLost):
            self.stop, self.reason = LeaseLost(f"run {self.run_id} was lost {when}"), "the run was lost"

    def _fail(self, task: Task, error: str) -> None:
        self.failed.add(task.id)
        duration = round(time.monotonic() - self.began[task.id], 6)
        tries = self.tries.get(task.id, 0)
        self._event("task_fail", task_id=task.id, error=error, attempts=tries, duration_seconds=duration)

    def _close(self, start: float, error: str | None) -> float:
        """Write the end of every task that had none, and of the run. Returns its duration."""
        skipped = 0
        for task in self.order:
            if task.id in self.outputs or task.id in self.failed:
                continue
            if task.id in self.began:
                self._fail(task, f"{self.errors.get(task.id, 'not finished')} (not tried again: {self.reason})")
            else:
                skipped += 1
                self._event("task_skipped", task_id=task.id, reason=self.reason)
        duration = round(time.monotonic() - start, 6)
        self._event(
            "dag_done",
            status="success" if error is None else "failed",
            tasks_succeeded=len(self.outputs),
            tasks_failed=len(self.failed),
            tasks_skipped=skipped,
            tasks_reused=self.reused,
            duration_seconds=duration,
            **({} if error is None else {"error": error}),
        )
        self._flush()
        return duration

    # -- events ----------------------------------------------------------------------------------------------------

    def _event(self, event: str, **fields: Any) -> None:
        self.events.append(
            {
                "timestamp": iso(to_us(self.clock())),
                "event": event,
                "dag_name": self.dag.name,
                "tenant": self.tenant,
                **fields,
                "run": self.run_id,
                "job": self.job_id,
            }
        )

    def _flush(self) -> None:
        """Write what has happened, before anything that takes time."""
        events, self.events = self.events, []
        if events:
            log_events(events, self.events_path)


_DIED = _Answer(error="its thread ended without an answer")


# -- calling a workflow --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Call:
    """The body of a task's thread."""

    answers: queue.SimpleQueue[tuple[_Attempt, _Answer]]
    attempt: _Attempt
    workflow: Workflow
    inputs: dict[str, Any]
    context: Context

    def __call__(self) -> None:
        answer = _DIED
        try:
            answer = _answer(self.workflow, self.inputs, self.context)
        finally:
            self.answers.put((self.attempt, answer))


def _answer(workflow: Workflow, inputs: dict[str, Any], context: Context) -> _Answer:
    """Call a workflow in a context of its own; whatever it does becomes a value (W3)."""
    return copy_context().run(_call, workflow, inputs, context)


def _call(workflow: Workflow, inputs: dict[str, Any], context: Context) -> _Answer:
    CONTEXT.set(context)
    try:
        output = workflow(inputs)
    except BaseException as error:  # SystemExit and KeyboardInterrupt of a workflow are its own (W3)
        log.debug("run %s, task %s: attempt failed", context.run_id, context.task_id, exc_info=True)
        return _Answer(error=_said(error))
    try:
        return _Answer(output=_kept(output))
    except BaseException as error:  # a returned object may do anything when it is looked at
        # The work is done: trying again would only repeat it.
        return _Answer(error=f"the workflow returned what cannot be kept: {_said(error)}", final=True)


def _kept(output: object) -> dict[str, Any]:
    """An output as an own JSON object of at most 1 MiB; None is an empty one."""
    if output is None:
        return {}
    if not isinstance(output, dict):
        raise InvalidInput(f"it must be a dict, got {checks.shown(output)}")
    return checks.check_document(output, "output")


def _said(error: BaseException) -> str:
    """Type and message of an exception, whatever its `__str__` does; cut like every error text."""
    try:
        text = str(error)
    except Exception as fault:
        text = f"(its message cannot be shown: {type(fault).__name__})"
    name = type(error).__name__
    return checks.cut_error(f"{name}: {text}" if text else name) or name


def _apart(call: Callable[[], _Answer]) -> _Answer:
    """Make a call here, or from the main thread in another one: see `_may_stay_here`."""
    if threading.current_thread() is not threading.main_thread():
        return call()
    box = [_DIED]

    def body() -> None:
        box[0] = call()

    thread = threading.Thread(target=body, name="orch workflow", daemon=True)
    thread.start()
    thread.join()
    return box[0]


def _never() -> bool:
    return False
