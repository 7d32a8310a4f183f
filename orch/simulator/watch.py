"""Holds the workers of a world against W1 to W8, step by step, with what only a world can know.

It sees what each worker wants and what it was answered, and keeps its own account: which deliveries a worker has, what
became of each attempt, what it was told of its leases. It looks into no worker and into no queue. What a worker could
not help (a pause, an outage, a bad line) excuses it for as long as that may have an effect.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from orch.errors import LeaseLost, OrchError
from orch.job import Job, JobStatus, Report
from orch.queue import SWEEP_S
from orch.runner import Done, Lost, Outcome, Retry
from orch.worker.steps import (
    Abandon,
    Announce,
    Claim,
    Claimed,
    Exchange,
    Extend,
    Finished,
    Next,
    Say,
    Sleep,
    Start,
    Stop,
)

if TYPE_CHECKING:
    from orch.simulator.member import Attempt, Worker
    from orch.simulator.world import World

TICK_S = 10.0  # between two looks at who is visible and who works
STUCK_S = 60.0  # a world in which nothing happened for so long, and nothing runs, is over
IDLE_S = 30.0  # a worker with a free slot asks more often than that
TRIES_MAX = 20  # in a second, of a queue that does not answer
SPINS_MAX = 5_000  # steps in one instant
LATE_S = 5.0  # what an end may take beyond the grace time and the claim under way
BEATS_S = 10 * SWEEP_S  # a worker that missed so much is gone
EPS = 1e-6


class Broken(Exception):
    """A promise of the contract was broken in a world."""

    def __init__(self, promise: str, sentence: str) -> None:
        super().__init__(f"{promise}: {sentence}")
        self.promise = promise
        self.sentence = sentence


class _Delivery:
    """A delivery as its worker knows it."""

    __slots__ = (
        "attempt",
        "dropped",
        "ended",
        "given_up",
        "job",
        "lost",
        "received",
        "refused",
        "sent",
        "token",
        "worker",
    )

    def __init__(self, job: Job, worker: Worker | None) -> None:
        self.job = job
        self.worker = worker
        self.token = job.lease.token if job.lease is not None else 0
        self.received = False  # the worker got it
        self.attempt: Attempt | None = None  # it was started
        self.ended: Outcome | None = None  # the worker knows how it ended
        self.given_up = False  # the worker abandoned it
        self.dropped = False  # the worker was told that it lost the lease while it ran
        self.refused = False  # the worker was told that it is not the holder, whatever it knew by then
        self.lost = False  # dropped, and it was not about to give it back
        self.sent: JobStatus | None = None  # what was reported


class _Account:
    """What one worker has, wants and was told."""

    __slots__ = (
        "asked_at",
        "changed_at",
        "counted_then",
        "disturbed",
        "done",
        "extends",
        "failed",
        "held",
        "instant",
        "reserved",
        "spins",
        "stop_seen",
        "to_say",
        "told_down",
        "tries",
    )

    def __init__(self, now: float) -> None:
        self.held: dict[int, _Delivery] = {}
        self.reserved = 0
        self.extends: tuple[Any, ...] = ()
        self.disturbed = -1e9  # until when what happened to it may have an effect
        self.stop_seen: float | None = None
        self.asked_at = now
        self.tries: list[float] = []
        self.told_down = -1e9
        self.to_say: set[str] = set()
        self.done = 0
        self.failed = 0
        self.counted_then = (0, 0)
        self.changed_at = now  # when it last had more or fewer jobs
        self.instant = -1.0
        self.spins = 0


class Watch:
    """What must hold of every worker of a world. Its methods are called as things happen; they raise `Broken`."""

    def __init__(self, world: World, *, max_crashes: int) -> None:
        self.world = world
        self.max_crashes = max_crashes
        self.workers: list[Worker] = []
        self.live: dict[str, _Delivery] = {}  # the last delivery of each job that was not settled
        self.tokens: dict[int, _Delivery] = {}
        self.returned_jobs: dict[str, set[int]] = {}
        self.starts: dict[int, int] = {}
        self.fractions: list[float] = []
        self.effect_at = 0.0
        self.looked_at = 0.0
        self.quiet_for = world.lease_s + 1.0
        self.accounts: dict[str, _Account] = {}
        world.delivered = self.delivered
        world.reported = self.reported
        world.troubled = self.disturbed
        world.later(TICK_S, None, self.tick)

    def hired(self, worker: Worker) -> None:
        """A new worker."""
        self.workers.append(worker)
        self.accounts[worker.id] = _Account(self.world.now)

    def disturbed(self, client: Any, seconds: float) -> None:
        """Something happened to a client that it cannot help, for so long."""
        account = self.accounts.get(client.id)
        if account is not None:
            account.disturbed = max(account.disturbed, self.world.now + seconds)

    def told_to_stop(self, worker: Worker) -> None:
        """A worker is sent its first stop."""
        config = worker.config
        late = config.grace_s + max(config.grace_s, config.wait_s + 5.0) + LATE_S
        self.world.later(late, worker, self._must_have_ended, worker)

    def _must_have_ended(self, worker: Worker) -> None:
        if self._calm(worker):
            raise Broken("W4", f"{worker.id} was told to stop {self._ago(worker.stopped_at)} ago and goes on")
        self.world.later(TICK_S, worker, self._must_have_ended, worker)

    def _calm(self, worker: Worker, seconds: float = 20.0) -> bool:
        """Nothing that happened to it within this time can be its excuse."""
        account = self.accounts[worker.id]
        since = max(account.disturbed, worker.paused_until, self.world.down_until)
        return self.world.now - since > seconds

    def _ago(self, instant: float | None) -> str:
        return f"{self.world.now - (instant or 0.0):.3g} s"

    # -- what a worker wants ---------------------------------------------------------------------------------------

    def wants(self, worker: Worker, step: Any) -> None:
        """A step of `work`, before it is done."""
        account = self.accounts[worker.id]
        now = self.world.now
        if now != account.instant:
            account.instant, account.spins = now, 0
        account.spins += 1
        if account.spins > SPINS_MAX:
            raise Broken("W5", f"{worker.id} takes step after step without any time passing: {step}")
        kind = step.__class__
        if kind is Exchange:
            account.asked_at = now
            self._exchanges(worker, account, step)
        elif kind is Claim:
            account.asked_at = now
            if account.stop_seen is not None:
                raise Broken("W4", f"{worker.id} claims after it was told to stop")
            self._room(worker, account, step.n, ())
            account.reserved = step.n
        elif kind is Start:
            if account.stop_seen is not None:
                raise Broken("W4", f"{worker.id} starts job {step.runs[0].job.id!r} after it was told to stop")
        elif kind is Abandon:
            account.changed_at = now
            for delivery in account.held.values():
                if delivery.attempt is not None and delivery.attempt.key in step.keys:
                    delivery.given_up = True
        elif kind is Say and step.job is not None:
            account.to_say.discard(step.job.id)

    def _room(self, worker: Worker, account: _Account, n: int, reports: tuple[Report, ...]) -> None:
        """W7: nothing is claimed before it can start."""
        freed = {report.lease.token for report in reports if report.lease is not None}
        running = {attempt.token for attempt in worker.running.values()}
        waiting = sum(
            token not in freed and token not in running and not delivery.dropped
            for token, delivery in account.held.items()
        )
        free = worker.config.slots - len(running) - waiting - account.reserved
        if n > max(0, free):
            raise Broken(
                "W7",
                f"{worker.id} claims {n} with {free} of {worker.config.slots} slots free: {len(running)} run, "
                f"{waiting} wait for their report, {account.reserved} are claimed for",
            )

    def _exchanges(self, worker: Worker, account: _Account, step: Exchange) -> None:
        if step.n:
            if account.stop_seen is not None:
                raise Broken("W4", f"{worker.id} claims after it was told to stop")
            self._room(worker, account, step.n, step.reports)
        for report in step.reports:
            token = report.lease.token if report.lease is not None else 0
            delivery = self.tokens.get(token)
            if delivery is not None:
                self._reports(worker, account, report, delivery)

    def _reports(self, worker: Worker, account: _Account, report: Report, delivery: _Delivery) -> None:
        """Is this what a worker may say of this delivery?"""
        job, attempt, status, now = delivery.job, delivery.attempt, report.status, self.world.now
        again = delivery.sent is status
        delivery.sent = status
        if delivery.lost:
            raise Broken("W2", f"{worker.id} reports job {job.id!r} although it was told that its lease is lost")
        if status is JobStatus.PENDING:
            if account.stop_seen is None:
                raise Broken("W4", f"{worker.id} gives job {job.id!r} back although nobody told it to stop")
            if attempt is not None and attempt.ended is None and not delivery.given_up:
                raise Broken("W4", f"{worker.id} gives job {job.id!r} back while it still runs it")
            if attempt is not None and now < account.stop_seen + worker.config.grace_s - EPS:
                raise Broken("W4", f"{worker.id} gives running job {job.id!r} back before its grace time is over")
            if delivery.ended is not None and not isinstance(delivery.ended, Lost):
                raise Broken("W3", f"{worker.id} gives job {job.id!r} back although it has its outcome")
            return
        if attempt is None:
            raise Broken("W1", f"{worker.id} reports {status.value} of job {job.id!r}, which it never started")
        outcome = delivery.ended
        over = job.timeout_s is not None and now - attempt.began >= job.timeout_s - EPS
        if outcome is None or isinstance(outcome, Lost):
            if status is not JobStatus.RETRY or not over:
                promise = "W6" if over else "W3"
                raise Broken(promise, f"{worker.id} reports {status.value} of job {job.id!r} while it still runs it")
        else:
            self._fits(worker, attempt, status, outcome)
        if status is JobStatus.RETRY and not again:
            self._waits(worker, job, report.delay_s)

    def _fits(self, worker: Worker, attempt: Attempt, status: JobStatus, outcome: Outcome) -> None:
        """Is the report what the outcome asks for?"""
        job, since = attempt.job, self.world.now - attempt.began
        if job.timeout_s is not None and attempt.seconds > job.timeout_s + 1.0 and self._calm(worker, since):
            raise Broken(
                "W6", f"{worker.id} let job {job.id!r} run {attempt.seconds:g} s, its time-out is {job.timeout_s:g} s"
            )
        if isinstance(outcome, Done):
            right = JobStatus.SUCCESS if is_plain(outcome.result) else JobStatus.FAILED
            promise = "W3"
        else:
            right = JobStatus.RETRY if isinstance(outcome, Retry) else JobStatus.FAILED
            promise = "W6"
        if status is not right:
            kind = type(outcome).__name__
            raise Broken(
                promise, f"{worker.id} reports {status.value} of job {job.id!r}, whose outcome {kind} is {right.value}"
            )

    def _waits(self, worker: Worker, job: Job, delay_s: float | None) -> None:
        """W6: exponential, capped, with jitter."""
        config = worker.config
        most = min(config.retry_s_max, config.retry_s * 2.0**job.failures)
        delay = delay_s or 0.0
        if not 0.5 * most - EPS <= delay <= most + EPS:
            raise Broken(
                "W6",
                f"{worker.id} lets the retry of job {job.id!r} after {job.failures} failures wait {delay:g} s, "
                f"not {0.5 * most:g} to {most:g} s",
            )
        if most > 0:
            self.fractions.append(round(delay / most, 9))
            if len(self.fractions) >= 5 and len(set(self.fractions)) == 1:
                raise Broken("W6", f"five retries wait {self.fractions[0]:g} of their time each: there is no jitter")

    # -- what a worker is answered ---------------------------------------------------------------------------------

    def answered(self, worker: Worker, step: Any, value: Any) -> None:
        """The answer to a step of `work`."""
        account = self.accounts[worker.id]
        kind = step.__class__
        if kind is Next:
            for event in value:
                self._event(worker, account, event)
        elif kind is Exchange:
            if isinstance(value, OrchError):
                self._down(worker, account)
                return
            results, jobs = value
            account.changed_at = self.world.now
            for report, result in zip(step.reports, results, strict=True):
                token = report.lease.token
                if isinstance(result, Job):
                    account.done += report.status is JobStatus.SUCCESS
                    account.failed += report.status in (JobStatus.RETRY, JobStatus.FAILED)
                account.held.pop(token, None)
            self._receives(worker, account, jobs)

    def _event(self, worker: Worker, account: _Account, event: Any) -> None:
        if isinstance(event, Finished):
            account.changed_at = self.world.now
            for delivery in account.held.values():
                if delivery.attempt is not None and delivery.attempt.key == event.key:
                    if delivery.given_up:
                        break
                    delivery.ended = event.outcome
                    if isinstance(event.outcome, Lost):
                        del account.held[delivery.token]
                    break
        elif isinstance(event, Claimed):
            account.reserved = 0
            account.asked_at = self.world.now
            if event.error is not None:
                self._down(worker, account)
            self._receives(worker, account, event.jobs)
        elif isinstance(event, Stop) and account.stop_seen is None:
            account.stop_seen = self.world.now

    def _receives(self, worker: Worker, account: _Account, jobs: Any) -> None:
        for job in jobs:
            delivery = self.tokens.get(job.lease.token)
            if delivery is not None:
                delivery.received = True
                account.held[delivery.token] = delivery

    def _down(self, worker: Worker, account: _Account) -> None:
        """W5: it waits with backoff."""
        now = self.world.now
        account.told_down = now
        account.tries = [at for at in account.tries if at > now - 1.0]
        account.tries.append(now)
        if len(account.tries) > TRIES_MAX:
            raise Broken("W5", f"{worker.id} asked a queue that does not answer {len(account.tries)} times in a second")

    def started(self, worker: Worker, attempt: Attempt) -> None:
        """A job is run."""
        token, job = attempt.token, attempt.job
        self.starts[token] = self.starts.get(token, 0) + 1
        if self.starts[token] > 1:
            raise Broken("W3", f"{worker.id} runs attempt {job.attempts} of job {job.id!r} again: the work is repeated")
        delivery = self.accounts[worker.id].held.get(token)
        if delivery is None:
            raise Broken("W1", f"{worker.id} runs job {job.id!r}, which was not delivered to it")
        delivery.attempt = attempt
        if len(worker.running) >= worker.config.slots:
            raise Broken("W7", f"{worker.id} has no slot for job {job.id!r}")

    def beats(self, worker: Worker, step: Any) -> None:
        """A step of `keep_leases`."""
        account = self.accounts[worker.id]
        kind = step.__class__
        if kind is Extend:
            account.extends = step.leases
        elif kind is Say:
            if step.job is not None and step.level >= logging.WARNING:
                account.to_say.discard(step.job.id)
                self._says_lost(account, step.job)
        elif kind is Abandon:
            account.changed_at = self.world.now
            for token, delivery in list(account.held.items()):
                if delivery.attempt is not None and delivery.attempt.key in step.keys:
                    delivery.given_up = True
                    del account.held[token]
        elif kind is Sleep:
            account.extends = ()
            if account.to_say:
                raise Broken("W2", f"{worker.id} lost the lease of job {min(account.to_say)!r} and does not say so")
        elif kind is Announce:
            account.extends = ()

    def _says_lost(self, account: _Account, job: Job) -> None:
        """The heartbeat drops what it was refused, also what ended while `work` was still at an earlier event."""
        delivery = account.held.get(0 if job.lease is None else job.lease.token)
        if delivery is not None and delivery.refused:
            delivery.dropped = True

    def beat_answered(self, worker: Worker, value: Any) -> None:
        """The answer to the last step of `keep_leases`."""
        account = self.accounts[worker.id]
        if not account.extends or not isinstance(value, list):
            return
        for lease, answer in zip(account.extends, value, strict=True):
            if isinstance(answer, LeaseLost):
                delivery = account.held.get(lease.token)
                if delivery is not None:
                    delivery.refused = True
                if delivery is None or delivery.attempt is None or delivery.ended is not None or delivery.given_up:
                    continue
                delivery.dropped = True
                if account.stop_seen is not None:
                    continue  # it may be giving the job back just now
                delivery.lost = True
                account.to_say.add(lease.job_id)
        account.extends = ()

    def returned(self, worker: Worker, code: int) -> None:
        """A worker ended by itself."""
        account = self.accounts[worker.id]
        down = self.world.now - account.told_down < 15.0
        left = [delivery for delivery in account.held.values() if not delivery.dropped]
        if code == 0:  # what it was refused is not its any more, whether it came to saying so or not
            left = [delivery for delivery in left if not delivery.refused]
        ids = ", ".join(repr(delivery.job.id) for delivery in left)
        if account.stop_seen is None:
            raise Broken("W5" if down else "W4", f"{worker.id} ended with code {code} although nobody told it to")
        if code == 0 and (ids or account.reserved):
            raise Broken("W5" if down else "W4", f"{worker.id} ended with code 0 and still holds {ids or 'a claim'}")
        if code != 0 and not ids and not account.reserved:
            raise Broken("W4", f"{worker.id} was told to stop, gave everything back and ended with code {code}")
        if code != 0 and self._calm(worker):
            raise Broken("W4", f"{worker.id} ended with code {code} and still holds {ids or 'a claim'}")
        late = self.world.now - account.stop_seen - worker.config.grace_s
        if late > max(worker.config.grace_s, worker.config.wait_s + 5.0) + LATE_S and self._calm(worker):
            raise Broken("W4", f"{worker.id} took {late:.3g} s longer than its grace time to end")

    def broke(self, worker: Worker, error: Exception) -> None:
        """Its logic raised."""
        account = self.accounts[worker.id]
        promise = "W5" if self.world.now - account.told_down < EPS else "W3"
        raise Broken(promise, f"{worker.id} was ended by {type(error).__name__}: {error}") from error

    # -- what the store sees ---------------------------------------------------------------------------------------

    def delivered(self, job: Job, client: Any) -> None:
        """The store delivered a job."""
        worker = client if client.id in self.accounts else None
        self.effect_at = self.world.now
        before = self.live.get(job.id)
        delivery = _Delivery(job, worker)
        if delivery.token in self.tokens:
            raise Broken("Q4", f"attempt {job.attempts} of job {job.id!r} was delivered twice, now to {client.id}")
        self.live[job.id] = self.tokens[delivery.token] = delivery
        if before is None or before.worker is None or not before.received or before.worker.gone:
            return
        expiry = self.world.expiries.get(before.token)
        if expiry is not None and expiry[0] > self.world.now + 0.001:
            over = f"{expiry[0] - self.world.now:.3g} s before its lease was over"
            raise Broken("Q4", f"job {job.id!r} was delivered to {client.id} while {before.worker.id} had it, {over}")
        holder = before.worker
        account = self.accounts[holder.id]
        if before.token not in account.held or not self._calm(holder, self.quiet_for):
            return
        if before.ended is not None or before.given_up:
            raise Broken("W3", f"{holder.id} knows how job {job.id!r} ended, and its report did not reach the queue")
        raise Broken(
            "W2", f"job {job.id!r} was delivered again while {holder.id} ran it and nothing kept it from extending"
        )

    def reported(self, report: Report, result: Any, client: Any) -> None:
        """The store took a report, or refused it."""
        self.effect_at = self.world.now
        if isinstance(result, Job) and report.lease is not None:
            if report.status is JobStatus.PENDING:
                self.returned_jobs.setdefault(report.job_id, set()).add(report.lease.token)
            live = self.live.get(report.job_id)
            if live is not None and live.token == report.lease.token:
                del self.live[report.job_id]

    # -- from time to time -----------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Is everybody visible (W8), and does everybody ask who could (W5)?"""
        world = self.world
        for worker in self.workers:
            account = self.accounts[worker.id]
            if worker.gone or not self._calm(worker, IDLE_S):
                continue
            used = len(account.held) + sum(attempt.token not in account.held for attempt in worker.running.values())
            idle = account.reserved == 0 and used < worker.config.slots and account.stop_seen is None
            if idle and world.now - account.asked_at > IDLE_S:
                raise Broken(
                    "W5", f"{worker.id} has a free slot and asked for nothing for {self._ago(account.asked_at)}"
                )
        self.look_who_is_there()
        world.later(TICK_S, None, self.tick)

    def look_who_is_there(self) -> None:
        """W8: who lives is listed as it is, who is gone is not."""
        world = self.world
        if world.now < world.down_until or world.now - self.looked_at < TICK_S / 2:
            return
        self.looked_at = world.now
        try:
            listed = {info.id: info for info in world.queue.workers()}
        except OrchError:
            return
        for worker in self.workers:
            info, account, config = listed.get(worker.id), self.accounts[worker.id], worker.config
            if worker.gone:
                if info is not None and world.now - (worker.gone_at or 0.0) > BEATS_S + 10.0:
                    raise Broken("W8", f"{worker.id} is gone for {self._ago(worker.gone_at)} and still listed")
                continue
            blocked = sum(attempt.token not in account.held for attempt in worker.running.values())
            if self._calm(worker, 25.0) and world.now - worker.hired_at > 5.0:
                if info is None:
                    raise Broken("W8", f"{worker.id} lives and is not listed")
                told = (info.host, info.pid, info.started_at, info.slots)
                if told != (config.host, config.pid, config.started_at, config.slots):
                    raise Broken("W8", f"{worker.id} is listed with host, pid, start and slots {told}")
                low, high = account.counted_then, (account.done, account.failed)
                if not (low[0] <= info.done <= high[0] and low[1] <= info.failed <= high[1]):
                    raise Broken(
                        "W8", f"{worker.id} is listed with {info.done} done and {info.failed} failed, not {high}"
                    )
                if blocked != info.blocked and world.now - account.changed_at > 5.0:
                    raise Broken("W8", f"{worker.id} has {blocked} blocked slots and is listed with {info.blocked}")
            account.counted_then = account.done, account.failed

    def stuck(self) -> bool:
        """Nobody does anything any more, although nothing is in the way."""
        world = self.world
        if any(worker.running for worker in self.workers if not worker.gone):
            self.effect_at = world.now
        in_the_way = max([world.down_until, *(worker.paused_until for worker in self.workers)])
        return not world.to_come and world.now - max(self.effect_at, in_the_way) >= STUCK_S

    def at_the_end(self, jobs: list[Job]) -> None:
        """W1: nothing ran too often."""
        for job in jobs:
            bound = 1 + job.max_retries + self.max_crashes + len(self.returned_jobs.get(job.id, ()))
            if job.attempts > bound:
                raise Broken("Q6", f"job {job.id!r} was delivered {job.attempts} times, at most {bound} are allowed")


def is_plain(result: Any) -> bool:
    """Can this result be kept?"""
    return isinstance(result, dict) and all(isinstance(value, int) for value in result.values())
