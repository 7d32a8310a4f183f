"""Bugs of workers (W1 to W8): what workers of shipped queues did, on top of our own logic."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any

from orch.errors import OrchError
from orch.job import Job, JobStatus, Report
from orch.runner import Dead, Done, Outcome, Retry
from orch.simulator.ordeal import Subject
from orch.testing.bugs.catalogue import Bug
from orch.testing.bugs.making import name_of
from orch.worker import keep_leases
from orch.worker.logic import _Work, report_of
from orch.worker.steps import (
    Abandon,
    Announce,
    Claimed,
    Config,
    Exchange,
    Extend,
    Run,
    Say,
    Sleep,
    Start,
    State,
    Stop,
    Unreported,
)

Steps = Generator[Any, Any, Any]
BUGS: tuple[Bug, ...] = ()


def main_with(kind: type[_Work]) -> Callable[..., Steps]:
    """`work`, made of another class."""
    return lambda config, state, rng: kind(config, state, rng).life()


def breaks(*promises: str, source: str = "orch") -> Callable[[Any], Any]:
    """A class in place of the logic of `work`, or a function in place of `keep_leases`, that breaks these promises."""

    def mark(broken: Any) -> Any:
        global BUGS  # noqa: PLW0603  # the list of this module, in the order of its lines
        logic = (main_with(broken), keep_leases) if isinstance(broken, type) else (_Work_life, broken)
        what = " ".join((broken.__doc__ or "").split())
        BUGS = (*BUGS, Bug(name_of(broken), "sim", promises, what, source, lambda: Subject(logic=logic)))
        return broken

    return mark


def _Work_life(config: Config, state: State, rng: Any) -> Steps:  # noqa: N802  # named after what it makes
    return _Work(config, state, rng).life()


def changed(
    config: Config, state: State, change: Callable[[Any], Any], answer: Callable[[Any, Any], Any] | None = None
) -> Steps:
    """`keep_leases` whose steps are changed on their way out: None leaves a step out, as if it had been answered so."""
    steps = keep_leases(config, state)
    value: Any = None
    now = 0.0
    first = True
    while True:
        try:
            step = next(steps) if first else steps.send((now, value))
        except StopIteration:
            return
        first = False
        other = change(step)
        if other is None:
            value = None if not isinstance(step, Extend) else list(step.leases)
            continue
        now, value = yield other
        if answer is not None:
            value = answer(step, value)


# -- W1 ----------------------------------------------------------------------------------------------------------------


@breaks("W1", source="celery acks_early (kill matrix)")
class AcknowledgesBeforeItStarts(_Work):
    """take j; it is reported as done; then it is started: a crash loses it."""

    def _start(self, jobs: Sequence[Job]) -> Steps:
        if jobs:
            self.now, _ = yield Exchange(tuple(report_of(job, Done({})) for job in jobs), 0)
        yield from super()._start(jobs)


@breaks("W1", "W3", "W7", source="dbos#742")
class RunsWhatItOnlyRemembers(_Work):
    """A claim fails: the worker runs the last job that it got once more."""

    last: Job | None = None

    def _start(self, jobs: Sequence[Job]) -> Steps:
        if jobs:
            self.last = jobs[-1]
        yield from super()._start(jobs)

    def _claimed(self, event: Claimed) -> Steps:
        if event.error is not None and self.last is not None:
            event = Claimed((self.last,))
        yield from super()._claimed(event)


# -- W2 ----------------------------------------------------------------------------------------------------------------


@breaks("W2", source="taskiq-redis stream (catalogue K6)")
def never_extends(config: Config, state: State) -> Steps:
    """A job longer than its lease, no renewal: it is delivered again while it runs."""
    yield from changed(config, state, lambda step: None if isinstance(step, Extend) else step)


@breaks("W2", source="faktory_worker_node#163")
def extends_the_first_only(config: Config, state: State) -> Steps:
    """Two jobs run: only the lease of one is extended, the other job is delivered again."""

    def change(step: Any) -> Any:
        return Extend(step.leases[:1]) if isinstance(step, Extend) else step

    def answer(step: Any, value: Any) -> Any:
        return value + list(step.leases[1:]) if isinstance(step, Extend) and isinstance(value, list) else value

    yield from changed(config, state, change, answer)


@breaks("W2", source="bullmq#3183")
def extends_once(config: Config, state: State) -> Steps:
    """The lease of a job is extended one time, however long it runs."""
    extended: set[int] = set()

    def change(step: Any) -> Any:
        if not isinstance(step, Extend):
            return step
        new = any(lease.token not in extended for lease in step.leases)
        extended.update(lease.token for lease in step.leases)
        return step if new else None

    yield from changed(config, state, change)


@breaks("W2", source="celery#5935")
def beats_too_late(config: Config, state: State) -> Steps:
    """The lease is extended when it is over already: whoever asks first gets the job."""
    yield from keep_leases(replace(config, lease_s=config.lease_s * 3.5), state)


@breaks("W2", "W8", source="celery#8030")
def heartbeat_ends_with_an_outage(config: Config, state: State) -> Steps:
    """The store is gone for a moment: the thread that extends ends, and the worker goes on without it."""
    steps = keep_leases(config, state)
    step = next(steps)
    while True:
        now, value = yield step
        if isinstance(value, OrchError):
            while not state.over:
                now, _ = yield Sleep(now + 10.0)
            return
        try:
            step = steps.send((now, value))
        except StopIteration:
            return


@breaks("W2", source="bullmq#1064")
def keeps_what_it_lost(config: Config, state: State) -> Steps:
    """The queue says that the lease is lost: the worker goes on, and reports the job in the end."""
    yield from changed(
        config,
        state,
        lambda step: step,
        lambda step, value: list(step.leases) if isinstance(step, Extend) and isinstance(value, list) else value,
    )


@breaks("W2", source="orch")
def loses_leases_in_silence(config: Config, state: State) -> Steps:
    """The queue says that the lease is lost: the worker drops the job and tells nobody."""
    yield from changed(config, state, lambda step: None if isinstance(step, Say) else step)


# -- W3 ----------------------------------------------------------------------------------------------------------------


@breaks("W3", source="seed 58")
class RepeatsTheWorkNotTheReport(_Work):
    """The report of a finished job gets lost: the job is run again."""

    def _unreachable(self, error: OrchError) -> Steps:
        yield from super()._unreachable(error)
        lost, self.state.unreported = self.state.unreported, []
        for finished in lost:
            run = Run(finished.run.key + 1_000, finished.run.job)
            self.now, _ = yield Start((run,))
            self.state.running[run.key] = run


@breaks("W3", "W7", source="celery#3802")
class ForgetsAReportThatFailed(_Work):
    """The report of a finished job gets lost: nobody sends it again, and the job runs a second time later."""

    def _unreachable(self, error: OrchError) -> Steps:
        self.state.unreported.clear()
        yield from super()._unreachable(error)


@breaks("W3", source="seed 34")
class ResultThatIsNoJsonEndsIt(_Work):
    """A workflow returns what no JSON can say: the worker ends."""

    def _to_report(self, run: Run, outcome: Outcome, seconds: float) -> None:
        if isinstance(outcome, Done):
            Report(run.job.id, JobStatus.SUCCESS, None, outcome.result, run.job.lease)
        super()._to_report(run, outcome, seconds)


@breaks("W3", source="seed 59")
class FailedLogTurnsSuccessIntoFailure(_Work):
    """A job succeeded, and what it returned is reported as a failure."""

    def _to_report(self, run: Run, outcome: Outcome, seconds: float) -> None:
        if isinstance(outcome, Done) and outcome.result:
            outcome = Retry("charmap codec can't encode character")
        super()._to_report(run, outcome, seconds)


# -- W4 ----------------------------------------------------------------------------------------------------------------


@breaks("W4", source="sidekiq#6379")
class GivesBackAtOnce(_Work):
    """Told to stop while a job runs: it is given back before its grace time is over."""

    def _stop(self, event: Stop) -> Steps:
        yield from super()._stop(event)
        self.stop_at = self.now


@breaks("W4", source="sidekiq#6379")
class GivesBackWhatGoesOn(_Work):
    """Told to stop, the grace time is over: the running job is given back and not stopped."""

    def life(self) -> Generator[Any, Any, int]:
        steps = super().life()
        answer: Any = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                code: int = end.value
                return code
            if isinstance(step, Abandon) and self.state.stopping is not None:
                answer = self.now, None
            else:
                answer = yield step


@breaks("W4", source="procrastinate#1564")
class StopDuringStartUpIsLost(_Work):
    """Told to stop before its first look: it goes on for ever."""

    looked = False

    def _stop(self, event: Stop) -> Steps:
        if self.looked:
            yield from super()._stop(event)

    def _look(self) -> Steps:
        yield from super()._look()
        self.looked = self.looked or self.now > 1.0


@breaks("W4", source="seed 55")
class LeavesWithoutGivingBack(_Work):
    """Told to stop while a job runs: it ends with code 0, and the job is left to its lease."""

    def _leave(self) -> Generator[Any, Any, int | None]:
        yield from ()
        return 0


@breaks("W4", "W5", source="celery#4354")
class ThrowsAwayWhatAClaimBrought(_Work):
    """Told to stop while a claim is under way: the jobs that it brings are dropped."""

    def _claimed(self, event: Claimed) -> Steps:
        if self.state.stopping is not None:
            event = replace(event, jobs=())
        yield from super()._claimed(event)


@breaks("W4", source="orch")
class ClaimsOnAfterAStop(_Work):
    """Told to stop while other slots are busy: a job that ends makes room for the next one."""

    def _free(self) -> int:
        state = self.state
        return max(0, self.config.slots - len(state.running) - len(state.blocked) - state.reserved)


@breaks("W4", source="orch")
class NeverGivesUpAtAStop(_Work):
    """Told to stop while a long job runs: it waits for the job however long it takes."""

    def _stop(self, event: Stop) -> Steps:
        yield from super()._stop(event)
        if self.state.running:
            self.stop_at = self.now + 1e6


# -- W5 ----------------------------------------------------------------------------------------------------------------


@breaks("W5", "W3", source="kombu 5.7.0 (catalogue K2)")
class OutageEndsItWithZero(_Work):
    """The store goes away and comes back: the worker has ended, with exit code 0."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.ends = True

    def _end(self) -> Generator[Any, Any, int | None]:
        if self.outage is not None:
            return 0
        code = yield from super()._end()
        return code


@breaks("W5", source="kombu#582")
class OutageIsAnError(_Work):
    """The store goes away: the worker ends with a traceback."""

    def _unreachable(self, error: OrchError) -> Steps:
        yield from ()
        raise error


@breaks("W5", source="seed 68")
class AsksWithoutAPause(_Work):
    """The store goes away: the worker asks it thousands of times a second."""

    def _unreachable(self, error: OrchError) -> Steps:
        yield from super()._unreachable(error)
        self.report_at = self.claim_at = self.now + 0.0005


@breaks("W5", source="celery#8091")
class ConsumesNothingAfterAnOutage(_Work):
    """The store goes away and comes back: the worker lives, beats, and asks for nothing."""

    deaf = False

    def _unreachable(self, error: OrchError) -> Steps:
        self.deaf = True
        yield from super()._unreachable(error)

    def _idle(self) -> int:
        return 0 if self.deaf else super()._idle()


@breaks("W5", "W8", source="bullmq#2466")
class ClaimThatFailedIsStillUnderWay(_Work):
    """A claim fails: its slots stay reserved for ever, and nothing is claimed for them any more."""

    def _claimed(self, event: Claimed) -> Steps:
        reserved = self.state.reserved
        yield from super()._claimed(event)
        if event.error is not None:
            self.state.reserved = reserved


# -- W6 ----------------------------------------------------------------------------------------------------------------


class _Reports(_Work):
    def _to_report(self, run: Run, outcome: Outcome, seconds: float) -> None:
        super()._to_report(run, outcome, seconds)
        last = self.state.unreported[-1]
        self.state.unreported[-1] = Unreported(last.run, self.told(last.report, outcome), last.seconds)

    def told(self, report: Report, outcome: Outcome) -> Report:
        raise NotImplementedError


@breaks("W6", source="seed 61")
class RetriesAtOnce(_Reports):
    """A job fails: it is run again a few milliseconds later, as often as it may."""

    def told(self, report: Report, outcome: Outcome) -> Report:
        return replace(report, delay_s=None)


@breaks("W6", source="dramatiq (linear backoff)")
class BackoffDoesNotGrow(_Reports):
    """A job fails again: it waits no longer than the first time."""

    def told(self, report: Report, outcome: Outcome) -> Report:
        if report.status is not JobStatus.RETRY:
            return report
        return replace(report, delay_s=self.config.retry_s * (0.5 + 0.5 * self.rng.random()))


@breaks("W6", source="orch")
class BackoffHasNoCap(_Reports):
    """A job fails the third time: it waits longer than the longest wait."""

    def told(self, report: Report, outcome: Outcome) -> Report:
        if report.delay_s is None or report.delay_s < self.config.retry_s_max / 2:
            return report
        return replace(report, delay_s=report.delay_s * 2)


@breaks("W6", source="M. Brooker 2015")
class BackoffWithoutJitter(_Reports):
    """Jobs that fail together come back together, again and again."""

    def told(self, report: Report, outcome: Outcome) -> Report:
        if report.status is not JobStatus.RETRY:
            return report
        attempts = next(run for run in [self.state.unreported[-1].run]).job.failures
        return replace(report, delay_s=min(self.config.retry_s_max, self.config.retry_s * 2.0**attempts))


@breaks("W6", source="seed 62")
class PermanentErrorsAreRetried(_Reports):
    """A job fails for good: it is run again until its budget is spent."""

    def told(self, report: Report, outcome: Outcome) -> Report:
        if not isinstance(outcome, Dead):
            return report
        return replace(report, status=JobStatus.RETRY, delay_s=self.config.retry_s)


@breaks("W6", source="river#1105")
class DiscardsWhatItDoesNotKnow(_Reports):
    """A worker does not know the workflow: it fails the job, which another worker could have run."""

    def told(self, report: Report, outcome: Outcome) -> Report:
        if report.status is not JobStatus.RETRY:
            return report
        return replace(report, status=JobStatus.FAILED, delay_s=None)


@breaks("W6", source="seed 70")
class NoTimeOut(_Work):
    """A job runs longer than its time-out: nothing happens."""

    def _start(self, jobs: Sequence[Job]) -> Steps:
        yield from super()._start(jobs)
        for run in self.state.running.values():
            run.deadline = None


# -- W7 ----------------------------------------------------------------------------------------------------------------


@breaks("W7", source="celery prefetch")
class ClaimsMoreThanItCanStart(_Work):
    """It asks for one job more than it has slots."""

    def _free(self) -> int:
        free = super()._free()
        return free + 1 if free else 0


@breaks("W7", source="seed 89")
class ReportsLaterThanItClaims(_Work):
    """A job has ended and could not be reported: its slot is claimed for, although the job still counts as running."""

    def _idle(self) -> int:
        return 0 if self.state.reserved else max(0, self._free())


@breaks("W7", source="orch")
class BlockedSlotsCountAsFree(_Work):
    """A job timed out and its thread goes on: its slot is claimed for."""

    def _free(self) -> int:
        blocked, self.state.blocked = self.state.blocked, {}
        free = super()._free()
        self.state.blocked = blocked
        return free


@breaks("W7", source="orch")
class ClaimsWhileItClaims(_Work):
    """A claim is under way and a slot gets free: it is claimed for as if no claim were under way."""

    def _free(self) -> int:
        reserved, self.state.reserved = self.state.reserved, 0
        free = super()._free()
        self.state.reserved = reserved
        return free


# -- W8 ----------------------------------------------------------------------------------------------------------------


@breaks("W8", source="seed 70")
def says_nothing_of_itself(config: Config, state: State) -> Steps:
    """A worker works and is not listed as what it is."""
    yield from changed(config, state, lambda step: None if isinstance(step, Announce) else step)


@breaks("W8", source="celery#10205")
def announces_itself_once(config: Config, state: State) -> Steps:
    """What a worker did after its first beat is not told."""
    told = False

    def change(step: Any) -> Any:
        nonlocal told
        if not isinstance(step, Announce):
            return step
        first, told = not told, True
        return step if first else None

    yield from changed(config, state, change)


@breaks("W8", source="orch")
def hides_blocked_slots(config: Config, state: State) -> Steps:
    """A job timed out and its thread goes on: nobody is told of the blocked slot."""

    def change(step: Any) -> Any:
        return Announce(replace(step.info, blocked=0)) if isinstance(step, Announce) else step

    yield from changed(config, state, change)
