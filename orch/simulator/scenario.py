"""A simulation as a YAML file: strict, with every fault of the file told at once, with line and key.

workers:
  - {count: 4, slots: 2}
load:
  - arrivals: {poisson: {rate: 5}}
    service: {exponential: {mean: 0.3}}
jobs: 10000
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from orch import checks
from orch.errors import InvalidInput
from orch.queue import LEASE_S, MAX_CRASHES
from orch.simulator.fleet import CALM, Faults, Workers, simulate
from orch.simulator.load import Bursts, Data, Diurnal, Every, Exponential, Fixed, Load, Lognormal, Poisson, Trace
from orch.simulator.result import Result
from orch.yaml_marks import Form, Node, Reader, join_key, shown_faults

SIZE_MAX = 1024 * 1024  # bytes of a file

ARRIVALS: Mapping[str, type] = {
    "poisson": Poisson,
    "every": Every,
    "bursts": Bursts,
    "diurnal": Diurnal,
    "trace": Trace,
}
TIMES: Mapping[str, type] = {"fixed": Fixed, "exponential": Exponential, "lognormal": Lognormal, "data": Data}
KEYS = (
    "name",
    "about",
    "seed",
    "jobs",
    "seconds",
    "replications",
    "lease_s",
    "max_crashes",
    "workers",
    "load",
    "faults",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What `simulate` is asked, as a value. `seconds` bounds the arrivals; without it and `jobs` 1,000 jobs come."""

    workers: tuple[Workers, ...]
    load: tuple[Load, ...]
    name: str = "scenario"
    about: str = ""
    seed: int = 0
    jobs: int | None = None
    seconds: float | None = None
    replications: int = 1
    lease_s: float = LEASE_S
    max_crashes: int = MAX_CRASHES
    faults: Faults = CALM

    def __post_init__(self) -> None:
        if not self.workers or not self.load:
            raise InvalidInput("a scenario needs workers and load")
        checks.check_int(self.seed, "seed", 0)
        checks.check_int(self.replications, "replications", 1, 10_000)
        checks.check_text(self.name, "name")
        if self.jobs is not None:
            checks.check_int(self.jobs, "jobs", 0)
        if self.seconds is not None:
            checks.check_seconds(self.seconds, "seconds", positive=True)
        checks.check_seconds(self.lease_s, "lease_s", positive=True)
        checks.check_int(self.max_crashes, "max_crashes", 0)

    def play(self, *, seed: int | None = None, history: bool = False) -> Result:
        """Simulate it once."""
        return simulate(
            self.workers,
            self.load,
            jobs=self.jobs,
            seconds=self.seconds,
            seed=self.seed if seed is None else seed,
            faults=self.faults,
            lease_s=self.lease_s,
            max_crashes=self.max_crashes,
            history=history,
        )

    def replicate(self, count: int | None = None, *, seed: int | None = None, history: bool = False) -> list[Result]:
        """Simulate it several times, each time with the next seed."""
        first = self.seed if seed is None else seed
        return [self.play(seed=first + number, history=history) for number in range(count or self.replications)]


def load_scenario(path: str | os.PathLike[str]) -> Scenario:
    """The scenario of a file. Raises `InvalidInput` with every fault of it."""
    file = os.fspath(path)
    try:
        with Path(file).open("rb") as opened:
            text = opened.read(SIZE_MAX + 1)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}") from None
    return parse_scenario(text, file)


def parse_scenario(text: str | bytes, file: str = "scenario") -> Scenario:
    """The scenario of a text. Raises `InvalidInput` with every fault of it, each with its line and key."""
    reader = _ScenarioReader(file)
    scenario = reader.scenario(text)
    if scenario is None or reader.faults:
        raise InvalidInput("\n".join(shown_faults(reader.faults)) or f"{file}: nothing is written there")
    return scenario


_LOAD = Load(arrivals=Every(1.0), service=1.0)
#: A good value of each class, in which a field of a file is tried.
SAMPLES: Mapping[type, Any] = {
    Poisson: Poisson(1.0),
    Every: Every(1.0),
    Bursts: Bursts(1, checks.SECONDS_MAX),
    Diurnal: Diurnal(0.0, checks.SECONDS_MAX),
    Trace: Trace(()),
    Fixed: Fixed(1.0),
    Exponential: Exponential(1.0),
    Lognormal: Lognormal(1.0),
    Data: Data((1.0,)),
    Workers: Workers(1),
    Faults: CALM,
    Load: _LOAD,
    Scenario: Scenario(workers=(Workers(1),), load=(_LOAD,)),
}


class _ScenarioReader(Reader):
    """Reads the parts of a scenario, each as the class that is made of it."""

    def scenario(self, text: str | bytes) -> Scenario | None:
        root = self.read(text)
        if root is None:
            return None
        found = self.mapping(root, "", KEYS, ("workers", "load"))
        if found is None:
            return None
        given: dict[str, Any] = {}
        for key, node in found.items():
            if key == "workers":
                given[key] = self._several(node, key, self._workers)
            elif key == "load":
                given[key] = self._several(node, key, self._load)
            elif key == "faults":
                given[key] = self._made(node, key, Faults, {"pause_s": self._time, "outages": self._pairs})
            else:
                given[key] = self.json(node, key)
        scenario: Scenario | None = self._make(root, "", Scenario, given, found)
        return scenario

    def _several(self, node: Node, key: str, read: Callable[[Node, str], Any]) -> tuple[Any, ...]:
        items = self.items(node, key)
        return tuple(read(item, f"{key}[{place}]") for place, item in enumerate(items or ()))

    def _workers(self, node: Node, key: str) -> Any:
        return self._made(node, key, Workers, {"latency_s": self._time})

    def _load(self, node: Node, key: str) -> Any:
        return self._made(node, key, Load, {"arrivals": self._arrivals, "service": self._time, "failing": self._pairs})

    def _time(self, node: Node, key: str) -> Any:
        """Seconds, or one of the distributions by its name."""
        return self._named(node, key, TIMES) if node.form is Form.MAP else self.json(node, key)

    def _arrivals(self, node: Node, key: str) -> Any:
        return self._named(node, key, ARRIVALS)

    def _named(self, node: Node, key: str, kinds: Mapping[str, type]) -> Any:
        found = self.mapping(node, key, tuple(kinds))
        if found is None:
            return None
        if len(found) != 1:
            self.fault(node, key, f"expected one of {', '.join(kinds)}, got {len(found)}")
            return None
        ((name, inner),) = found.items()
        return self._made(inner, join_key(key, name), kinds[name], {})

    def _pairs(self, node: Node, key: str) -> Any:
        """A list of pairs of seconds."""
        rows = self.json(node, key)
        if isinstance(rows, list) and all(isinstance(row, list) and len(row) == 2 for row in rows):
            return tuple(tuple(row) for row in rows)
        self.fault(node, key, "expected a list of pairs of seconds, as [[60, 10]]")
        return None

    def _made(self, node: Node, key: str, kind: Any, own: Mapping[str, Callable[[Node, str], Any]]) -> Any:
        """What a mapping describes, by the fields of its class."""
        known = fields(kind)
        names = [field.name for field in known]
        required = [one.name for one in known if one.default is MISSING and one.default_factory is MISSING]
        found = self.mapping(node, key, names, required)
        if found is None:
            return None
        given = {name: own.get(name, self.json)(inner, join_key(key, name)) for name, inner in found.items()}
        return self._make(node, key, kind, given, found)

    def _make(self, node: Node, key: str, kind: Any, given: Mapping[str, Any], found: Mapping[str, Node]) -> Any:
        """A value of the class. Each field is tried by itself first, so that every bad one is told, with its place."""
        if len(given) < len(found) or any(value is None and not found[name].is_null for name, value in given.items()):
            return None  # a part of it was faulty
        good = True
        values = {name: _frozen(value) for name, value in given.items()}
        for name, value in values.items():
            good &= self._tried(found[name], join_key(key, name), partial(replace, SAMPLES[kind], **{name: value}))
        needed = {one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING}
        if not good or not needed <= given.keys():
            return None
        made: list[Any] = []
        self._tried(node, key, lambda: made.append(kind(**values)))
        return made[0] if made else None

    def _tried(self, node: Node, key: str, make: Callable[[], Any]) -> bool:
        try:
            make()
        except (InvalidInput, TypeError, ValueError) as error:
            self.fault(node, key, str(error))
            return False
        return True


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def told(results: Sequence[Result]) -> dict[str, Any]:
    """The numbers of several replications: their means, and the interval of each wait where there are several."""
    from orch.simulator.theory import interval

    rows = [result.to_dict() for result in results]
    numbers: dict[str, Any] = {"replications": len(rows), "runs": rows}
    for key in ("throughput", "utilisation"):
        numbers[key] = sum(row[key] for row in rows) / len(rows)
    for key in ("wait_s", "latency_s"):
        numbers[key] = {part: sum(row[key][part] for row in rows) / len(rows) for part in rows[0][key]}
        if len(rows) > 1:
            numbers[f"{key}_interval"] = {
                part: list(interval([row[key][part] for row in rows], 0.95)) for part in rows[0][key]
            }
    return numbers
