"""A worker is a generator of its own steps: this file decides everything a worker does, and does nothing itself.

`work` claims, starts and reports; `keep_leases` runs beside it and extends (W2). They share one `State` and touch no
thread, socket, clock or random source: time comes with every answer, the random numbers with the arguments. The
driver runs them for real; the simulator runs them on virtual time; and a crash is a generator that nobody resumes.

What they keep: a slot is claimed for before it is free for nothing else (W7); an outcome is reported until the queue
took it and its work is never repeated (W3); a lost lease is never reported (W2); the last act gives back (W4).
"""

from __future__ import annotations

import logging
import random
from collections.abc import Generator, Sequence
from typing import Any

from orch.errors import BackendUnavailable, JobNotFound, LeaseLost, NotSupported, OrchError, WriteRefused
from orch.job import Job, JobStatus, Lease, Report, WorkerInfo, checked_report
from orch.queue import SWEEP_S
from orch.runner import Dead, Done, Lost, Outcome, Retry
from orch.worker.steps import (
    Abandon,
    Announce,
    Claim,
    Claimed,
    Config,
    Exchange,
    Extend,
    Finished,
    Next,
    Record,
    Run,
    Say,
    Sleep,
    Start,
    State,
    Step,
    Stop,
    Unreported,
)

OUTAGE_S = 0.1  # the first pause when the queue cannot be reached; doubles each time
OUTAGE_S_MAX = 5.0
TELL_S = 10.0  # a worker that waits in claims tells the queue of itself at least so often
CLAIM_LATE_S = 5.0  # how much longer than it should a claim may take before a stopping worker leaves it behind

_OUTAGES = (BackendUnavailable, WriteRefused)
_NOT_EXTENDED = (BackendUnavailable, WriteRefused, NotSupported)  # answers that say nothing about a lease

Steps = Generator[Step, Any, None]


def work(config: Config, state: State, rng: random.Random) -> Generator[Step, Any, int]:
    """The life of a worker: claim, start, report, until it is told to stop or has nothing left to do.

    Returns the exit code: 0, or 1 when something it holds could not be reported before the end, when `burst` ends
    with a job that became FAILED, or when `burst` ends because given-up attempts block every slot.
    """
    return _Work(config, state, rng).life()


def report_of(job: Job, outcome: Outcome, *, delay_s: float | None = None) -> Report:
    """What to tell the queue about an attempt that was not lost. A result that is no JSON object fails the job (W3)."""
    match outcome:
        case Done():
            try:
                return checked_report(job.id, JobStatus.SUCCESS, None, outcome.result, job.lease, None)
            except Exception as error:  # a result may be any object, with any methods
                text = f"the workflow returned what cannot be kept: {said(error)}"
                return checked_report(job.id, JobStatus.FAILED, text, None, job.lease, None)
        case Retry():
            return checked_report(job.id, JobStatus.RETRY, outcome.error, None, job.lease, delay_s)
        case Dead():
            return checked_report(job.id, JobStatus.FAILED, outcome.error, None, job.lease, None)
        case Lost():
            raise AssertionError("a lost attempt is never reported")


def retry_delay(failures: int, rng: random.Random, *, first_s: float, most_s: float) -> float:
    """Seconds before the next attempt after so many earlier failures: doubling, capped, up to one half less at random.

    The random part keeps jobs that failed together from coming back together ("equal jitter", M. Brooker,
    "Exponential Backoff And Jitter", 2015).
    """
    delay = min(most_s, first_s * 2.0 ** min(failures, 60))
    return delay * (0.5 + 0.5 * rng.random())


def started_event(run: Run, worker_id: str) -> dict[str, Any]:
    """The event of the state log that says that an attempt begins."""
    return {"event": "run_started", **_about(run, worker_id)}


def finished_event(run: Run, status: str, error: str | None, seconds: float, worker_id: str) -> dict[str, Any]:
    """The event that says how it ended: success, retry, failed, returned (given back), or lost (with its lease)."""
    event = {"event": "run_finished", **_about(run, worker_id), "status": status}
    if error is not None:
        event["error"] = error
    event["duration_seconds"] = round(seconds, 6)
    if status != JobStatus.SUCCESS.value:
        event["attempts"] = run.job.attempts
    return event


def _about(run: Run, worker_id: str) -> dict[str, Any]:
    job = run.job
    return {
        "job_id": job.id,
        "schedule_id": job.schedule_id,
        "dag_path": job.dag_path,
        "tenant": job.tenant_id,
        "run": f"{job.id}#{job.attempts}",
        "worker": worker_id,
    }


class _Work:
    """`work`, with its own notes: what only it needs from one step to the next."""

    def __init__(self, config: Config, state: State, rng: random.Random) -> None:
        self.config = config
        self.state = state
        self.rng = rng
        self.now = 0.0
        self.keys = 0
        self.dry = False  # the last exchange found fewer jobs than it asked for
        self.claim_at = 0.0  # not before: a claim by an idle slot
        self.report_at = 0.0  # not before: an exchange
        self.outage: float | None = None  # since when the queue cannot be reached
        self.outages = 0  # tries that failed since
        self.singly = False  # the queue refused a batch as a whole: find out which report it is
        self.stop_at = 0.0
        self.claim_end = 0.0
        self.ends = config.burst or config.max_jobs is not None  # by itself, see `_end`

    def life(self) -> Generator[Step, Any, int]:
        state, config = self.state, self.config
        yield from self._look()
        while True:
            if self._may_exchange():
                yield from self._exchange()
            code: int | None = None
            if state.stopping is not None:
                code = yield from self._leave()
            elif self.ends:
                code = yield from self._end()
            if code is not None:
                state.over = True
                return code
            if not config.burst and self.now >= self.claim_at and state.stopping is None and (idle := self._idle()):
                state.reserved = idle
                self.claim_at = self.now + config.poll_s
                self.now, _ = yield Claim(idle, config.wait_s)
            yield from self._look()

    # -- claiming --------------------------------------------------------------------------------------------------

    def _free(self) -> int:
        """Slots that may be claimed for: neither taken, nor blocked, nor spoken for (W7)."""
        state = self.state
        free = self.config.slots - len(state.running) - len(state.blocked) - state.reserved
        if self.config.max_jobs is not None:
            free = min(free, self.config.max_jobs - state.claimed - state.reserved)
        return 0 if state.stopping is not None else max(0, free)

    def _idle(self) -> int:
        """Slots that a claim beside everything else may fill; a job that is not reported is still RUNNING (W7)."""
        return 0 if self.state.reserved else max(0, self._free() - len(self.state.unreported))

    def _claimed(self, event: Claimed) -> Steps:
        state = self.state
        state.reserved = 0
        if event.error is not None:
            yield from self._unreachable(event.error)
            return
        if self.outage is not None:
            yield from self._reachable()
        if event.jobs:
            self.claim_at = 0.0
        if state.stopping is None:
            if event.jobs:
                yield from self._start(event.jobs)
            return
        for job in event.jobs:
            self.keys += 1
            self._give_back(Run(self.keys, job), None)

    def _start(self, jobs: Sequence[Job]) -> Steps:
        state, worker_id = self.state, self.config.worker_id
        runs = [Run(key, job) for key, job in enumerate(jobs, self.keys + 1)]
        self.keys += len(runs)
        if not self.config.quiet:
            for job in jobs:
                yield from self._say(f"Processing job {job.id} (DAG: {job.dag_path})", job)
        if self.config.state_log:
            self.now, _ = yield Record(tuple(started_event(run, worker_id) for run in runs))
        state.claimed += len(runs)
        self.now, _ = yield Start(tuple(runs))
        for run in runs:
            run.started = self.now
            if run.job.timeout_s is not None:
                run.deadline = self.now + run.job.timeout_s
            state.running[run.key] = run  # from here on its lease is extended, and it can be abandoned

    # -- reporting -------------------------------------------------------------------------------------------------

    def _may_exchange(self) -> bool:
        if self.now < self.report_at:
            return False
        if self.state.unreported:
            return True
        # A burst never waits inside a claim: it asks until nothing is ready, and now and then while something runs.
        asks = not self.dry or (self.state.running and self.now >= self.claim_at)
        return bool(self.config.burst and asks and self._idle())

    def _exchange(self) -> Steps:
        """Report what finished and claim for the slots that it freed, in one step."""
        state = self.state
        batch = state.unreported[:1] if self.singly else state.unreported
        # After a failure first the reports alone: each claim whose reply is lost again would cost one more lease.
        n = 0 if (self.outage is not None or self.singly) and batch else self._free()
        self.now, answer = yield Exchange(tuple(finished.report for finished in batch), n)
        if n:
            self.claim_at = self.now + self.config.poll_s if self.config.burst else 0.0
        if isinstance(answer, OrchError) and batch and not isinstance(answer, _OUTAGES):
            if len(batch) > 1:  # nothing was changed; which one it is shows when each comes alone
                self.singly = True
                return
            answer = [answer], ()
        if isinstance(answer, OrchError):
            yield from self._unreachable(answer)
            return
        results, jobs = answer
        state.unreported = state.unreported[len(batch) :]
        self.singly = self.singly and bool(state.unreported)
        self.dry = len(jobs) < n
        yield from self._settle(batch, results)
        if jobs:
            yield from self._start(jobs)

    def _settle(self, batch: Sequence[Unreported], results: Sequence[Job | OrchError]) -> Steps:
        says: list[Say] = []
        events: list[dict[str, Any]] = []
        refused: OrchError | None = None
        for finished, result in zip(batch, results, strict=True):
            if isinstance(result, _OUTAGES):
                refused = result
                self.state.unreported.append(finished)
            else:
                self._settled(finished, result, says, events)
        for say in says:
            self.now, _ = yield say
        if events:
            self.now, _ = yield Record(tuple(events))
        if refused is not None:
            yield from self._unreachable(refused)
        elif self.outage is not None:
            yield from self._reachable()

    def _settled(
        self, finished: Unreported, result: Job | OrchError, says: list[Say], events: list[dict[str, Any]]
    ) -> None:
        state, run, report, worker_id = self.state, finished.run, finished.report, self.config.worker_id
        job, status, error, line = run.job, report.status.value, report.error, ""
        if isinstance(result, OrchError):
            status, error = "lost", said(result)
            foreign = isinstance(result, LeaseLost | JobNotFound)
            what = f"Lost job {job.id}: its outcome was not reported" if foreign else f"Error processing job {job.id}"
            says.append(Say(f"[{worker_id}] {what}: {error}", logging.WARNING, job))
        elif report.status is JobStatus.SUCCESS:
            state.done += 1
            line = f"✓ Job {job.id} succeeded"
        elif report.status is JobStatus.PENDING:
            status = "returned"
        else:
            state.failed += 1
            if report.status is JobStatus.RETRY and result.status is not JobStatus.FAILED:
                line = f"⟳ Job {job.id} retrying (attempt {job.attempts})"
            else:
                status = JobStatus.FAILED.value
                state.dead += 1
                line = f"✗ Job {job.id} failed: {error}"
        if line and not self.config.quiet:
            says.append(Say(f"[{worker_id}] {line}", logging.INFO, job))
        if finished.seconds is not None and self.config.state_log:
            events.append(finished_event(run, status, error, finished.seconds, worker_id))

    def _unreachable(self, error: OrchError) -> Steps:
        """The queue did not answer: wait, longer each time, then try again (W5). Running jobs go on meanwhile."""
        if self.outage is None:
            self.outage = self.now
            self.outages = 0
        pause = min(OUTAGE_S_MAX, OUTAGE_S * 2.0**self.outages) * (0.5 + 0.5 * self.rng.random())
        self.outages = min(self.outages + 1, 60)
        self.report_at = self.claim_at = self.now + pause
        self.dry = False  # who knows what is ready by then
        what = "Queue takes no writes" if isinstance(error, WriteRefused) else "Queue does not answer"
        yield from self._warn(f"{what} ({said(error)}): trying again in {pause:.1f} s")

    def _reachable(self) -> Steps:
        """The queue answers again, after an outage."""
        seconds = self.now - (self.outage or 0.0)
        self.outage = None
        self.report_at = self.claim_at = 0.0
        yield from self._warn(f"Queue is back after {seconds:.1f} s")

    # -- looking at what happened ----------------------------------------------------------------------------------

    def _look(self) -> Steps:
        self.now, events = yield Next(self._until())
        for event in events:
            if isinstance(event, Stop):  # first of all: what a claim brought at the same time is given back
                yield from self._stop(event)
        for event in events:
            if isinstance(event, Finished):
                run = self._ended(event)
                if run is not None:
                    yield from self._lost(run, event.seconds)
            elif isinstance(event, Claimed):
                yield from self._claimed(event)
        for run in self.state.running.values():
            if run.deadline is not None and self.now >= run.deadline:
                yield from self._overdue()
                break

    def _until(self) -> float | None:
        """When there is something to do even if nothing happens; the past stands for at once."""
        state, config = self.state, self.config
        times: list[float] = []
        for run in state.running.values():
            if run.deadline is not None:
                times.append(run.deadline)  # noqa: PERF401  # a comprehension is a call, for what is mostly one run
        if state.unreported:
            times.append(self.report_at)
        if state.stopping is not None:
            times.append(self.stop_at if self.now < self.stop_at else self.claim_end)
        elif self._idle():
            times.append(self.report_at if config.burst and not self.dry else self.claim_at)
        return min(times) if times else None

    def _ended(self, event: Finished) -> Run | None:
        """Take note of an attempt that ended; returns the run if it found out by itself that it was lost."""
        run = self.state.running.pop(event.key, None)
        if run is None:  # it had been given up; now its slot is free again
            self.state.blocked.pop(event.key, None)
            return None
        if isinstance(event.outcome, Lost):
            return run
        self._to_report(run, event.outcome, event.seconds)
        return None

    def _lost(self, run: Run, seconds: float) -> Steps:
        why = "the queue refused its progress"
        self.now, _ = yield _lost_line(run, why, self.config)
        if self.config.state_log:
            self.now, _ = yield Record((finished_event(run, "lost", why, seconds, self.config.worker_id),))

    def _to_report(self, run: Run, outcome: Outcome, seconds: float) -> None:
        delay_s = None
        if isinstance(outcome, Retry):
            config = self.config
            delay_s = retry_delay(run.job.failures, self.rng, first_s=config.retry_s, most_s=config.retry_s_max)
        self.state.unreported.append(Unreported(run, report_of(run.job, outcome, delay_s=delay_s), seconds))

    def _overdue(self) -> Steps:
        """A run over its `timeout_s` is one failed attempt (W6). Its slot is blocked until its thread ends."""
        state = self.state
        late = [run for run in state.running.values() if run.deadline is not None and self.now >= run.deadline]
        for run in late:
            self._give_up(run)
            self._to_report(run, Retry(f"timed out after {run.job.timeout_s:g} s"), self.now - run.started)
        self.now, _ = yield Abandon(tuple(run.key for run in late))
        for run in late:
            yield from self._warn(f"Job {run.job.id} timed out after {run.job.timeout_s:g} s", run.job)

    def _give_up(self, run: Run) -> None:
        del self.state.running[run.key]
        self.state.blocked[run.key] = run

    # -- the end ---------------------------------------------------------------------------------------------------

    def _stop(self, event: Stop) -> Steps:
        if self.state.stopping is not None:
            return
        config = self.config
        self.state.stopping = event.why
        self.stop_at = self.now + config.grace_s
        self.claim_end = self.now + max(config.grace_s, config.wait_s + CLAIM_LATE_S)
        if event.why == "SIGINT":
            self.now, _ = yield Say("")  # the terminal shows ^C; what follows gets a line of its own
        yield from self._say("Shutting down...")
        if self.state.running:
            yield from self._say(f"Waiting at most {config.grace_s:g} s for {len(self.state.running)} running job(s)")

    def _give_back(self, run: Run, seconds: float | None) -> None:
        report = Report(run.job.id, JobStatus.PENDING, lease=run.job.lease)
        self.state.unreported.append(Unreported(run, report, seconds))

    def _leave(self) -> Generator[Step, Any, int | None]:
        """The end of a worker that was told to stop, once there is nothing left to wait for (W4)."""
        state = self.state
        if (state.running and self.now < self.stop_at) or (state.reserved and self.now < self.claim_end):
            return None
        if state.unreported and not state.running and self.now < self.stop_at:
            return None
        runs = list(state.running.values())
        for run in runs:
            self._give_up(run)
            self._give_back(run, self.now - run.started)
        for run in runs:
            yield from self._say(f"Giving back job {run.job.id}", run.job)
        if runs:
            self.now, _ = yield Abandon(tuple(run.key for run in runs))
        while state.unreported:
            yield from self._exchange()
            if self.outage is not None:
                break
        if not state.unreported and not state.reserved:
            return 0
        ids = ", ".join(finished.run.job.id for finished in state.unreported)
        what = f"not reported, left to their leases: {ids}" if ids else "a claim under way was left behind"
        yield from self._warn(f"Ended while the queue does not answer: {what}")
        return 1

    def _end(self) -> Generator[Step, Any, int | None]:
        """The end of a worker that was given one: `max_jobs`, or `burst`."""
        state, config = self.state, self.config
        if state.running or state.unreported or state.reserved:
            return None
        failed = 1 if config.burst and state.dead else 0
        if config.max_jobs is not None and state.claimed >= config.max_jobs:
            return failed
        if config.burst and len(state.blocked) >= config.slots:
            yield from self._warn("Ended with every slot blocked by a job that was given up: others may be left")
            return 1
        return failed if config.burst and self.dry else None

    # -- small things ----------------------------------------------------------------------------------------------

    def _say(self, text: str, job: Job | None = None) -> Steps:
        if job is not None and self.config.quiet:
            return
        self.now, _ = yield Say(f"[{self.config.worker_id}] {text}", logging.INFO, job)

    def _warn(self, text: str, job: Job | None = None) -> Steps:
        self.now, _ = yield Say(f"[{self.config.worker_id}] {text}", logging.WARNING, job)


def keep_leases(config: Config, state: State) -> Steps:
    """The heartbeat: extends every lease of the worker three times in its length, and tells the queue of it (W2, W8).

    An attempt whose lease is lost is abandoned, and never reported.
    """
    every = config.lease_s / 3
    now, _ = yield Sleep(0.0)
    extend_at = now + every
    beat_at = tell_at = now
    info = _info(config, state)
    told = Announce(info)
    announced = failing = False
    while not state.over:
        if now >= beat_at:
            beat_at = now + SWEEP_S
            if (info.done, info.failed, info.blocked) != (state.done, state.failed, len(state.blocked)):
                info = _info(config, state)
            # A waiting claim is a beat, too. But a queue that missed too many has forgotten who this is, and an
            # announcement that was under way for long may have undone a later one.
            if not announced or info is not told.info or not state.reserved or now >= tell_at:
                if info is not told.info:
                    told = Announce(info)
                now, error = yield told
                announced = error is None
                tell_at = now + TELL_S
        if now >= extend_at:
            extend_at = now + every
            held = state.held()
            if held:
                now, answers = yield Extend(tuple(lease for _, lease in held))
                if isinstance(answers, OrchError):
                    answers = [answers] * len(held)
                trouble = next((answer for answer in answers if isinstance(answer, _NOT_EXTENDED)), None)
                if isinstance(trouble, NotSupported):
                    extend_at = float("inf")
                elif trouble is not None:
                    extend_at = now + min(every, 1.0)
                if trouble is not None and not failing:
                    text = f"[{config.worker_id}] Leases are not extended: {said(trouble)}"
                    now, _ = yield Say(text, logging.WARNING)
                failing = trouble is not None
                runs = [run for run, _ in held]
                yield from _drop_lost(config, state, list(zip(runs, answers, strict=True)), now)
        now, _ = yield Sleep(min(extend_at, beat_at))


def _drop_lost(config: Config, state: State, answers: list[tuple[Run, Lease | OrchError]], now: float) -> Steps:
    lost: list[tuple[Run, OrchError]] = []
    for run, answer in answers:
        if not isinstance(answer, OrchError) or isinstance(answer, _NOT_EXTENDED):
            continue
        if state.running.get(run.key) is run:
            # One that finished meanwhile is not lost: its report settled the lease, or will learn about it.
            del state.running[run.key]
            state.blocked[run.key] = run
            lost.append((run, answer))
    for run, answer in lost:
        yield _lost_line(run, said(answer), config)
    if lost:
        yield Abandon(tuple(run.key for run, _ in lost))
        if config.state_log:
            worker_id = config.worker_id
            yield Record(
                tuple(finished_event(run, "lost", said(error), now - run.started, worker_id) for run, error in lost)
            )


def _lost_line(run: Run, why: str, config: Config) -> Say:
    text = f"[{config.worker_id}] Lost job {run.job.id}: its outcome will not be reported: {why}"
    return Say(text, logging.WARNING, run.job)


def _info(config: Config, state: State) -> WorkerInfo:
    return WorkerInfo(
        config.worker_id,
        config.host,
        config.pid,
        config.started_at,
        done=state.done,
        failed=state.failed,
        slots=config.slots,
        blocked=len(state.blocked),
    )


def said(error: BaseException) -> str:
    """What an error says, and its kind when it says nothing; never raises."""
    try:
        text = str(error)
    except Exception:  # an error of a workflow may do anything
        text = ""
    return text or type(error).__name__
