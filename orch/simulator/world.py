"""A world: virtual time, one shipping queue, and whoever asks it something over a network that may be bad.

Everything that happens is an entry of one agenda, done in the order of time; entries of one instant are done in the
order they were made. Nothing waits for real. A client that is gone never gets its turn again: a crash is a generator
that nobody resumes. A client that is paused gets its turn late: it becomes a zombie.

What a request does to the queue happens at one instant, and is written down with it; so the history of a world can be
told as the clients saw it, or as the store did.
"""

from __future__ import annotations

import gc
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from heapq import heappop, heappush
from typing import Any, Protocol

from orch.clock import Clock, iso_to_us, to_us
from orch.errors import BackendUnavailable, OrchError
from orch.history import History, Op, Outcome
from orch.job import Job, JobStatus, Lease, Report, WorkerInfo
from orch.queue import LEASE_S, PersistentQueue
from orch.simulator.straight import Straight
from orch.simulator.tape import NEVER, Stream

EPOCH = 1_767_225_600.0  # 2026-01-01 in UTC: when a world begins, for the clocks that people read
TICK_S = 2e-6  # a store reckons in whole microseconds: what is due is certainly due so much later
COMMAND_S = 0.001  # between two commands of a queue that needs several for a verb
POLL_S = 1.0  # how often a claim asks again where each look is several commands
GARBAGE_MAX = 100_000  # values made between two looks for garbage that refers to itself
WAIT_MORE_S = 1.0  # how often a world looks whether it is over
DOWN = BackendUnavailable("the connection was cut")
LATER = object()  # the answer of a request that is under way
QUIET = Stream(lambda _: (NEVER, 0))

# What the network does to a request: 0 is nothing at all.
SLOW, SLOW_REQUEST, SLOW_REPLY, VERY_SLOW_REQUEST, VERY_SLOW_REPLY, LOST_REQUEST, LOST_REPLY, LATE_REQUEST = range(1, 9)
_OUT_S = (0.0, 0.001, 0.05, 0.0, 1.5, 0.0, 0.0, 0.0, 3.0)
_BACK_S = (0.0, 0.001, 0.0, 0.05, 0.0, 1.5, 0.0, 0.0, 0.0)


@contextmanager
def little_garbage() -> Iterator[None]:
    """While this is open, cycles are looked for less often: a world makes many values and hardly any cycles."""
    thresholds = gc.get_threshold()
    gc.set_threshold(GARBAGE_MAX, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


class Client(Protocol):
    """Who asks the queue: a worker, a producer, a scheduler."""

    id: str
    gone: bool
    paused_until: float
    net: Stream
    latency: Callable[[], float] | None  # of one way, in seconds; None is none

    def breathe(self) -> bool:
        """Called between two commands of one verb; True if the client is gone now."""


class Silent(Protocol):
    """A member of a calm world, whose heartbeat wakes when something may depend on it."""

    gone: bool

    def catch_up(self) -> None:
        """Wake the heartbeat now, if it should have woken before."""


class Trip:
    """One request: what was asked, when, when the store did it (None: never), when the answer came, and the answer."""

    __slots__ = ("answer", "asked", "at", "called", "client", "n", "returned", "since", "verb")

    def __init__(self, client: str, verb: str, asked: Any, n: int, called: int) -> None:
        self.client = client
        self.verb = verb
        self.asked = asked
        self.n = n
        self.called = called  # instants in nanoseconds of virtual time, no two requests at the same
        self.since: int | None = None  # when its first command was done, of one that found nothing in several
        self.at: int | None = None
        self.returned: int | None = None
        self.answer: Any = None


class _Waiter:
    """A claim that found nothing and waits at the store."""

    __slots__ = ("again_at", "again_s", "client", "lost", "n", "then", "trip", "until")

    def __init__(
        self, client: Client, n: int, until: float, trip: Trip, then: Callable[[Any], None], lost: bool
    ) -> None:
        self.client = client
        self.n = n
        self.until = until
        self.again_at = -1  # up to this step of its client the end of the wait brings the same claim again,
        self.again_s = 0.0  # which waits as long as this
        self.trip = trip
        self.then = then
        self.lost = lost


class World:
    """One queue under many clients, on virtual time (`now`, in seconds from its beginning)."""

    def __init__(
        self, make_queue: Callable[[Clock], PersistentQueue], *, lease_s: float = LEASE_S, epoch: float = EPOCH
    ) -> None:
        self.now = 0.0
        self.lease_s = lease_s
        self.agenda: list[tuple[float, int, Client | None, Callable[..., None], tuple[Any, ...]]] = []
        self.order = 0
        self.over = False
        self.trips: list[Trip] = []
        self.waiting: OrderedDict[_Waiter, bool] = OrderedDict()  # claims that found nothing, the longest waiting first
        self.down_until = 0.0
        self.expiries: dict[int, tuple[float, str]] = {}  # token of a lease -> its end in virtual time, and who has it
        self.to_come = 0  # jobs that are not enqueued yet
        self.delivered: Callable[[Job, Client], None] | None = None  # told of each delivery, at the store
        self.reported: Callable[[Report, Any, Client], None] | None = None  # and of each report
        self.accepted: Callable[[Job], None] | None = None  # of each job that was new
        self.keep_trips = True  # without them there is no history
        self.troubled: Callable[[Client, float], None] | None = None  # and of each request that has a bad time
        self.straight: Straight | None = None  # told of each answer of the store
        self.calm = False  # nothing goes wrong and nobody looks: silence passes in one step (see `pass_silence`)
        self.silent: list[Silent] = []  # who has steps of its own to catch up on
        self.lapse_at = math.inf  # no lease of a calm world ends before that
        self.passing = False  # silence, just now
        self._last_ns = -1
        self._lease_us = to_us(lease_s)
        self._empty_at = -1.0  # when the last dequeue found too little,
        self._empty_for: Client | None = None  # and whose it was, if nothing came since that it could have found
        self.epoch = epoch
        self.queue = make_queue(lambda: epoch + self.now)
        self._in_steps = getattr(self.queue, "in_steps", None)
        self._told_caller = hasattr(self.queue, "caller")

    # -- time ------------------------------------------------------------------------------------------------------

    def later(self, delay: float, owner: Client | None, act: Callable[..., None], *args: Any) -> None:
        """Do something so many seconds from now, unless its owner is gone by then."""
        self.order += 1
        heappush(self.agenda, (self.now + delay, self.order, owner, act, args))

    def at(self, when: float, act: Callable[..., None], *args: Any) -> None:
        """Do something at an instant, exactly."""
        self.order += 1
        heappush(self.agenda, (max(when, self.now), self.order, None, act, args))

    def run(self, until: float = math.inf) -> None:
        """Let time pass until then, or until the world is over."""
        agenda = self.agenda
        while agenda and not self.over:
            at, order, owner, act, args = heappop(agenda)
            if owner is not None:
                if owner.gone:
                    continue
                if owner.paused_until > at:
                    heappush(agenda, (owner.paused_until, order, owner, act, args))
                    continue
            if at > until:
                heappush(agenda, (at, order, owner, act, args))
                self.now = until
                return
            self.now = at
            act(*args)

    def watch_for_the_end(self, not_before: float = 0.0) -> None:
        """End the world once no job is left to do."""
        if not self.to_come and self.now >= not_before:
            counts = self.queue.counts()
            if not counts[JobStatus.PENDING] and not counts[JobStatus.RUNNING]:
                self.over = True
                return
        self.later(WAIT_MORE_S, None, self.watch_for_the_end, not_before)

    def stamp(self) -> int:
        """The instant of now in nanoseconds, later than all before; without a history, nothing that costs time."""
        if not self.keep_trips:
            return 0
        ns = int(self.now * 1e9)
        if ns <= self._last_ns:
            ns = self._last_ns + 1
        self._last_ns = ns
        return ns

    # -- silence ---------------------------------------------------------------------------------------------------

    def pass_silence(self) -> None:
        """Claims that waited without news end and begin again, each at its time: the store had nothing for them.

        In a calm world a job gets ready only by an arrival or a report, and no lease ends. So what a worker decides
        when a wait is over is asked of it later, in the same order, and once for all waits that end alike; the store is
        asked only where its answer may be another.
        """
        now, waiting = self.now, self.waiting
        while waiting:
            waiter = next(iter(waiting))
            if waiter.until >= now:
                break
            client: Any = waiter.client  # who waits here is a worker
            if waiter.again_at == client.steps:
                waiter.until += waiter.again_s
                waiting.move_to_end(waiter)
                continue
            del waiting[waiter]
            self.now, self.passing = waiter.until, True
            if client.wait_is_over():  # and claims again, and so it will until something happens to it
                next(reversed(waiting)).again_at = client.steps
        self.now, self.passing = now, False

    def keep_leases(self) -> None:
        """Before a lease could end: every heartbeat wakes that is late, and extends what its worker holds."""
        for member in self.silent:
            member.catch_up()
        self.silent = [member for member in self.silent if not member.gone]
        self.lapse_at = min((expiry for expiry, _ in self.expiries.values()), default=math.inf)

    # -- requests --------------------------------------------------------------------------------------------------

    def send(self, client: Client, verb: str, asked: Any, n: int, then: Callable[[Any], None]) -> Any:
        """Ask the queue; returns the answer, or LATER, and `then` gets it. An error is an answer."""
        net = client.net
        at = net.at
        if at != net.next and client.latency is None and self._in_steps is None:
            net.at = at + 1
            if verb == "announce":
                return self._announce(asked)
            trip = Trip(client.id, verb, asked, n, 0)
            answer = self._reach(trip, client)
            trip.returned = trip.at
            trip.called = self.stamp() if trip.at is None else trip.at
            return answer
        trip = Trip(client.id, verb, asked, n, self.stamp())
        kind = net.take()
        lost, out, back = self._fate(client, kind, trip)
        if kind == LOST_REQUEST:
            self.trips.append(trip)
            self.later(out, client, then, DOWN)
        elif kind == LATE_REQUEST:  # its client has given up long before it arrives
            self.later(out, None, self._arrive, trip, client, None, 0.0, True)
            self.later(0.0, client, then, DOWN)
        else:
            self.later(out, client if self._in_steps else None, self._arrive, trip, client, then, back, lost)
        return LATER

    def _fate(self, client: Client, kind: int, trip: Trip) -> tuple[bool, float, float]:
        out, back = _OUT_S[kind], _BACK_S[kind]
        if kind and self.troubled is not None:
            self.troubled(client, out + back)
        if client.latency is not None:
            out += client.latency()
            back += client.latency()
        return kind == LOST_REPLY, out, back

    def _arrive(self, trip: Trip, client: Client, then: Callable[[Any], None] | None, back: float, lost: bool) -> None:
        """A request is at the store."""
        if self._in_steps is not None and trip.verb != "announce":
            steps = self._in_steps(trip.verb, trip.asked, trip.n, client.id, self.lease_s)
            if steps is not None:
                self._go_on(steps, trip, client, then, lost)
                return
        self._reply(trip, self._reach(trip, client), client, then, back, lost)

    def _go_on(self, steps: Any, trip: Trip, client: Client, then: Callable[[Any], None] | None, lost: bool) -> None:
        """The next command of a verb that needs several; its client may die, or be late, between any two.

        A command that delivered a job gives the job, one that took a report gives the report and its answer: so each
        effect is written down at its instant, also those of a client that dies before the end.
        """
        if trip.since is None:
            trip.since = self.stamp()
        if self.now < self.down_until:
            self._reply(trip, DOWN, client, then, 0.0, False)
            return
        if self._told_caller:
            self.queue.caller = client  # type: ignore[attr-defined]  # a queue that wants to know has the attribute
        try:
            effect = next(steps)
        except StopIteration as end:
            answer = end.value
        except OrchError as error:
            answer = error
        else:
            if effect is not None:
                self._effect(client, effect)
            if not client.breathe():
                self.later(COMMAND_S, client, self._go_on, steps, trip, client, then, lost)
            return
        jobs = answer[1] if trip.verb == "exchange" and isinstance(answer, tuple) else answer
        if trip.n and jobs == []:
            found_nothing = Trip(client.id, "dequeue", None, trip.n, trip.called)
            found_nothing.since = trip.since
            self._note(found_nothing, [], client)
            found_nothing.returned = found_nothing.at
        self._reply(trip, answer, client, then, 0.0, lost)

    def ask_now(self, client: Client, verb: str, asked: Any, n: int) -> Any:
        """Ask the queue here and now, all commands of the verb at once."""
        steps = None if self._in_steps is None else self._in_steps(verb, asked, n, client.id, self.lease_s)
        if steps is None:
            return self._reach(Trip(client.id, verb, asked, n, self.stamp()), client)
        while True:
            try:
                effect = next(steps)
            except StopIteration as end:
                return end.value
            if effect is not None:
                self._effect(client, effect)

    def _effect(self, client: Client, effect: Any) -> None:
        answer: Any
        if isinstance(effect, Job):
            trip, answer = Trip(client.id, "dequeue", None, 1, self.stamp()), [effect]
        else:
            report, result = effect
            trip, answer = Trip(client.id, "exchange", (report,), 0, self.stamp()), ([result], [])
        self._note(trip, answer, client)
        trip.returned = trip.at

    def _reply(
        self, trip: Trip, answer: Any, client: Client, then: Callable[[Any], None] | None, back: float, lost: bool
    ) -> None:
        if then is None:
            return
        if lost:
            answer = DOWN
        if lost or client.gone:
            self.orphaned(client.id)
        self.later(back, client, self._returned, trip, answer, then)

    def _returned(self, trip: Trip, answer: Any, then: Callable[[Any], None]) -> None:
        if answer is not DOWN:
            trip.returned = self.stamp()
        then(answer)

    def claim(self, client: Client, n: int, wait_s: float, then: Callable[[Any], None]) -> None:
        """Ask for up to n jobs, and wait at the store for them as long as that; `then` gets jobs or an error."""
        if self.passing:
            trip = Trip(client.id, "dequeue", None, n, 0)
            waiter = _Waiter(client, n, self.now + wait_s, trip, then, False)
            waiter.again_s = wait_s
            self.waiting[waiter] = True
            return
        trip = Trip(client.id, "dequeue", None, n, self.stamp())
        net = client.net
        if net.at != net.next and client.latency is None and self._in_steps is None:
            net.at += 1
            self._claim_at_store(trip, client, n, self.now + wait_s, then, False, 0.0)
            return
        kind = net.take()
        lost, out, back = self._fate(client, kind, trip)
        if kind == LOST_REQUEST:
            self.trips.append(trip)
            self.later(out, client, then, DOWN)
        elif kind == LATE_REQUEST:
            self.later(out, None, self._arrive, trip, client, None, 0.0, True)
            self.later(0.0, client, then, DOWN)
        else:
            until = self.now + out + wait_s
            self.later(out, client, self._claim_at_store, trip, client, n, until, then, lost, back)

    def _claim_at_store(
        self, trip: Trip, client: Client, n: int, until: float, then: Callable[[Any], None], lost: bool, back: float
    ) -> None:
        steps = None
        if self._in_steps is not None:
            steps = self._in_steps("dequeue", None, n, client.id, self.lease_s)
        if steps is not None:

            def ended(answer: Any) -> None:
                if answer == [] and self.now < until:
                    again = Trip(client.id, "dequeue", None, n, self.stamp())
                    self.later(POLL_S, client, self._claim_at_store, again, client, n, until, then, lost, back)
                else:
                    then(answer)

            self._go_on(steps, trip, client, ended, lost)
            return
        if self._empty_for is client and self._empty_at == self.now < until and not self._told_caller:
            jobs: Any = []  # it has just looked, and nothing came since
        else:
            jobs = self._reach(trip, client)
            if jobs == [] and self.now < until:
                self._forget()
        if jobs == [] and self.now < until:
            waiter = _Waiter(client, n, until, trip, then, lost)
            self.waiting[waiter] = True
            if not self.calm:
                self.later(until - self.now, client, self._wait_ends, waiter)
            return
        if lost or back:
            self._reply(trip, jobs, client, then, back, lost)
            return
        trip.returned = trip.at
        then(jobs)

    def _wait_ends(self, waiter: _Waiter) -> None:
        if self.waiting.pop(waiter, None) is None:
            return
        self._reply_now(waiter, self._reach(waiter.trip, waiter.client))

    def _forget(self) -> None:
        """A look of a claim that goes on waiting is no answer to it."""
        if self.keep_trips:
            self.trips.pop()

    def _reply_now(self, waiter: _Waiter, jobs: Any) -> None:
        if waiter.lost:
            self._reply(waiter.trip, jobs, waiter.client, waiter.then, 0.0, True)
            return
        waiter.trip.returned = waiter.trip.at
        latency = waiter.client.latency
        if latency is None:
            waiter.then(jobs)
        else:
            self.later(latency(), waiter.client, waiter.then, jobs)

    def news(self, looks: float = math.inf) -> None:
        """Something may be ready: those who wait look again, the longest waiting first, until one finds nothing.

        `looks` is how many jobs got ready, where that is known: more need not look.
        """
        if self.calm:
            self.pass_silence()
        for waiter in [*self.waiting]:
            if looks <= 0:
                return
            if waiter.client.gone:
                self.waiting.pop(waiter, None)
                continue
            if waiter.client.paused_until > self.now or waiter not in self.waiting:
                continue
            jobs = self._reach(waiter.trip, waiter.client)
            if jobs == []:
                self._forget()
                return
            del self.waiting[waiter]
            looks -= 1
            self._reply_now(waiter, jobs)

    def orphaned(self, client_id: str) -> None:
        """Nobody may extend the leases of this client: those who wait look again when each is over."""
        for expiry, holder in self.expiries.values():
            if holder == client_id:
                self.later(max(0.0, expiry - self.now) + TICK_S, None, self.news)

    def go_down(self, seconds: float) -> None:
        """The store cannot be reached for so long; whoever waits at it is told."""
        self.down_until = max(self.down_until, self.now + seconds)
        waiting, self.waiting = self.waiting, OrderedDict()
        for waiter in waiting:
            if not waiter.client.gone:
                self.later(0.0, waiter.client, waiter.then, DOWN)

    # -- at the store ----------------------------------------------------------------------------------------------

    def _reach(self, trip: Trip, client: Client) -> Any:
        """Do what was asked, now and in one step."""
        if self.now < self.down_until:
            if self.keep_trips:
                self.trips.append(trip)
            return DOWN
        if self.now + TICK_S >= self.lapse_at and trip.n:
            self.keep_leases()
        queue = self.queue
        if self._told_caller:
            queue.caller = client  # type: ignore[attr-defined]  # a queue that wants to know has the attribute
        verb = trip.verb
        try:
            if verb == "dequeue":
                answer: Any = queue.dequeue_many(trip.n, client.id, lease_s=self.lease_s)
            elif verb == "exchange":
                answer = queue.exchange(trip.asked, trip.n, client.id, lease_s=self.lease_s)
            elif verb == "extend":
                answer = queue.extend_many(trip.asked, self.lease_s)
            elif verb == "announce":
                return self._announce(trip.asked)
            else:
                answer = queue.enqueue(trip.asked)
        except OrchError as error:
            answer = error
        self._note(trip, answer, client)
        return answer

    def _announce(self, info: WorkerInfo) -> OrchError | None:
        """A worker tells about itself; no history has that."""
        if self.now < self.down_until:
            return DOWN
        try:
            self.queue.announce(info)
        except OrchError as error:
            return error
        return None

    def _note(self, trip: Trip, answer: Any, client: Client) -> None:
        trip.answer = answer
        straight = self.straight
        if self.keep_trips:
            ns = int(self.now * 1e9)
            if ns <= self._last_ns:
                ns = self._last_ns + 1
            trip.at = self._last_ns = ns
            self.trips.append(trip)
        else:
            trip.at = 0
        if isinstance(answer, OrchError):
            if straight is not None:
                straight.ok = False
            return
        verb = trip.verb
        if verb == "dequeue":
            jobs = answer
        elif verb == "exchange":
            results, jobs = answer
            self._note_reports(trip.asked, results, client)
        else:
            if verb == "extend":
                self._note_extensions(trip.asked, answer)
            else:
                self._note_enqueue(trip.asked, answer)
            return
        n = trip.n
        if n and straight is not None and straight.ok:
            straight.dequeued(n, client.id, jobs, self._lease_us, to_us(self.epoch + self.now))
        if len(jobs) < n:
            self._empty_at, self._empty_for = self.now, client
        for job in jobs:
            lease = job.lease
            if lease is not None:
                expiry = lease.expires_at - self.epoch
                self.expiries[lease.token] = expiry, client.id
                if self.calm and expiry < self.lapse_at:
                    self.lapse_at = expiry
            if self.delivered is not None:
                self.delivered(job, client)

    def _note_enqueue(self, job: Job, answer: Any) -> None:
        straight, not_before = self.straight, job.not_before
        if straight is not None and straight.ok:
            due = None if not_before is None else iso_to_us(not_before)
            straight.enqueued(job, due, answer, to_us(self.epoch + self.now))
        if answer:
            self._empty_for = None
            if self.accepted is not None:
                self.accepted(job)
            if not_before is not None or self.waiting:
                self._ready_at(not_before)

    def _note_reports(self, reports: Sequence[Report], results: Sequence[Any], client: Client) -> None:
        straight = self.straight
        self._empty_for = None
        ready = 0
        for report, result in zip(reports, results, strict=True):
            if straight is not None and straight.ok:
                straight.reported(report, result, to_us(self.epoch + self.now))
            if report.lease is not None:
                self.expiries.pop(report.lease.token, None)
            if self.reported is not None:
                self.reported(report, result, client)
            if result.__class__ is Job and result.status is JobStatus.PENDING:
                if report.delay_s:
                    self.later(report.delay_s + TICK_S, None, self.news)
                else:
                    ready += 1
        if ready and self.waiting:
            self.later(0.0, None, self.news, ready)

    def _note_extensions(self, leases: Sequence[Lease], answers: Any) -> None:
        straight = self.straight
        if straight is not None and straight.ok:
            straight.extended(leases, answers, self._lease_us, to_us(self.epoch + self.now))
        for lease in answers:
            if lease.__class__ is Lease:
                self.expiries[lease.token] = lease.expires_at - self.epoch, lease.worker_id

    def _ready_at(self, not_before: str | None) -> None:
        if not_before is not None:
            delay = iso_to_us(not_before) / 1e6 - self.epoch - self.now
            if delay > 0:
                self.later(delay + TICK_S, None, self.news)
                return
        if self.waiting:
            self.later(0.0, None, self.news, 1)

    # -- what was seen ---------------------------------------------------------------------------------------------

    def history(self, view: str = "store") -> History:
        """What happened, to be judged: at the instants of the store ("store"), or as its clients saw it ("clients")."""
        return History(op for trip in self.trips for op in ops_of(trip, view == "clients", self.lease_s, self.epoch))


def ops_of(trip: Trip, by_client: bool, lease_s: float, epoch: float) -> Iterable[Op]:
    """The operations of one request; by its client's eyes one without an answer is unknown."""
    answer, asked = trip.answer, trip.asked
    if by_client:
        call, ret = trip.called, trip.returned
        known = ret is not None
    elif trip.at is None:
        return
    else:
        call, ret = trip.at if trip.since is None else trip.since, trip.at
        known = True
    if isinstance(answer, OrchError):
        known = known and not isinstance(answer, BackendUnavailable)
        ret = ret if known else None
    client, verb = trip.client, trip.verb
    if verb == "enqueue":
        args: dict[str, Any] = {"max_retries": asked.max_retries}
        if asked.priority:
            args["priority"] = asked.priority
        if asked.not_before is not None:
            delay = iso_to_us(asked.not_before) / 1e6 - epoch - call / 1e9
            if delay > 0:
                args["delay_s"] = delay
        yield _op(client, "enqueue", asked.id, args, call, ret, answer if known else None)
    elif verb == "extend":
        for place, lease in enumerate(asked):
            value = answer[place] if known and isinstance(answer, list) else answer
            yield _op(client, "extend", lease.job_id, {"lease_s": lease_s}, call, ret, value, lease.token)
    elif verb in ("exchange", "dequeue"):
        args = {"worker": client, "lease_s": lease_s}
        results, jobs = answer if verb == "exchange" and known and isinstance(answer, tuple) else ((), answer)
        for place, report in enumerate(asked or ()):
            value = results[place] if known and results else answer
            yield _reported(client, report, call, ret, value if known else None)
        if not known:
            for _ in range(trip.n):
                yield Op(client, "dequeue", None, args, call, None, Outcome.UNKNOWN)
        elif isinstance(jobs, OrchError):
            yield Op(client, "dequeue", None, args, call, ret, Outcome.REFUSED, _shown(jobs))
        elif trip.n and not jobs:
            yield Op(client, "dequeue", None, args, call, ret, Outcome.OK)
        else:
            for job in jobs:
                value = {"priority": job.priority, "failures": job.failures, "crashes": job.crashes}
                token = None if job.lease is None else job.lease.token
                yield Op(client, "dequeue", job.id, args, call, ret, Outcome.OK, value, job.attempts, token)


def _reported(client: str, report: Report, call: int, ret: int | None, value: Any) -> Op:
    args: dict[str, Any] = {"status": report.status.value}
    if report.delay_s:
        args["delay_s"] = report.delay_s
    token = None if report.lease is None else report.lease.token
    return _op(client, "report", report.job_id, args, call, ret, value, token)


def _op(
    client: str,
    verb: str,
    job: str,
    args: dict[str, Any],
    call: int,
    ret: int | None,
    value: Any,
    token: int | None = None,
) -> Op:
    if ret is None:
        return Op(client, verb, job, args, call, None, Outcome.UNKNOWN, None, None, token)
    if isinstance(value, OrchError):
        return Op(client, verb, job, args, call, ret, Outcome.REFUSED, _shown(value), None, token)
    if isinstance(value, Job):
        value = {
            "status": value.status.value,
            "attempts": value.attempts,
            "failures": value.failures,
            "crashes": value.crashes,
        }
    elif isinstance(value, Lease):
        value = value.expires_at
    return Op(client, verb, job, args, call, ret, Outcome.OK, value, None, token)


def _shown(error: OrchError) -> dict[str, str]:
    return {"error": type(error).__name__, "message": str(error)[:200]}
