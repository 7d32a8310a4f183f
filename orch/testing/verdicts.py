"""The verdict of `orch verify` as data: what was run, what held, up to which level, and the witness against more."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orch.testing import levels
from orch.testing.drivers import fast
from orch.testing.kit import NeverReached, Verified, machine_for, skipped_text, told, verify
from orch.testing.machine import QueueMachine, Store
from orch.testing.report import ContractViolation, promises
from orch.testing.subject import load, subject

if TYPE_CHECKING:
    from orch.testing.watchdog import Order

GRADE_TRACES = 2_000
GRADE_S = 20.0  # at most, for the level of a queue that broke a promise


def attempt(order: Order) -> dict[str, Any]:
    """Load the queue, verify it, and say what came of it. Raises `InvalidInput` for what is no queue."""
    begun = time.monotonic()
    store = subject(load(order.queue, Path(order.folder) if order.folder else None))
    asked = {
        "queue": order.queue,
        "driver": "replay" if order.replay else order.driver,
        "seed": order.seed,
    }
    try:
        done = verify(
            store,
            max_examples=order.examples,
            seed=order.seed,
            driver=order.driver,
            capabilities=order.capabilities,
            replay=order.replay,
            level=order.level,
            seconds=order.seconds,
        )
    except ContractViolation as violation:
        return asked | _broken(store, order, violation)
    except NeverReached as error:
        text = f"{order.queue} was not verified: {error}"
        return asked | {"exit": 2, "valid": None, "text": text, "error": text}
    return asked | _kept(order, done, time.monotonic() - begun)


def _kept(order: Order, done: Verified, seconds: float) -> dict[str, Any]:
    traces = "1 trace" if done.traces == 1 else f"{done.traces:,} traces"
    how = "replayed" if order.replay else f"{done.driver} driver, seed {order.seed}"
    said = f"{order.queue}: {traces}, {done.steps:,} steps, no promise broken ({how}, {seconds:.1f} s)"
    level = ""
    if order.level is not None:
        said = f"{order.queue}: {traces}, {done.steps:,} steps ({how}, {seconds:.1f} s)"
        level = f"Level: {done.level} held; {order.level} was asked for"
    elif not order.replay:
        level = f"Level: {done.level}"
        if done.level != "L4":
            level += ", the highest that a queue without leases can have"
    hint = ""
    if done.skipped and order.capabilities is None:
        hint = "(`--capabilities` names what a queue is to be asked for, whatever is found out about it.)"
    parts = [said, level, "\n".join(filter(None, [skipped_text(done.skipped), hint])), done.coverage]
    return {
        "exit": 0,
        "valid": True,
        "level": None if order.replay else done.level,
        "traces": done.traces,
        "steps": done.steps,
        "seconds": round(seconds, 3),
        "skipped": done.skipped,
        "never_reached": list(done.never_reached),
        "coverage": done.coverage,
        "text": "\n\n".join(filter(None, parts)),
    }


def _broken(store: Store, order: Order, violation: ContractViolation) -> dict[str, Any]:
    machine, fit = machine_for(store, order.capabilities)
    found: dict[str, Any] = {
        "exit": 1,
        "valid": False,
        "promise": violation.promise,
        "sentence": violation.sentence,
        "message": violation.message,
        "steps": len(violation.trace.steps),
        "token": violation.trace.token,
        "hash": violation.trace.hash,
        "program": violation.program,
        "skipped": fit.missing,
    }
    parts = [f"{order.queue} breaks its contract.\n\n{violation}"]
    if order.replay is None:
        level, witness = _graded(machine, store, order, violation)
        found["level"] = level
        held = f"Level: {level} held" if level else "Level: not even L1 held"
        if witness is None:
            parts.append(f"{held}; {violation.promise} is beside the levels.")
        else:
            found["against"] = {
                "promise": witness.promise,
                "message": witness.message,
                "steps": len(witness.trace.steps),
                "token": witness.trace.token,
                "program": witness.program,
            }
            if witness.trace == violation.trace:
                parts.append(f"{held}; the program above is the witness against the next.")
            else:
                parts.append(
                    f"{held}. The witness against the next, {witness.promise} "
                    f"{promises().get(witness.promise, '')}\n\n{witness.message}\n\n"
                    + "\n".join(f"    {line}" if line else "" for line in witness.program.splitlines())
                )
    hint = _hint(order, violation, fit.missing)
    if hint:
        parts.append(hint)
    parts.append(f"Again: orch verify {order.queue} --replay {violation.trace.token}")
    return found | {"text": "\n\n".join(filter(None, parts))}


def _graded(
    machine: QueueMachine, store: Store, order: Order, violation: ContractViolation
) -> tuple[str | None, ContractViolation | None]:
    """The strongest level that held, and the violation that is the witness against the next one."""
    end = time.monotonic() + GRADE_S
    graded = levels.grade(machine, store, traces=GRADE_TRACES, seed=order.seed, stop=lambda: time.monotonic() > end)
    _, broken = fast.replay(machine, store, fast.steps_of(machine, violation.trace))
    if broken is not None:
        broken.promise = violation.promise  # as it is blamed at last
        mine = levels.rank(broken)
        if mine < levels.BESIDE and mine <= min(graded.failures, default=levels.BESIDE):
            return (levels.LEVELS[mine - 2] if mine > 1 else None), violation
    if graded.against is None:
        return graded.level, None
    return graded.level, told(graded.against[0], store, graded.against[1])


_SIGNS = (("priority=", "priority"), ("not_before=", "delay"), ("delay_s=", "delay"))


def _hint(order: Order, violation: ContractViolation, missing: dict[str, str]) -> str:
    """What to say to a queue that never promised this."""
    if order.capabilities is not None:
        return ""
    signs = [name for sign, name in _SIGNS if sign in violation.program and name not in missing]
    if violation.promise == "Q12":
        signs.append("refusal")
    if not signs:
        return ""
    return (
        f"A queue that does not promise {' or '.join(dict.fromkeys(signs))} says so: it raises NotSupported, or names "
        f"what it can do in an attribute `capabilities` (or in --capabilities)."
    )
