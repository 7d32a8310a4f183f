"""Threads, their queue and the clock of `orch.runner`, on virtual time: one thing happens at a time, in a fixed order.

While a `Stage` is set, a thread that the runner starts is a call with an end in the future; where the runner waits for
an answer the call that ends next is made, or time goes on to the end of the wait. So a run of many threads takes no
time, and equal runs do equal things.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from types import SimpleNamespace
from typing import Any

from orch import runner
from orch.testing.machines.world import Broken


@dataclass(eq=False, slots=True)
class Flight:
    """A call that was started and has not ended."""

    target: Any  # the runner's call: it has `inputs` and `context`
    task_id: str
    began: float
    ends: float
    timeout_s: float | None


class Stage:
    """What the runner sees of time and threads. `takes(task_id)` says how long a call takes, and its time-out.

    `started(task_id, inputs)` and `waits()` are told what happens. Ties end in the order of the starts, or `lifo` in
    the other one. `main` says that the run is in the main thread.
    """

    def __init__(
        self,
        *,
        takes: Callable[[str], tuple[float, float | None]],
        started: Callable[[str, dict[str, Any]], None],
        waits: Callable[[], None],
        lifo: bool = False,
        main: bool = False,
    ) -> None:
        self.takes, self.started, self.waits = takes, started, waits
        self.lifo, self.main = lifo, main
        self.now = 1_000.0
        self.flights: list[Flight] = []
        self.landing: Flight | None = None  # the call that is being made

    @property
    def flying(self) -> list[Flight]:
        """The calls that are under way and within their time."""
        return [flight for flight in self.flights if self.now < flight.began + (flight.timeout_s or inf)]

    def sleep(self, seconds: float) -> None:
        """Time goes on."""
        self.now += seconds

    def fly(self, target: Any) -> None:
        """A thread is started."""
        task_id = target.context.task_id
        seconds, timeout_s = self.takes(task_id)
        self.started(task_id, target.inputs)
        self.flights.append(Flight(target, task_id, self.now, self.now + seconds, timeout_s))

    def get(self, items: list[Any], timeout: float | None) -> Any:
        """The next answer, or `queue.Empty` when the time is over."""
        self.waits()
        while not items:
            order = reversed(self.flights) if self.lifo else self.flights
            flight = min(order, key=lambda one: one.ends, default=None)
            if timeout is None and (flight is None or flight.ends == inf):
                raise Broken("D4", "the run waits for an answer that never comes")
            if flight is None or (timeout is not None and flight.ends > self.now + timeout):
                self.now += timeout or 0.0
                raise queue.Empty
            before, self.now = self.now, max(self.now, flight.ends)
            if timeout is not None:
                timeout -= self.now - before
            self.flights.remove(flight)
            self.landing = flight
            flight.target()
            self.landing = None
        return items.pop(0)


class _Answers:
    """In place of the runner's queue."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.items: list[Any] = []

    def put(self, item: Any) -> None:
        self.items.append(item)

    def get(self, timeout: float | None = None) -> Any:
        return self.stage.get(self.items, timeout)


class _Thread:
    """In place of a thread."""

    def __init__(self, stage: Stage, target: Any) -> None:
        self.stage, self.target = stage, target

    def start(self) -> None:
        self.stage.fly(self.target)


@contextmanager
def on_stage(stage: Stage) -> Iterator[None]:
    """The runner has this stage in place of threads and time."""
    kept: dict[str, Any] = {name: getattr(runner, name) for name in ("_Run", "threading", "time")}

    def make_run(**given: Any) -> Any:
        run = kept["_Run"](**given)
        run.answers = _Answers(stage)
        return run

    here, main = object(), object()
    shims = {
        "_Run": make_run,
        "threading": SimpleNamespace(
            Thread=lambda target, **_: _Thread(stage, target),
            current_thread=lambda: main if stage.main else here,
            main_thread=lambda: main,
        ),
        "time": SimpleNamespace(monotonic=lambda: stage.now, sleep=stage.sleep),
    }
    try:
        for name, shim in shims.items():
            setattr(runner, name, shim)
        yield
    finally:
        for name, value in kept.items():
            setattr(runner, name, value)
