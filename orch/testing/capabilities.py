"""What a queue can do, by name: contract and machine ask for capabilities, never for a backend.

A queue with fewer of them is tested with fewer tests and operations, not with other ones. `detected` finds out which a
queue has, so that nobody has to name them: a verb that is not its own, or says `NotSupported`, is not asked for. What
a queue with leases does silently otherwise than the contract is a fault of it, never a missing capability.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from orch.errors import InvalidInput, NotSupported
from orch.job import Job, JobStatus, Lease, WorkerInfo
from orch.queue import PersistentQueue
from orch.testing.clock import FakeClock

#: Each capability and what a queue without it is not asked for.
CAPABILITIES = {
    "priority": "jobs are ordered by priority before their ticket",
    "delay": "`not_before` and the `delay_s` of a RETRY are kept",
    "lease": "a delivery carries a lease that fences its reports and ends by itself (Q4, Q5, Q8)",
    "crashes": "lost leases are counted against `max_crashes` (Q6)",
    "budget": "deliveries and failures are counted, and RETRY is bounded by `max_retries` (Q6)",
    "operator": "reports without a lease are an operator's act, on PENDING and RUNNING jobs",
    "extend": "extend_lease",
    "progress": "record_progress and progress",
    "requeue": "requeue",
    "stats": "stats",
    "workers": "workers and announce",
    "cursors": "schedule_cursor and advance_schedule",
    "quarantine": "records that cannot be read are set aside, and `plant_record` can make one (Q13)",
    "refusal": "bad input is refused with the value in the message (Q12)",
    "listing": "lists are ordered and bounded as Q9 says",
}
ALL = frozenset(CAPABILITIES)

#: The verbs beyond the seven that a capability stands for.
_VERBS = {
    "extend": ("extend_lease",),
    "progress": ("record_progress", "progress"),
    "requeue": ("requeue",),
    "stats": ("stats",),
    "workers": ("workers",),
    "cursors": ("schedule_cursor", "advance_schedule"),
    "quarantine": ("quarantined",),
}
_NOBODY = Lease("nobody", 1, "", 0.0)
_CALLS: dict[str, Callable[[Any], object]] = {
    "extend_lease": lambda queue: queue.extend_lease(_NOBODY),
    "record_progress": lambda queue: queue.record_progress(_NOBODY, "t", 1),
    "progress": lambda queue: queue.progress("nobody"),
    "requeue": lambda queue: queue.requeue("nobody"),
    "stats": lambda queue: queue.stats(),
    "workers": lambda queue: queue.workers(),
    "schedule_cursor": lambda queue: queue.schedule_cursor("k"),
    "advance_schedule": lambda queue: queue.advance_schedule("k", "x", "2027-01-15T08:00:00Z"),
    "quarantined": lambda queue: queue.quarantined(),
    "enqueue_many": lambda queue: queue.enqueue_many([]),
    "dequeue_many": lambda queue: queue.dequeue_many(0),
    "exchange": lambda queue: queue.exchange([], 0),
    "extend_many": lambda queue: queue.extend_many([]),
}
_BULK = ("enqueue_many", "dequeue_many", "exchange", "extend_many")
_JOB = Job("a", "d.yaml", "t", None, JobStatus.PENDING, "2027-01-15T08:00:00+00:00")
_BAD: tuple[Callable[[Any], object], ...] = (
    lambda queue: queue.list_jobs(limit=-1),
    lambda queue: queue.purge(-1),
    lambda queue: queue.get_job(""),
    lambda queue: queue.update_status("a", "gone"),
)


@dataclass(frozen=True, slots=True)
class Fit:
    """What a queue can be asked for: its capabilities, the others with the reason, and bulk forms to leave alone."""

    capabilities: frozenset[str]
    missing: dict[str, str]
    without: frozenset[str] = frozenset()


def checked_capabilities(names: Iterable[str] | None) -> frozenset[str]:
    """The capabilities of these names; None means all. Raises `InvalidInput` with the names that exist."""
    if names is None:
        return ALL
    given = frozenset(names)
    unknown = sorted(given - ALL)
    if unknown:
        raise InvalidInput(f"capabilities must be among {', '.join(CAPABILITIES)}, got {', '.join(unknown)}")
    return given


def detected(make_queue: Callable[[FakeClock], PersistentQueue]) -> Fit:
    """The capabilities of the queues that `make_queue` makes; some are made, tried and closed.

    A queue, its class or `make_queue` may name them itself, in an attribute `capabilities`. Otherwise a verb that is
    not the queue's own, or that says `NotSupported`, is missing. A queue that has the seven verbs only and whose
    deliveries carry no lease is asked by small trials what else it does.
    """
    queue = make_queue(FakeClock())
    kind = type(queue)
    said = getattr(make_queue, "capabilities", getattr(queue, "capabilities", None))
    queue.close()
    if said is not None:
        given = checked_capabilities(said)
        return Fit(
            given, {name: "it does not name it" for name in CAPABILITIES if name not in given}, _mute(make_queue)
        )
    missing: dict[str, str] = {}
    for name, verbs in _VERBS.items():
        for verb in verbs:
            if name in missing:
                break
            if not _own(kind, verb):
                missing[name] = f"{kind.__name__} has no {verb} of its own"
            elif (refusal := _refusal(make_queue, _CALLS[verb])) is not None:
                missing[name] = refusal
    if "extend" in missing and _without_leases(make_queue):
        why = "its deliveries carry no lease"
        missing |= dict.fromkeys(("lease", "crashes", "extend", "progress"), why)
        if len(missing) == len(_VERBS) + 2:
            missing |= _plain(make_queue)
    for name, trial in _SAYS_NO.items():
        if name not in missing and (refusal := _refusal(make_queue, trial)) is not None:
            missing[name] = refusal
    ordered = {name: missing[name] for name in CAPABILITIES if name in missing}
    return Fit(ALL - missing.keys(), ordered, _mute(make_queue))


def _own(kind: type, verb: str) -> bool:
    return getattr(kind, verb, None) is not getattr(PersistentQueue, verb)


def _mute(make_queue: Callable[[FakeClock], PersistentQueue]) -> frozenset[str]:
    """The bulk forms that say `NotSupported`."""
    return frozenset(verb for verb in _BULK if _refusal(make_queue, _CALLS[verb]) is not None)


def _refusal(make_queue: Callable[[FakeClock], PersistentQueue], call: Callable[[Any], object]) -> str | None:
    """What a call says if it is not supported; other errors are for the machine to find."""
    queue = make_queue(FakeClock())
    try:
        call(queue)
    except NotSupported as error:
        return str(error) or "it raises NotSupported"
    except Exception:
        return None
    finally:
        queue.close()
    return None


def _retry_later(queue: PersistentQueue) -> None:
    queue.enqueue(replace(_JOB, max_retries=1))
    job = queue.dequeue()
    if job is not None:
        queue.update_status(job.id, JobStatus.RETRY, lease=job.lease, delay_s=5.0)


def _later(queue: PersistentQueue) -> None:
    queue.enqueue(replace(_JOB, not_before="2100-01-01T00:00:00Z"))
    _retry_later(queue)


_SAYS_NO: dict[str, Callable[[Any], object]] = {
    "priority": lambda queue: queue.enqueue(replace(_JOB, priority=1)),
    "delay": _later,
    "workers": lambda queue: queue.announce(WorkerInfo("w1")),
}


def _without_leases(make_queue: Callable[[FakeClock], PersistentQueue]) -> bool:
    """Does a queue deliver its first job without a lease?"""
    queue = make_queue(FakeClock())
    try:
        queue.enqueue(replace(_JOB))
        job = queue.dequeue()
        return job is not None and getattr(job, "lease", None) is None
    except Exception:
        return False
    finally:
        queue.close()


# -- trials of a queue without leases ----------------------------------------------------------------------------------


def _plain(make_queue: Callable[[FakeClock], PersistentQueue]) -> dict[str, str]:
    """What a queue of the seven verbs without leases does not do, by small trials."""
    missing: dict[str, str] = {}
    for name, trial, why in _TRIALS:
        queue = make_queue(FakeClock())
        with suppress(Exception):
            if not trial(queue):
                missing[name] = why
        queue.close()
    if not all(_refuses(make_queue, call) for call in _BAD):
        missing["refusal"] = "it takes some bad input without an error"
    return missing


def _orders(queue: PersistentQueue) -> bool:
    for id, priority in (("a", 0), ("b", 5), ("c", -5)):
        queue.enqueue(replace(_JOB, id=id, priority=priority))
    return [getattr(queue.dequeue(), "id", None) for _ in range(3)] != ["a", "b", "c"]


def _waits(queue: PersistentQueue) -> bool:
    queue.enqueue(replace(_JOB, not_before="2100-01-01T00:00:00Z"))
    if queue.dequeue() is not None:
        return False
    queue.enqueue(replace(_JOB, id="b", max_retries=1))
    queue.dequeue()
    queue.update_status("b", JobStatus.RETRY, delay_s=5.0)
    return queue.dequeue() is None


def _counts(queue: PersistentQueue) -> bool:
    queue.enqueue(replace(_JOB))
    queue.dequeue()
    job = queue.update_status("a", JobStatus.RETRY)
    return job.status is JobStatus.FAILED or job.failures == 1


def _has_operators(queue: PersistentQueue) -> bool:
    queue.enqueue(replace(_JOB))
    try:
        return queue.update_status("a", JobStatus.FAILED).status is JobStatus.FAILED
    except Exception:
        return False


_TRIALS: tuple[tuple[str, Callable[[PersistentQueue], bool], str], ...] = (
    ("priority", _orders, "jobs come in the order of their enqueue, whatever their priority"),
    ("delay", _waits, "a job is delivered although it is delayed"),
    ("budget", _counts, "a RETRY is given however few retries a job has, and not counted"),
    ("operator", _has_operators, "a pending job takes no report"),
)


def _refuses(make_queue: Callable[[FakeClock], PersistentQueue], call: Callable[[Any], object]) -> bool:
    queue = make_queue(FakeClock())
    try:
        queue.enqueue(replace(_JOB))
        call(queue)
    except InvalidInput:
        return True
    except Exception:
        return False
    finally:
        queue.close()
    return False
