"""What a queue can do, by name: contract and machine ask for capabilities, never for a backend.

A queue with fewer of them is tested with fewer tests and operations, not with other ones.
"""

from __future__ import annotations

from collections.abc import Iterable

from orch.errors import InvalidInput

#: Each capability and what a queue without it is not asked for.
CAPABILITIES = {
    "priority": "jobs are ordered by priority before their ticket",
    "delay": "`not_before` and the `delay_s` of a RETRY are kept",
    "lease": "a delivery carries a lease that fences its reports and ends by itself (Q4, Q5, Q8)",
    "crashes": "lost leases are counted against `max_crashes` (Q6)",
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


def checked_capabilities(names: Iterable[str] | None) -> frozenset[str]:
    """The capabilities of these names; None means all. Raises `InvalidInput` with the names that exist."""
    if names is None:
        return ALL
    given = frozenset(names)
    unknown = sorted(given - ALL)
    if unknown:
        raise InvalidInput(f"capabilities must be among {', '.join(CAPABILITIES)}, got {', '.join(unknown)}")
    return given
