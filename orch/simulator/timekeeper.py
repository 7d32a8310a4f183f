"""A scheduler in a world: the shipping generator under a driver of virtual time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from orch.errors import OrchError
from orch.schedule import Schedule
from orch.scheduler.logic import Enqueue, MoveCursors, ReadCursors, Scheduler
from orch.simulator.tape import Stream
from orch.simulator.world import DOWN, LOST_REPLY, LOST_REQUEST, QUIET, World
from orch.worker.steps import Sleep


class Timekeeper:
    """One scheduler: looks at the clock every `tick_s` of virtual time.

    `make(schedules)` gives what has `serve(tick_s)`; by default the one that ships.
    """

    def __init__(
        self,
        world: World,
        name: str,
        schedules: Sequence[Schedule],
        *,
        net: Stream = QUIET,
        tick_s: float = 1.0,
        make: Callable[..., Any] | None = None,
    ) -> None:
        self.world = world
        self.id = name
        self.net = net
        self.latency: Callable[[], float] | None = None
        self.gone = False
        self.paused_until = -1.0
        self._steps: Generator[Any, Any, None] = (Scheduler if make is None else make)(schedules).serve(tick_s)
        world.later(0.0, self, self._go, None, True)

    def breathe(self) -> bool:
        """It does not die within a verb."""
        return False

    def _go(self, value: Any, first: bool = False) -> None:
        world = self.world
        while True:
            step: Any = next(self._steps) if first else self._steps.send((world.epoch + world.now, value))
            first, value = False, None
            kind = step.__class__
            if kind is Sleep:
                delay = step.until - world.epoch - world.now
                if delay > 0:
                    world.later(delay, self, self._go, None)
                    return
            elif kind in (ReadCursors, Enqueue, MoveCursors):
                fate = self.net.take()
                value = DOWN if fate == LOST_REQUEST or world.now < world.down_until else self._ask(step)
                if fate == LOST_REPLY:
                    value = DOWN
                world.later(0.001 if fate == 0 else 0.05, self, self._go, value)
                return

    def _ask(self, step: Any) -> Any:
        queue = self.world.queue
        try:
            if step.__class__ is ReadCursors:
                return queue.schedule_cursors(step.keys)
            if step.__class__ is MoveCursors:
                return queue.advance_schedules(step.moves)
            return [bool(self.world.ask_now(self, "enqueue", job, 0)) for job in step.jobs]
        except OrchError as error:
            return error
