"""Hunts the bugs of level "sim": worlds of workers on virtual time (see `orch.testing.drivers.sim`)."""

from __future__ import annotations

import time

from orch.testing.bugs.catalogue import Bug, Finding
from orch.testing.drivers.sim import explore, smallest, story


def hunt(bug: Bug, *, seed: int = 0, budget_s: float = 10.0) -> Finding | None:
    """Play worlds with it until one breaks a promise, or `budget_s` of CPU are spent."""
    subject = bug.make()
    begun = time.process_time()
    found = explore(subject, seed=seed, budget_s=budget_s).ended
    if found is None:
        return None
    then = time.process_time()
    least = smallest(found, subject)
    shrunk = time.process_time()
    assert least.broken is not None
    broken = least.broken
    program = story(least).replace(".broken)", f", every_bug({bug.name!r})).broken)").replace('"), every', '", every')
    return Finding(
        broken.promise, broken.sentence, least.ordeal.size, least.ordeal.token, program, then - begun, shrunk - then
    )
