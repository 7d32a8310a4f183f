"""The checker against exhaustive search, against correct queues, and against broken ones.

Everything is drawn from `random.Random(seed)`: a failure shows the seed of its history. ORCH_CHECKER_HISTORIES=1000000
sets how many histories each test judges; run as a script, this file does the long runs and prints figures:

    python property_tests/test_checker_properties.py fifo 1000000
    python property_tests/test_checker_properties.py arrangements 5
    python property_tests/test_checker_properties.py tickets 100000
    python property_tests/test_checker_properties.py leases 500000

A second number is the seed: other seeds, other histories.
"""

import os
import random
import sys
import time
from array import array
from collections import Counter
from dataclasses import replace
from heapq import heappop, heappush

import pytest

from orch.checker import NEVER, Columns, Monitor, Spec, check, check_fifo
from orch.checker.fifo import DEQUEUE, ENQUEUE, NO_VALUE, judge
from orch.checker.judge import by_job, findings_of
from orch.checker.lives import Scene, _life, _ordinary
from orch.history import Op, Outcome, as_unknown

HISTORIES = int(os.environ.get("ORCH_CHECKER_HISTORIES", "0"))
RANDOM = 25_000 if os.environ.get("HYPOTHESIS_PROFILE", "quick") == "quick" else 100_000
LONG = pytest.mark.timeout(0 if HISTORIES else 300)

# -- the oracle: try every order --------------------------------------------------------------------------------------


def linearizable(ops):
    """True if some order of these operations is that of a FIFO queue. An operation is (kind, value, call, ret)."""
    before = [sum(1 << j for j, other in enumerate(ops) if other[3] < op[2]) for op in ops]
    answered = sum(1 << i for i, op in enumerate(ops) if op[3] != NEVER)
    seen = set()
    stack = [(0, ())]
    while stack:
        state = stack.pop()
        if state in seen:
            continue
        seen.add(state)
        done, queue = state
        if done & answered == answered:
            return True
        for i, (kind, value, _, ret) in enumerate(ops):
            if done >> i & 1 or before[i] & ~done:
                continue
            if kind == ENQUEUE:
                stack.append((done | 1 << i, (*queue, value)))
            elif ret == NEVER or queue[:1] == (() if value == NO_VALUE else (value,)):
                stack.append((done | 1 << i, queue[1:]))
    return False


def columns_of(ops):
    """The same history in the checker's form."""
    kinds, values, calls, rets = zip(*ops, strict=True)
    return Columns(array("b", kinds), array("q", values), array("q", calls), array("q", rets))


def random_history(rng):
    """Up to 9 operations of up to 4 clients with ties, pending operations and empties; three quarters are legal."""
    n = rng.randrange(2, 10)
    clocks = [0] * rng.randrange(1, 5)
    pending = rng.random() * 0.3
    empties = rng.random() * 0.7
    span = rng.choice((2, 3, 5))
    intervals = []
    for _ in range(n):
        client = rng.randrange(len(clocks))
        call = clocks[client] + rng.randrange(span)
        ret = call + rng.randrange(span)
        clocks[client] = ret + (rng.random() < 0.7)
        intervals.append((call, ret))
    intervals.sort(key=lambda interval: interval[0] + rng.random() * (interval[1] - interval[0]))
    ops, queue, values = [], [], 0
    scramble = rng.random() < 0.8
    for call, ret in intervals:
        lost = rng.random() < pending
        if rng.random() < 0.5:
            ops.append((ENQUEUE, values, call, NEVER if lost else ret))
            if not lost or rng.random() < 0.5:
                queue.append(values)
            values += 1
            continue
        value = NO_VALUE
        if queue and rng.random() > empties * scramble:
            value = queue.pop(rng.randrange(len(queue)) if scramble else 0)
        if lost:
            ops.append((DEQUEUE, NO_VALUE, call, NEVER))
        else:
            ops.append((DEQUEUE, value, call, ret))
    if scramble and rng.random() < 0.15 and values:  # a value twice, or one that nobody enqueued
        i = rng.randrange(len(ops))
        if ops[i][0] == DEQUEUE and ops[i][3] != NEVER:
            ops[i] = (DEQUEUE, rng.randrange(values + 1), *ops[i][2:])
    rng.shuffle(ops)
    return ops


def compare_with_every_order(count, seed=0, numpy_every=20):
    """Judge so many random histories both ways; returns how many broke which rule."""
    tally = Counter()
    for i in range(count):
        ops = random_history(random.Random(seed * 1_000_003 + i))
        columns = columns_of(ops)
        findings = judge(columns).findings
        legal = linearizable(ops)
        assert legal == (not findings), f"seed {seed * 1_000_003 + i}: {'legal' if legal else findings} {ops}"
        tally[min(findings, default="legal")] += 1
        if i % numpy_every == 0:
            plain, fast = check_fifo(columns, numpy=False), check_fifo(columns, numpy=True)
            assert plain == fast, f"seed {seed * 1_000_003 + i}: {ops}"
            if findings:
                assert plain.violations[0].prefix == first_bad_prefix_by_search(ops), f"seed {i}: {ops}"
    return tally


def first_bad_prefix_by_search(ops):
    """The fewest returned operations after which no order explains what was seen."""
    returns = sorted(op[3] for op in ops if op[3] != NEVER)
    for n, instant in enumerate(returns, 1):
        cut = [
            op if op[3] <= instant else (op[0], op[1] if op[0] == ENQUEUE else NO_VALUE, op[2], NEVER)
            for op in ops
            if op[2] <= instant
        ]
        if not linearizable(cut):
            return n
    raise AssertionError("the whole history is legal")


@LONG
@pytest.mark.promise("Q2")
def test_the_fifo_checker_agrees_with_trying_every_order():
    tally = compare_with_every_order(HISTORIES or RANDOM)
    assert min(tally["legal"], tally["order"], tally["empty"], tally["unexpected"]) > 0, tally


def arrangements(n):
    """Every way in which n intervals can begin and end, without ties: (call, ret) of each."""
    intervals = [[0, 0] for _ in range(n)]

    def extend(at, opened, closed):
        if at == 2 * n:
            yield intervals
            return
        for i in range(n):
            if not opened >> i & 1:
                intervals[i][0] = at
                yield from extend(at + 1, opened | 1 << i, closed)
            elif not closed >> i & 1:
                intervals[i][1] = at
                yield from extend(at + 1, opened, closed | 1 << i)

    yield from extend(0, 0, 0)


#: What the intervals are: e0 enqueues 0, d0 dequeues it, -- finds nothing; e0? and d? have no answer.
LABELS = {
    4: ["e0 e1 d0 d1", "e0 e1 d1 --", "e0 d0 -- --", "e0 e1 d1 d?", "e0 d? -- --", "e0? e1 d0 d1", "e0? d0 d? --"],
    5: [
        "e0 e1 d0 d1 --",
        "e0 e1 e2 d1 d2",
        "e0 e1 d1 -- --",
        "e0 d0 -- -- --",
        "e0 e1 d1 d? --",
        "e0 e1 d1 d? d?",
        "e0 d? d? -- --",
        "e0? e1 d0 d1 --",
        "e0? e1 d1 d? --",
        "e0 e1? d1 d? --",
    ],
}


def labelled(labels, intervals):
    ops = []
    for label, (call, ret) in zip(labels.split(), intervals, strict=True):
        kind = ENQUEUE if label[0] == "e" else DEQUEUE
        value = int(label[1]) if label[1].isdigit() else NO_VALUE
        ops.append((kind, value, call, NEVER if label[-1] == "?" else ret))
    return ops


def compare_every_arrangement(n):
    """Judge every arrangement of n operations both ways, for each set of labels."""
    tally = Counter()
    for labels in LABELS[n]:
        for intervals in arrangements(n):
            ops = labelled(labels, intervals)
            findings = judge(columns_of(ops)).findings
            legal = linearizable(ops)
            assert legal == (not findings), f"{'legal' if legal else findings} {ops}"
            tally[min(findings, default="legal")] += 1
    return tally


@pytest.mark.promise("Q2")
def test_the_fifo_checker_agrees_on_every_arrangement_of_four_operations():
    tally = compare_every_arrangement(4)
    assert sum(tally.values()) == 2_520 * len(LABELS[4])


@pytest.mark.promise("Q2")
def test_the_general_checker_finds_in_fifo_histories_what_the_fifo_checker_finds():
    spec = Spec(lease_s=1e6, sweep_s=0, max_crashes=None)
    for seed in range(3_000):
        columns = columns_of(random_history(random.Random(seed)))
        ops = [columns.op(row) for row in range(len(columns))]
        one, other = check_fifo(columns, numpy=False).violations, check(ops, spec).violations
        assert [v.prefix for v in one[:1]] == [v.prefix for v in other[:1]], f"seed {seed}: {ops}"


# -- a second oracle: tickets, priorities, returns ---------------------------------------------------------------------


def explicable(ops):
    """True if some order of these operations is that of a queue with priorities whose returns keep their ticket.

    An operation is (verb, job, detail, call, ret): enqueue with its priority, dequeue with its attempt (job None: it
    found nothing), or a report (back, retry or success) with the attempt that it ends. No lease expires.
    """
    before = [sum(1 << j for j, other in enumerate(ops) if other[4] < op[3]) for op in ops]
    answered = sum(1 << i for i, op in enumerate(ops) if op[4] != NEVER)
    seen = set()
    stack = [(0, (), frozenset(), 0)]
    while stack:
        state = stack.pop()
        if state in seen:
            continue
        seen.add(state)
        done, ready, running, ticket = state  # ready: (-priority, ticket, job, attempts), the best first
        if done & answered == answered:
            return True
        for i, (verb, job, detail, _, ret) in enumerate(ops):
            if done >> i & 1 or before[i] & ~done:
                continue
            after = done | 1 << i
            if verb == "enqueue":
                stack.append((after, tuple(sorted((*ready, (-detail, ticket, job, 0)))), running, ticket + 1))
            elif verb == "dequeue":
                if ret != NEVER and job is None and not ready:
                    stack.append((after, ready, running, ticket))
                elif ready and (ret == NEVER or (job is not None and ready[0][2:] == (job, detail - 1))):
                    first = ready[0]
                    stack.append((after, ready[1:], running | {(*first[:3], first[3] + 1)}, ticket))
            else:
                for held in running:
                    if held[2:] == (job, detail):
                        rest = running - {held}
                        if verb == "back":
                            stack.append((after, tuple(sorted((*ready, held))), rest, ticket))
                        elif verb == "retry":
                            new = (held[0], ticket, *held[2:])
                            stack.append((after, tuple(sorted((*ready, new))), rest, ticket + 1))
                        else:
                            stack.append((after, ready, rest, ticket))
                        break
    return False


def random_deliveries(rng):
    """Up to 8 operations on a queue that is sloppy in half of the histories."""
    clocks, span, ticks = [0] * rng.randrange(1, 5), rng.choice((2, 4, 8)), []
    for _ in range(rng.randrange(3, 9)):
        client = rng.randrange(len(clocks))
        call = clocks[client] + rng.randrange(span)
        ret = call + rng.randrange(span)
        clocks[client] = ret + (rng.random() < 0.7)
        ticks.append((call, ret))
    ticks.sort(key=lambda tick: tick[0] + rng.random() * (tick[1] - tick[0]))
    priorities, sloppy, pending = rng.choice(((0,), (0, 1), (0, 1, 2))), rng.random() < 0.5, rng.random() * 0.2
    ops, ready, held, jobs = [], [], [], 0
    for ticket, (call, ret) in enumerate(ticks):
        lost = rng.random() < pending
        end = NEVER if lost else ret
        happens = not lost or rng.random() < 0.5
        mine = [lease for lease in held if lease[1] <= call]
        dice = rng.random()
        if mine and dice < 0.35:
            lease = rng.choice(mine)
            held.remove(lease)
            first = lease[0]
            verb = rng.choice(("back", "back", "retry", "success"))
            ops.append((verb, first[2], first[3], call, end))
            if happens and verb != "success":
                ready.append(first if verb == "back" else (first[0], ticket, *first[2:]))
        elif dice < 0.65:
            priority = rng.choice(priorities)
            ops.append(("enqueue", f"j{jobs}", priority, call, end))
            if happens:
                ready.append((-priority, ticket, f"j{jobs}", 0))
            jobs += 1
        elif not ready or (sloppy and rng.random() < 0.15):
            ops.append(("dequeue", None, None, call, end))
        else:
            first = rng.choice(ready) if sloppy and rng.random() < 0.3 else min(ready)
            if happens:
                ready.remove(first)
            taken = (*first[:3], first[3] + 1)
            if lost:
                ops.append(("dequeue", None, None, call, NEVER))
            else:
                ops.append(("dequeue", first[2], taken[3], call, ret))
                held.append((taken, ret))
    return ops


STATUS = {"back": "pending", "retry": "retry", "success": "success"}


def as_history(ops):
    """The same operations as a recorder would have written them."""
    history = []
    for verb, job, detail, call, end in ops:
        ret, outcome = (None, Outcome.UNKNOWN) if end == NEVER else (end, Outcome.OK)
        if verb == "enqueue":
            args = {"priority": detail, "max_retries": 9}
            history.append(Op("c", verb, job, args, call, ret, outcome, True if ret is not None else None))
        elif verb == "dequeue":
            history.append(Op("c", verb, job, {}, call, ret, outcome, None, detail))
        else:
            value = {"status": "success" if verb == "success" else "pending"} if ret is not None else None
            history.append(Op("c", "report", job, {"status": STATUS[verb]}, call, ret, outcome, value, detail))
    return history


def compare_with_every_delivery_order(count, seed=0):
    """Judge so many random histories both ways: no false alarm is allowed, misses are counted.

    What is missed (2 % of what is illegal) are tickets that only earlier deliveries give away, and one unknown
    dequeue that excuses a job in each of several priorities.
    """
    spec = Spec(lease_s=1e6, sweep_s=0, max_crashes=None)
    tally = Counter()
    for i in range(count):
        ops = random_deliveries(random.Random(seed * 1_000_003 + i))
        findings, _ = findings_of(as_history(sorted(ops, key=lambda op: op[3])), spec)
        legal = explicable(ops)
        assert not (legal and findings), f"seed {seed * 1_000_003 + i}: {findings} {ops}"
        tally["legal" if legal else min(finding.rule for finding in findings) if findings else "missed"] += 1
    return tally


@LONG
@pytest.mark.promise("Q2")
def test_order_with_priorities_and_returns_agrees_with_trying_every_order():
    tally = compare_with_every_delivery_order(HISTORIES or 8_000)
    illegal = sum(tally.values()) - tally["legal"]
    assert tally["missed"] <= illegal * 0.04, tally


# -- correct and broken queues ----------------------------------------------------------------------------------------
# A queue as plain as it can be, on virtual time, without a helper of the package. `bug` names the one place where it is
# wrong. Delivery, leases and budgets are those of the contract; everything is found by looking at all jobs.


class Refused(Exception):
    pass


class Kept:
    """A job as the plain queue keeps it."""

    def __init__(self, id, priority, max_retries, due, seq):
        self.id, self.priority, self.max_retries, self.due, self.seq = id, priority, max_retries, due, seq
        self.status, self.ticket, self.settled = "pending", None, None
        self.attempts = self.failures = self.crashes = self.expires = self.finished = 0
        self.token = None

    def state(self):
        return {
            "status": "pending" if self.status == "nowhere" else self.status,
            "attempts": self.attempts,
            "failures": self.failures,
            "crashes": self.crashes,
        }


class PlainQueue:
    def __init__(self, max_crashes, reclaim_max, bug=None):
        self.max_crashes, self.reclaim_max, self.bug = max_crashes, reclaim_max, bug
        self.jobs, self.tickets, self.seq, self.token, self.turns = {}, 0, 0, 0, 0

    def bugged(self, bug, every=1):
        """True if this is the bug, at every n-th chance."""
        if self.bug != bug:
            return False
        self.turns += 1
        return self.turns % every == 0

    def next_ticket(self, job):
        self.tickets += 1
        job.ticket = self.tickets

    def promote(self, now):
        early = 40 if self.bug == "delayed job comes early" else 0
        due = [job for job in self.jobs.values() if job.status == "pending" and job.due and job.due <= now + early]
        for job in sorted(due, key=lambda job: (job.due, job.seq)):
            job.due = None
            self.next_ticket(job)

    def enqueue(self, now, id, priority, max_retries, delay):
        if id in self.jobs and not self.bugged("known id is new"):
            return False
        self.promote(now)
        self.seq += 1
        job = Kept(id, priority, max_retries, now + delay if delay else None, self.seq)
        if not delay:
            self.next_ticket(job)
        if not self.bugged("enqueue is lost", 5):
            self.jobs[id] = job
        return not self.bugged("new id is known", 5)

    def reclaim(self, now):
        if self.bug == "lost lease is never taken back":
            return
        early = 30 if self.bug == "lease is too short" else 0
        late = 400 if self.bug == "lost lease comes back late" else 0
        expired = [j for j in self.jobs.values() if j.status == "running" and j.expires - early + late <= now]
        for job in sorted(expired, key=lambda job: (job.expires, job.token))[: self.reclaim_max]:
            limit = self.max_crashes + (9 if self.bug == "lost leases are not bounded" else 0)
            job.token, job.status = None, "pending"
            if job.crashes >= limit:
                job.status, job.finished = "failed", now
            elif self.bug == "lost lease goes to the tail":
                self.next_ticket(job)
            elif job.crashes and self.bugged("second lost lease loses the job"):
                job.status = "nowhere"
            job.crashes += 1

    def dequeue(self, now, lease):
        self.reclaim(now)
        self.promote(now)
        ready = [job for job in self.jobs.values() if job.status == "pending" and not job.due]
        if not ready or self.bugged("finds nothing", 4):
            return None
        sign = -1 if self.bug == "last in, first out" else 1
        priority = 0 if self.bug == "priority is ignored" else -1
        job = min(ready, key=lambda job: (priority * job.priority, sign * job.ticket))
        if not self.bugged("token is given out twice", 3):
            self.token += 1
        job.attempts += 2 if self.bugged("attempt is skipped", 3) else 1
        job.token, job.expires = self.token, now + lease
        job.status = "pending" if self.bugged("job is delivered to two", 3) else "running"
        if job.status == "pending":
            job.attempts -= 1
            return job, job.attempts + 1
        return job, job.attempts

    def known(self, id):
        if id not in self.jobs:
            raise Refused("JobNotFound")
        return self.jobs[id]

    def report(self, now, id, status, token, delay):
        job = self.known(id)
        if token is not None:
            if job.settled == (token, status):
                return job.state()
            if self.bug == "final job is changed" and job.settled and job.settled[0] == token and job.finished:
                job.status = status if status in ("success", "failed") else job.status
                return job.state()
            if token != job.token and self.bug != "stale report is accepted":
                raise Refused("LeaseLost")
            if self.bugged("current lease is refused", 3):
                raise Refused("LeaseLost")
        elif status == job.status and status in ("success", "failed"):
            return job.state()
        legal = ("success", "failed") if job.status == "pending" and token is None else ("success", "failed", "retry")
        if job.status not in ("pending", "running") or (token is None and status not in legal):
            raise Refused("IllegalTransition")
        self.promote(now)
        if token is not None:
            job.settled = (token, status)
        if token is None and status == "failed" and self.bug == "cancel is forgotten":
            return {**job.state(), "status": "failed"}
        job.token, spent = None, job.failures >= job.max_retries
        if status in ("failed", "retry"):
            job.failures += 1
        if status == "retry" and spent and self.bug != "retries are not bounded":
            status = "failed"
        if status == "retry":
            job.status, job.due = "pending", now + delay if delay else None
            if not delay and self.bug != "retry keeps its ticket":
                self.next_ticket(job)
            if self.bug == "retry forgets the attempts":
                job.attempts = 0
            if self.bugged("retry is lost", 2):
                job.status = "nowhere"
        elif status == "pending":
            job.status = "pending"
            if self.bug == "given back job goes to the tail":
                self.next_ticket(job)
        else:
            job.status, job.finished, job.due = status, now, None
        return job.state()

    def extend(self, now, id, token, lease):
        job = self.known(id)
        if token != job.token and self.bug != "stale extension is accepted":
            raise Refused("LeaseLost")
        if self.bug != "extension is ignored":
            job.expires = max(job.expires, now + lease)

    def requeue(self, now, id):
        job = self.known(id)
        if job.status in ("running", "success"):
            raise Refused("IllegalTransition")
        if job.status == "failed":
            job.status, job.failures, job.crashes, job.due = "pending", 0, 0, None
            self.next_ticket(job)
            if self.bug == "requeue goes to the head":
                job.ticket = -job.ticket
        return job.state()

    def purge(self, now, age):
        takes = ("success", "failed") if self.bug != "purge takes a pending job" else ("success", "failed", "pending")
        gone = [id for id, job in self.jobs.items() if job.status in takes and job.finished < now - age]
        for id in gone:
            del self.jobs[id]
        return len(gone)


NS = 1e-9
LEASE = 100  # ns of virtual time; instants are small numbers, so that ties are common
SLOW = 150  # the longest time that a request is on its way


class World:
    """Clients of a plain queue, with delays, lost requests and replies, deaths, and a drain at the end."""

    def __init__(self, seed, bug=None):
        rng = self.rng = random.Random(seed)
        self.max_crashes, self.reclaim_max = rng.randrange(3), rng.choice((1, 2, 100))
        self.queue = PlainQueue(self.max_crashes, self.reclaim_max, bug)
        self.ops, self.events, self.order, self.names = [], [], 0, 0
        self.ids, self.given = [], []  # every job ever enqueued, every lease ever given
        self.loss = rng.choice((0, 0, 0.1, 0.3))
        self.death = rng.choice((0, 0.05, 0.2))
        self.priorities = rng.choice(((0,), (0,), (0, 1), (-1, 0, 5)))
        self.delayed = rng.choice((0, 0, 0.3))
        self.operator = rng.choice((0, 0, 0.2))
        self.span = rng.choice((3, 15, 60))
        self.left = rng.choice((4, 8, 12, 24))
        self.spec = Spec(
            lease_s=LEASE * NS,
            sweep_s=0.0,
            skew_s=0.0,
            drift=0.0,
            max_crashes=self.max_crashes,
            reclaim_max=self.reclaim_max,
            effect_s=rng.choice((None, SLOW * NS)),
        )

    def run(self):
        now = 0
        for _ in range(self.rng.randrange(1, 5)):
            self.turn([], self.rng.randrange(self.span))
        while self.events:
            now, _, *event = heappop(self.events)
            self.take_effect(now, *event)
        self.drain(max([now, *(op.ret_ns or op.call_ns for op in self.ops)]) + 1)
        return self.ops, self.spec

    def turn(self, client, now):
        """A client, which is its name and the leases it holds, asks for its next thing."""
        if self.left <= 0:
            return
        self.left -= 1
        rng = self.rng
        if not client:
            self.names += 1
            client.append(f"c{self.names}")
        asks = self.choose(client)
        happens = rng.random() >= self.loss / 2
        answered = happens and rng.random() >= self.loss / 2
        effect = now + rng.randrange(SLOW if not answered and rng.random() < 0.3 else self.span)
        ret = effect + rng.randrange(self.span) if answered else None
        self.order += 1
        heappush(self.events, (effect, self.order, client, now, asks, ret, happens))
        if ret is None:  # it does not know; what it held is forgotten in half of the cases
            heir = [] if rng.random() < 0.5 else client
            self.turn(heir, now + rng.randrange(self.span))

    def choose(self, client):
        rng = self.rng
        dice = rng.random()
        if dice < self.operator and self.ids:
            failed = [id for id, job in self.queue.jobs.items() if job.status == "failed"]
            if failed and rng.random() < 0.6:
                return [("requeue", rng.choice(failed))]
            id = rng.choice(self.ids)
            status = rng.choice(("success", "failed", "retry"))
            acts = (("requeue", id), ("report", id, status, None, 0), ("cancel", id), ("get", id))
            return [rng.choice((*acts, ("get", id), ("purge", rng.choice((0, 100)))))]
        held = client[1:]
        if self.given and rng.random() < 0.08:
            held = [rng.choice(self.given)]
        if held and dice < 0.7:
            id, token = lease = held[-1]
            if rng.random() < 0.15:
                return [("extend", id, token, rng.choice((None, 2 * LEASE)))]
            if lease in client and rng.random() < 0.9:
                client.remove(lease)
            status = rng.choice(("success", "success", "retry", "pending", "failed"))
            delay = rng.randrange(1, 80) if status == "retry" and rng.random() < self.delayed else 0
            report = ("report", id, status, token, delay)
            return [report, ("dequeue", None)] if rng.random() < 0.2 else [report]
        if dice < 0.8 or not self.ids:
            if not self.ids or rng.random() < 0.85:
                self.ids.append(f"j{len(self.ids)}")
            delay = rng.randrange(1, 80) if rng.random() < self.delayed else 0
            id = self.ids[-1] if rng.random() < 0.9 else rng.choice(self.ids)
            return [("enqueue", id, rng.choice(self.priorities), rng.randrange(3), delay)]
        return [("dequeue", rng.choice((None, None, 50)))] * rng.choice((1, 1, 1, 2))

    def take_effect(self, now, client, call, asks, ret, happens):
        answers = [self.apply(now, *ask) for ask in asks] if happens else [None] * len(asks)
        found = [answer for answer in answers if answer is not None and answer[0] is not None]
        for ask, answer in zip(asks, answers, strict=True):
            self.record(client[0], ask, call, ret, answer, alone=not found)
        if ret is None:
            return
        for ask, (job, *rest) in zip(asks, answers, strict=True):
            if ask[0] == "dequeue" and job is not None and rest[0] is None:
                lease = (job, rest[3])
                client.append(lease)
                self.given.append(lease)
        dies = self.rng.random() < self.death
        self.turn([] if dies else client, ret + self.rng.randrange(2 * self.span))

    def apply(self, now, verb, *args):
        """Answers (job, error, value, attempt, token)."""
        queue = self.queue
        if verb == "dequeue":
            got = queue.dequeue(now, args[0] or LEASE)
            if got is None:
                return None, None, None, None, None
            job, attempt = got
            value = {"priority": job.priority, "failures": job.failures, "crashes": job.crashes}
            return job.id, None, value, attempt, queue.token
        try:
            if verb == "get":
                job = queue.jobs.get(args[0])
                value = None if job is None or job.status == "nowhere" else job.state()
            elif verb == "purge":
                return None, None, queue.purge(now, args[0]), None, None
            elif verb == "cancel":
                value = queue.known(args[0]).state()
                if value["status"] != "failed":
                    value = queue.report(now, args[0], "failed", None, 0)
            elif verb == "extend":
                value = queue.extend(now, args[0], args[1], args[2] or LEASE)
            else:
                value = getattr(queue, verb)(now, *args)
        except Refused as error:
            return args[0], str(error), None, None, None
        return args[0], None, value, None, None

    def record(self, client, ask, call, ret, answer, *, alone):
        verb, *rest = ask
        job = None if verb in ("dequeue", "purge") else rest[0]
        args, token = {}, None
        if verb == "enqueue":
            args = {"priority": rest[1], "max_retries": rest[2]} | ({"delay_s": rest[3] * NS} if rest[3] else {})
        elif verb == "dequeue" and rest[0]:
            args = {"lease_s": rest[0] * NS}
        elif verb == "report":
            token = rest[2]
            args = {"status": rest[1]} | ({"delay_s": rest[3] * NS} if rest[3] else {})
        elif verb == "extend":
            token = rest[1]
            args = {"lease_s": rest[2] * NS} if rest[2] else {}
        elif verb == "purge":
            args = {"older_than_hours": rest[0] / 3600e9}
        if ret is None:
            op = Op(client, verb, job, args, call, None, Outcome.UNKNOWN, None, None, token)
        else:
            found, error, value, attempt, got = answer
            if verb == "dequeue":
                job, token = found, got
                if job is None and not alone:
                    return  # a bulk verb that found something says nothing of an empty queue
            outcome = Outcome.OK if error is None else Outcome.REFUSED
            value = value if error is None else {"error": error}
            op = Op(client, verb, job, args, call, ret, outcome, value, attempt, token)
        self.ops.append(op)

    def drain(self, now):
        """Take out and settle whatever comes, waiting for all leases and delays; then look at every job."""
        now += SLOW
        jobs = self.queue.jobs

        def ask(*asked):
            nonlocal now
            answer = self.apply(now, *asked)
            self.record("drain", asked, now, now, answer, alone=True)
            now += 1
            return answer

        for _ in range(4 * len(self.ids) + 8):
            job, _, _, _, token = ask("dequeue", None)
            if job is not None:
                ask("report", job, "success", token, 0)
                continue
            waits = [job.expires for job in jobs.values() if job.status == "running"]
            waits += [job.due for job in jobs.values() if job.status == "pending" and job.due]
            if not waits:
                break
            now = max(now, min(waits))
        now += 5 * LEASE
        ask("dequeue", None)
        for id in dict.fromkeys(self.ids):
            ask("get", id)


def judged(seed, bug=None):
    ops, spec = World(seed, bug).run()
    return check(ops, spec), ops, spec


def false_alarms(count, seed=0):
    """Judge so many legal histories; the first alarm is an error. Returns how many operations there were."""
    operations = 0
    for i in range(count):
        verdict, ops, _ = judged(seed * 1_000_003 + i)
        assert verdict.valid, f"seed {seed * 1_000_003 + i}: {verdict}\n" + "\n".join(map(str, ops))
        operations += len(ops)
    return operations


@LONG
@pytest.mark.promise("Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Q7")
def test_a_correct_queue_is_never_accused():
    assert false_alarms(HISTORIES or 4_000) > 0


#: What is wrong with the queue, and the promise that is named first for it (others may be broken by the way).
BUGS = {
    "enqueue is lost": "Q1 Q2",
    "retry is lost": "Q1 Q2",
    "second lost lease loses the job": "Q1 Q5",
    "purge takes a pending job": "Q1 Q2",
    "finds nothing": "Q2",
    "last in, first out": "Q2",
    "priority is ignored": "Q2",
    "retry keeps its ticket": "Q2",
    "given back job goes to the tail": "Q2",
    "requeue goes to the head": "Q2",
    "delayed job comes early": "Q2",
    "known id is new": "Q3",
    "new id is known": "Q3",
    "stale report is accepted": "Q4 Q7",
    "stale extension is accepted": "Q4",
    "current lease is refused": "Q4",
    "lease is too short": "Q4",
    "extension is ignored": "Q4",
    "job is delivered to two": "Q4 Q6",
    "token is given out twice": "Q4",
    "lost lease is never taken back": "Q1 Q5",
    "lost lease comes back late": "Q5",
    "lost lease goes to the tail": "Q5",
    "retry forgets the attempts": "Q4 Q6",
    "attempt is skipped": "Q6",
    "retries are not bounded": "Q6",
    "lost leases are not bounded": "Q6",
    "final job is changed": "Q4 Q7",
    "cancel is forgotten": "Q7",
}


@pytest.mark.promise("Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Q7")
@pytest.mark.parametrize("bug", BUGS)
def test_a_broken_queue_is_caught_with_its_promise(bug):
    named = []
    for seed in range(5_000):
        verdict, _, _ = judged(seed, bug)
        if verdict.valid is False:
            named.append(verdict.violations[0].promise in BUGS[bug].split())
        if len(named) == 7:
            break
    assert sum(named) >= 5, f"caught {len(named)} times, with the right promise {sum(named)} times"


@pytest.mark.promise("Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Q7")
def test_a_monitor_never_accuses_a_correct_queue_and_forgets():
    for seed in range(300):
        monitor, ops = monitored(seed, every=7, remember=2, open_max_s=SLOW * NS)
        assert monitor.finish().valid, f"seed {seed}: {monitor.violations}"
        assert monitor.retained <= len(ops)


def test_a_monitor_that_forgets_nothing_says_what_the_checker_says():
    for seed in range(500):
        bug = list(BUGS)[seed % len(BUGS)]
        monitor, ops = monitored(seed, bug, every=7)
        whole, running = check(ops, World(seed, bug).spec), monitor.finish()
        assert (running.valid, running.level) == (whole.valid, whole.level), f"seed {seed}, {bug}"
        assert running.counts == whole.counts, f"seed {seed}, {bug}"


def monitored(seed, bug=None, **settings):
    """A monitor that was told of every call and every answer of a world, and the operations."""
    ops, spec = World(seed, bug).run()
    ops = [replace(op, client=f"{op.client}:{i}") for i, op in enumerate(ops)]
    events = [(op.call_ns, 0, i, as_unknown(op)) for i, op in enumerate(ops)]
    events += [(op.ret_ns, 1, i, op) for i, op in enumerate(ops) if op.ret_ns is not None]
    monitor = Monitor(spec, **settings)
    for event in sorted(events, key=lambda event: event[:3]):
        monitor.add(event[3])
    return monitor, ops


def test_the_short_way_for_ordinary_jobs_finds_what_the_long_way_finds_in_every_world():
    ordinary = 0
    for seed in range(500):
        ops, spec = World(seed).run()
        ops.sort(key=lambda op: op.call_ns)
        scene = Scene(ops, spec)
        for job, mine in by_job(ops).items():
            mine = [op for op in mine if op.op != "get"]  # noqa: PLW2901  # the drain looks at every job
            short = _ordinary(job, mine, scene)
            if short is not None:
                ordinary += 1
                assert short == _life(job, mine, scene), f"seed {seed}, {job}"
    assert ordinary > 500


def main(arguments):
    """The long runs: each prints what it judged, and fails at the first disagreement."""
    what, count = arguments[0], int(arguments[1])
    seed = int(arguments[2]) if len(arguments) > 2 else 0
    start = time.process_time()
    if what == "leases":
        print(f"{count} legal histories, {false_alarms(count, seed)} operations: 0 false alarms", end="")
    else:
        runs = {
            "fifo": lambda: compare_with_every_order(count, seed),
            "arrangements": lambda: compare_every_arrangement(count),
            "tickets": lambda: compare_with_every_delivery_order(count, seed),
        }
        tally = runs[what]()
        print(f"{what}: {sum(tally.values())} histories, {dict(tally)}", end="")
    print(f" ({time.process_time() - start:.0f} s)")


if __name__ == "__main__":
    main(sys.argv[1:])
