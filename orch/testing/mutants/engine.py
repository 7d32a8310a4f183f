"""Makes mutants, runs what judges them, and counts how many runs it took until each was killed.

A run is one trace of a machine, one world, or one round of checks; whatever it raises kills the mutant. A mutant that
loops is stopped when it has taken many times the CPU time of the original, and counts as killed.
"""

from __future__ import annotations

import ast
import itertools
import re
import signal
import statistics
import time
import types
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from orch.errors import InvalidInput
from orch.testing.mutants.operators import Site, sites

SLOWER = 20.0  # times the CPU time of the longest run of the original, and then
EXTRA_S = 0.3  # so much more, until a mutant counts as one that loops
KILLED_MIN = 0.95  # of all mutants
EQUIVALENT_MAX = 0.03
MEDIAN_MAX = 3


class Stuck(BaseException):
    """A mutant loops, or waits for itself. No `Exception`, so that nobody catches it for an answer."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault in one target, and how to make the module that has it."""

    target: str
    function: str
    line: int
    operator: str
    before: str
    after: str
    make: Callable[[], types.ModuleType]

    @property
    def key(self) -> str:
        """What stays the same when other lines change."""
        return f"{self.function}: {self.operator}: {self.before} => {self.after}"

    @property
    def diff(self) -> str:
        return f"{self.function}, line {self.line}, {self.operator}\n    - {self.before}\n    + {self.after}"


@dataclass(frozen=True, slots=True)
class Target:
    """A module of ours: what is mutated in it, what is not and why, and what judges a mutant.

    `runs(module)` does one run after the other, each with a `next()`; it ends when enough were done.
    """

    name: str
    file: str
    mutants: Callable[[], Iterator[Mutant]]
    runs: Callable[[types.ModuleType], Iterator[None]]
    original: Callable[[], types.ModuleType]
    out_of_scope: tuple[tuple[str, str], ...] = ()  # functions or statements (a pattern), and where they are tested


@dataclass(slots=True)
class Score:
    """What became of the mutants of a target."""

    target: str
    mutants: int = 0
    stillborn: int = 0  # those that cannot even be imported; they are not counted as mutants
    runs: list[int] = field(default_factory=list)  # until it was killed, for each that was
    hung: int = 0
    survivors: list[Mutant] = field(default_factory=list)
    equivalent: list[tuple[Mutant, str]] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)  # declared equivalent, and killed or not there any more
    part: tuple[int, int] = (1, 1)  # which of the mutants, see `score`; of a part, `unused` says little
    operators: Counter[str] = field(default_factory=Counter)
    judged: list[tuple[Mutant, int | None]] = field(default_factory=list)  # with the run that killed it
    cpu_s: float = 0.0

    @property
    def killed(self) -> int:
        return len(self.runs)

    @property
    def share(self) -> float:
        return self.killed / self.mutants if self.mutants else 1.0

    @property
    def median(self) -> float:
        return statistics.median(self.runs) if self.runs else 0.0

    @property
    def p95(self) -> int:
        return sorted(self.runs)[int(0.95 * (len(self.runs) - 1))] if self.runs else 0

    @property
    def good(self) -> bool:
        """Enough killed, in few runs, and every survivor explained."""
        return (
            self.share >= KILLED_MIN
            and not self.survivors
            and len(self.equivalent) <= EQUIVALENT_MAX * self.mutants
            and self.median <= MEDIAN_MAX
        )

    def to_dict(self) -> dict[str, Any]:
        """For `--json`; "each" has every mutant with the run that killed it, null if none did."""
        return {
            "target": self.target,
            "part": list(self.part),
            "good": self.good,
            "mutants": self.mutants,
            "killed": self.killed,
            "share": round(self.share, 4),
            "hung": self.hung,
            "stillborn": self.stillborn,
            "runs_to_kill": {"median": self.median, "p95": self.p95, "max": max(self.runs, default=0)},
            "cpu_s": round(self.cpu_s, 1),
            "mutants_per_cpu_s": round(self.mutants / self.cpu_s, 1) if self.cpu_s else None,
            "equivalent": [{"mutant": mutant.key, "reason": reason} for mutant, reason in self.equivalent],
            "survivors": [{"mutant": mutant.key, "line": mutant.line} for mutant in self.survivors],
            "unused": self.unused,
            "each": [
                {
                    "target": mutant.target,
                    "function": mutant.function,
                    "line": mutant.line,
                    "operator": mutant.operator,
                    "before": mutant.before,
                    "after": mutant.after,
                    "mutant": mutant.key,
                    "runs": took,
                }
                for mutant, took in self.judged
            ],
        }


Equivalents = Iterable[tuple[str, str]]  # a pattern of keys, and why what it matches behaves as the original


def score(
    target: Target,
    equivalents: Equivalents = (),
    *,
    part: tuple[int, int] = (1, 1),
    tell: Callable[[Mutant, int | None], None] | None = None,
) -> Score:
    """Judge the mutants of a target; with part (k, n) each n-th of them, from the k-th on."""
    result = Score(target.name, part=part)
    limit_s = EXTRA_S + SLOWER * _longest(target)
    declared = [(re.compile(pattern, re.DOTALL), reason, [0]) for pattern, reason in equivalents]
    begun = time.process_time()
    for n, mutant in enumerate(target.mutants()):
        if n % part[1] != part[0] - 1:
            continue
        try:
            module = _bounded(mutant.make, limit_s)
        except (Exception, SystemExit, Stuck):
            result.stillborn += 1
            continue
        result.mutants += 1
        result.operators[mutant.operator] += 1
        took, hung = runs_to_kill(target, module, limit_s)
        result.hung += hung
        result.judged.append((mutant, took))
        if took is not None:
            result.runs.append(took)
        else:
            found = next((item for item in declared if item[0].fullmatch(mutant.key)), None)
            if found is not None:
                found[2][0] += 1
                result.equivalent.append((mutant, found[1]))
            else:
                result.survivors.append(mutant)
        if tell is not None:
            tell(mutant, took)
    result.cpu_s = time.process_time() - begun
    result.unused = [pattern.pattern for pattern, _, used in declared if not used[0]]
    return result


def joined(parts: Iterable[Mapping[str, Any]]) -> list[Score]:
    """The scores of whole targets from those of their parts, as `to_dict` gives them.

    Raises `InvalidInput` for a target of which a part is missing or comes twice.
    """
    by_target: dict[str, list[Mapping[str, Any]]] = {}
    for one in parts:
        by_target.setdefault(one["target"], []).append(one)
    return [_whole(name, of_it) for name, of_it in by_target.items()]


def _whole(name: str, parts: list[Mapping[str, Any]]) -> Score:
    have = sorted(tuple(one["part"]) for one in parts)
    n = have[0][1]
    if have != [(k, n) for k in range(1, n + 1)]:
        given = ", ".join(f"{k}/{of}" for k, of in have)
        raise InvalidInput(f"{name}: needed is each of the parts 1/{n} to {n}/{n} once, got {given}")
    whole = Score(name)
    for one in parts:
        whole.mutants += one["mutants"]
        whole.stillborn += one["stillborn"]
        whole.hung += one["hung"]
        whole.cpu_s += one["cpu_s"]
        reasons = {row["mutant"]: row["reason"] for row in one["equivalent"]}
        for row in one["each"]:
            mutant = Mutant(name, row["function"], row["line"], row["operator"], row["before"], row["after"], _gone)
            whole.operators[mutant.operator] += 1
            whole.judged.append((mutant, row["runs"]))
            if row["runs"] is not None:
                whole.runs.append(row["runs"])
            elif mutant.key in reasons:
                whole.equivalent.append((mutant, reasons[mutant.key]))
            else:
                whole.survivors.append(mutant)
    whole.unused = [pattern for pattern in parts[0]["unused"] if all(pattern in one["unused"] for one in parts)]
    return whole


def _gone() -> types.ModuleType:
    raise InvalidInput("a mutant that was read from a file cannot be made; run its target")


def runs_to_kill(target: Target, module: types.ModuleType, limit_s: float) -> tuple[int | None, bool]:
    """The number of the run that killed a mutant, None if it survived all; and whether it had to be stopped."""
    done = 0
    runs = target.runs(module)
    try:
        while True:
            _bounded(lambda: next(runs), limit_s)
            done += 1
    except StopIteration:
        return None, False
    except Stuck:
        return done + 1, True
    except (Exception, SystemExit):
        return done + 1, False
    finally:
        with suppress(Exception, SystemExit, Stuck):
            runs.close()  # type: ignore[attr-defined]  # they are generators


def _longest(target: Target) -> float:
    """The CPU time of the longest run of the original, which must survive; raises what it raises."""
    longest = 0.0
    runs = target.runs(target.original())
    while True:
        begun = time.process_time()
        try:
            next(runs)
        except StopIteration:
            return longest
        longest = max(longest, time.process_time() - begun)


def _stop(*_: object) -> None:
    raise Stuck


def _bounded(act: Callable[[], Any], limit_s: float) -> Any:
    """Do it, for so much CPU time at most."""
    before = signal.signal(signal.SIGPROF, _stop)
    signal.setitimer(signal.ITIMER_PROF, limit_s, limit_s)
    try:
        return act()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


# -- making mutants ----------------------------------------------------------------------------------------------------


def python_mutants(
    name: str,
    source: str,
    file: str,
    package: str,
    in_scope: Callable[[str], bool],
    left: Callable[[str], bool],
    prepare: Callable[[dict[str, Any]], None],
) -> Iterator[Mutant]:
    """The mutants of a module's source; each is made when it is asked for, and only the newest can be."""
    tree = ast.parse(source)
    seen: Counter[str] = Counter()
    for site in list(sites(tree, in_scope, left)):
        key = f"{site.function} {site.operator} {site.before} {site.after}"
        seen[key] += 1
        again = f" #{seen[key]}" if seen[key] > 1 else ""
        yield Mutant(
            name,
            site.function,
            site.line,
            site.operator,
            site.before,
            site.after + again,
            lambda site=site: _mutated(tree, site, file, package, prepare),  # type: ignore[misc]  # bound now
        )


def _mutated(
    tree: ast.Module, site: Site, file: str, package: str, prepare: Callable[[dict[str, Any]], None]
) -> types.ModuleType:
    old = site.put(site.new)
    try:
        code = compile(tree, file, "exec")
    finally:
        site.put(old)
    return module_of(code, file, package, prepare)


def module_of(
    code: types.CodeType, file: str, package: str, prepare: Callable[[dict[str, Any]], None]
) -> types.ModuleType:
    """A fresh module of this code, which takes nobody's place."""
    name = f"{package}.{file.rsplit('/', 1)[-1].removesuffix('.py')}"
    module = types.ModuleType(name)
    counter = itertools.count(1)
    module.__dict__.update(
        __file__=file,
        __package__=package,
        _third=lambda: next(counter) % 3 == 0,
        _pop_last=lambda heap: heap.pop(),
        _backwards=lambda items, **how: sorted(items, **how)[::-1],
    )
    exec(code, module.__dict__)  # noqa: S102 - our own code, with one small fault
    prepare(module.__dict__)
    return module
