"""When jobs come and how long they take: distributions, arrivals, and what a kind of jobs is like.

All times are seconds of virtual time; all chance comes from the generator that is handed in.
"""

from __future__ import annotations

import math
import os
import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean
from typing import Protocol

from orch import checks
from orch.errors import InvalidInput


class Distribution(Protocol):
    """A time that varies: `sample` draws it, `mean` and `second` are the means of it and of its square."""

    @property
    def mean(self) -> float: ...
    @property
    def second(self) -> float: ...
    def sample(self, rng: random.Random) -> float: ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same time."""

    seconds: float

    def __post_init__(self) -> None:
        checks.check_seconds(self.seconds, "seconds")

    @property
    def mean(self) -> float:
        """Its mean."""
        return self.seconds

    @property
    def second(self) -> float:
        """The mean of its square."""
        return self.seconds**2

    def sample(self, rng: random.Random) -> float:
        """A time."""
        return self.seconds


@dataclass(frozen=True, slots=True)
class Exponential:
    """Memoryless: many short ones, few long ones; the coefficient of variation is 1."""

    mean: float

    def __post_init__(self) -> None:
        checks.check_seconds(self.mean, "mean", positive=True)

    @property
    def second(self) -> float:
        """The mean of its square."""
        return 2.0 * self.mean**2

    def sample(self, rng: random.Random) -> float:
        """A time."""
        return rng.expovariate(1.0 / self.mean)


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Heavy to the right, as most service times are; `variation` is the standard deviation as a part of the mean."""

    mean: float
    variation: float = 1.0

    def __post_init__(self) -> None:
        checks.check_seconds(self.mean, "mean", positive=True)
        checks.check_seconds(self.variation, "variation", positive=True)

    @property
    def second(self) -> float:
        """The mean of its square."""
        return self.mean**2 * (1.0 + self.variation**2)

    def sample(self, rng: random.Random) -> float:
        """A time."""
        sigma2 = math.log(1.0 + self.variation**2)
        return rng.lognormvariate(math.log(self.mean) - sigma2 / 2, math.sqrt(sigma2))


@dataclass(frozen=True, slots=True)
class Data:
    """Times that were measured: each is as likely as any other."""

    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", tuple(self.seconds))
        if not self.seconds:
            raise InvalidInput("data needs at least one time")
        for value in self.seconds:
            checks.check_seconds(value, "a time of data")

    @property
    def mean(self) -> float:
        """Its mean."""
        return fmean(self.seconds)

    @property
    def second(self) -> float:
        """The mean of its square."""
        return fmean(value**2 for value in self.seconds)

    def sample(self, rng: random.Random) -> float:
        """A time."""
        return self.seconds[int(rng.random() * len(self.seconds))]


Time = Distribution | float | int


def distribution(value: Time, what: str = "a time") -> Distribution:
    """A number of seconds as a distribution that is always it. Raises `InvalidInput`."""
    if isinstance(value, int | float):
        return Fixed(checks.check_seconds(value, what))
    if not hasattr(value, "sample"):
        raise InvalidInput(f"{what} must be seconds or a distribution, as Exponential(0.3), got {checks.shown(value)}")
    return value


class Arrivals(Protocol):
    """When jobs come: `times` gives ascending seconds, maybe without end."""

    def times(self, rng: random.Random) -> Iterator[float]: ...


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent arrivals, `rate` a second on average."""

    rate: float

    def __post_init__(self) -> None:
        checks.check_seconds(self.rate, "rate", positive=True)

    def times(self, rng: random.Random) -> Iterator[float]:
        """Arrivals without end."""
        now = 0.0
        while True:
            now += rng.expovariate(self.rate)
            yield now


@dataclass(frozen=True, slots=True)
class Every:
    """One job every so many seconds, the first at `start_s`."""

    seconds: float
    start_s: float = 0.0

    def __post_init__(self) -> None:
        checks.check_seconds(self.seconds, "seconds", positive=True)
        checks.check_seconds(self.start_s, "start_s")

    def times(self, rng: random.Random) -> Iterator[float]:
        """Arrivals without end."""
        number = 0
        while True:
            yield self.start_s + number * self.seconds
            number += 1


@dataclass(frozen=True, slots=True)
class Bursts:
    """`size` jobs at a time, every so many seconds, spread evenly over `spread_s`."""

    size: int
    every_s: float
    spread_s: float = 0.0
    start_s: float = 0.0

    def __post_init__(self) -> None:
        checks.check_int(self.size, "size", 1)
        checks.check_seconds(self.every_s, "every_s", positive=True)
        checks.check_seconds(self.spread_s, "spread_s")
        checks.check_seconds(self.start_s, "start_s")
        if self.spread_s > self.every_s:
            raise InvalidInput(f"spread_s must be at most every_s ({self.every_s:g}), got {self.spread_s:g}")

    def times(self, rng: random.Random) -> Iterator[float]:
        """Arrivals without end."""
        burst = 0
        while True:
            for place in range(self.size):
                yield self.start_s + burst * self.every_s + self.spread_s * place / self.size
            burst += 1


@dataclass(frozen=True, slots=True)
class Diurnal:
    """A day with a peak: Poisson arrivals whose rate swings between `low` and `high`, lowest at the beginning."""

    low: float
    high: float
    period_s: float = 86_400.0

    def __post_init__(self) -> None:
        checks.check_seconds(self.low, "low")
        checks.check_seconds(self.high, "high", positive=True)
        checks.check_seconds(self.period_s, "period_s", positive=True)
        if self.low > self.high:
            raise InvalidInput(f"low must be at most high ({self.high:g}), got {self.low:g}")

    def rate(self, at: float) -> float:
        """Jobs a second at an instant."""
        return self.low + (self.high - self.low) * (1.0 - math.cos(2.0 * math.pi * at / self.period_s)) / 2.0

    def times(self, rng: random.Random) -> Iterator[float]:
        """Arrivals without end, by thinning (P. Lewis, G. Shedler, 1979)."""
        now = 0.0
        while True:
            now += rng.expovariate(self.high)
            if rng.random() * self.high < self.rate(now):
                yield now


@dataclass(frozen=True, slots=True)
class Trace:
    """Arrivals that were measured: seconds from the beginning."""

    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", tuple(sorted(self.seconds)))
        for value in self.seconds:
            checks.check_seconds(value, "a time of a trace")

    def times(self, rng: random.Random) -> Iterator[float]:
        """These."""
        return iter(self.seconds)

    @classmethod
    def from_log(cls, path: str | os.PathLike[str], event: str = "run_started") -> Trace:
        """When the events of a kind came, from a state log of this project; the first one is the beginning.

        Raises `InvalidInput` if the log has none.
        """
        from orch.events import newest_first  # only a trace of a log needs it

        at = [
            datetime.fromisoformat(row["timestamp"]).timestamp()
            for row in newest_first(path)
            if row.get("event") == event and isinstance(row.get("timestamp"), str)
        ]
        if not at:
            raise InvalidInput(f"{os.fspath(path)} has no event {event!r} with a timestamp")
        return cls(tuple(when - min(at) for when in at))


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One kind of jobs: when they come, how long a run takes, and what they are like.

    A run fails with probability `fails`, and always between the two instants of each pair of `failing`: a dependency
    that is down. A job is poison with probability `poison`: each run of it kills its worker half-way.
    """

    arrivals: Arrivals
    service: Time
    tenant: str = "local-dev"
    priority: int = 0
    max_retries: int = 0
    timeout_s: float | None = None
    fails: float = 0.0
    failing: tuple[tuple[float, float], ...] = ()
    poison: float = 0.0

    def __post_init__(self) -> None:
        if not hasattr(self.arrivals, "times"):
            raise InvalidInput(f"arrivals must be as Poisson(5), got {checks.shown(self.arrivals)}")
        object.__setattr__(self, "service", distribution(self.service, "service"))
        checks.check_text(self.tenant, "tenant", checks.ID_MAX)
        checks.check_int(self.priority, "priority", -1000, 1000)
        checks.check_int(self.max_retries, "max_retries", 0)
        if self.timeout_s is not None:
            checks.check_seconds(self.timeout_s, "timeout_s", positive=True)
        for name in ("fails", "poison"):
            checks.check_seconds(getattr(self, name), name, high=1.0)
        object.__setattr__(self, "failing", tuple(sorted((float(low), float(high)) for low, high in self.failing)))

    def is_failing(self, at: float) -> bool:
        """Does every run that ends now fail?"""
        place = bisect_right(self.failing, (at, math.inf)) - 1
        return place >= 0 and at < self.failing[place][1]


def offered(loads: Sequence[Load]) -> float | None:
    """The work that comes per second, in busy slots; None where arrivals have no known rate."""
    total = 0.0
    for load in loads:
        if not isinstance(load.arrivals, Poisson):
            return None
        total += load.arrivals.rate * distribution(load.service).mean
    return total
