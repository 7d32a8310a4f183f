"""What the queue machine does in a second of CPU: fast driver and Hypothesis, each beside what it cannot do without.

    python benchmarks/bench_machine.py [--quick]

The bare figure is the same verbs with the same arguments on the same kind of queue, with no model, no judge and no
choice: what the queue itself takes. For Hypothesis it is an empty state machine of the same rules and arguments. Figures
of a machine that does other things as well say little; ratios within one run say more.
"""

import argparse
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import hypothesis
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from orch.testing.drivers import fast
from orch.testing.drivers import hypothesis as by_hypothesis
from orch.testing.machine import QueueMachine, Run
from orch.testing.servers import redis_url
from orch.testing.stores import RedisStore, SqliteStore, memory_store
from orch.testing.trace import generator

GOALS = {"memory": 50_000, "redis": 3_000}  # steps a CPU-second, with model and invariants on
SHARE_GOAL = 0.8  # of an empty state machine's steps a second
TRACES = {"memory": 1_500, "sqlite": 60, "fakeredis": 15, "redis": 80}
EXAMPLES = 200


def cpu(call):
    """What it gives, and the CPU seconds it took."""
    begun = time.process_time()
    value = call()
    return value, time.process_time() - begun


def bound(machine, store, traces):
    """Random traces as lists of (operation, values), as they were bound when they were done."""

    class Recorded(Run):
        __slots__ = ("calls",)

        def do(self, op, args):
            values = op.bind(self, *args)
            done = super().do(op, args)
            if done:
                self.calls.append((op, values))
            return done

    rng = generator(0)
    deck = fast.Deck(machine, rng)
    recorded = []
    for _ in range(traces):
        run = Recorded(machine, store)
        run.calls = []
        fast.wander(run, rng, deck, fast.STEPS)
        run.close()
        recorded.append(run.calls)
    return recorded


def called(machine, store, recorded):
    """Only the verbs of these traces, each on an empty queue; how many."""
    for calls in recorded:
        run = Run(machine, store)
        for op, values in calls:
            with suppress(Exception):  # refusals are among the answers
                op.call(run, *values)
        run.close()
    return sum(map(len, recorded))


def fast_driver(name, store, traces, repeats):
    """Steps a CPU-second of the fast driver, and of the bare verbs: the best of some turns, taken in turns."""
    machine = QueueMachine.of(store)
    recorded = bound(machine, store, traces)
    best = bare = 0.0
    for turn in range(repeats):
        outcome, seconds = cpu(lambda turn=turn: fast.explore(machine, store, traces=traces, seed=turn))
        assert outcome.failure is None, outcome.failure.violation
        best = max(best, outcome.steps / seconds)
        steps, seconds = cpu(lambda: called(machine, store, recorded))
        bare = max(bare, steps / seconds)
    goal = f"  goal {GOALS[name]:,}" if name in GOALS else ""
    print(f"{name:10} {best:9,.0f} steps a CPU-second, bare verbs {bare:9,.0f}, ratio {best / bare:.2f}{goal}")


def empty_machine(machine, *, picks):
    """A state machine of the same rules and arguments that does nothing.

    With `picks` its rules are picked in our way, from a swarm that one number says; else in Hypothesis's own.
    """

    class Empty(RuleBasedStateMachine):
        plans, cards = by_hypothesis.planned(machine), {}
        certain = done = 0
        mix = by_hypothesis.QueueStateMachine.mix

        def __init__(self):
            super().__init__()
            if picks:
                self._rules_strategy = by_hypothesis.next_rule(self)

    Empty.machine = machine

    def nothing(op, decorator, **others):
        def act(self, mix=None, **_):
            type(self).done += 1
            if mix is not None and picks:
                self.mix(mix)

        act.__name__ = act.__qualname__ = by_hypothesis.slug(op)  # Hypothesis swarms over names
        return decorator(**others, **by_hypothesis.domains(op))(act)

    rules = {by_hypothesis.slug(op): nothing(op, rule) for op in machine.operations}
    rules["first"] = nothing(machine.by_code["E"], initialize, **by_hypothesis.beginning(lambda: Empty))
    return type("Empty", (Empty,), rules)


def under_hypothesis(examples, repeats):
    """Rules a CPU-second of the Hypothesis driver on a MemoryQueue, and of empty machines, taken in turns."""
    machine = QueueMachine.of(memory_store)
    settings = hypothesis.settings(
        by_hypothesis.SETTINGS, max_examples=examples, database=None, phases=[hypothesis.Phase.generate]
    )
    kinds = {
        "ours": by_hypothesis.state_machine(memory_store, machine=machine),
        "empty": empty_machine(machine, picks=True),
        "plain": empty_machine(machine, picks=False),
    }
    acted = 0
    shipped = kinds["ours"].act

    def act(self, op, args):
        nonlocal acted
        acted += 1
        shipped(self, op, args)

    kinds["ours"].act = act  # what cannot be done now is a rule as well
    best = dict.fromkeys(kinds, 0.0)
    for turn in range(repeats):
        for name, kind in kinds.items():
            acted = kind.done = 0
            _, seconds = cpu(
                lambda kind=kind, turn=turn: run_state_machine_as_test(hypothesis.seed(turn)(kind), settings=settings)
            )
            best[name] = max(best[name], (acted if name == "ours" else kind.done) / seconds)
    share = best["ours"] / best["empty"]
    print(
        f"hypothesis {best['ours']:9,.0f} rules a CPU-second, empty machine {best['empty']:9,.0f}, "
        f"share {share:.2f}  goal {SHARE_GOAL}; an empty machine whose rules Hypothesis picks {best['plain']:9,.0f}"
    )


def stores(stack, folder):
    """Name and store of each backend that is here."""
    yield "memory", memory_store
    yield "sqlite", SqliteStore(folder)
    try:
        import fakeredis
        import redis
    except ImportError:
        print("redis, fakeredis: not installed")
        return
    yield "fakeredis", RedisStore(stack.enter_context(fakeredis.FakeRedis()))
    url = stack.enter_context(redis_url(folder))
    if url is None:
        print("redis: no redis-server or valkey-server here")
        return
    yield "redis", RedisStore(stack.enter_context(redis.Redis.from_url(url, db=9)))


def main():
    """Print one line for each backend, and one for Hypothesis."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the traces, one turn")
    quick = parser.parse_args().quick
    repeats, part = (1, 10) if quick else (3, 1)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, store in stores(stack, folder):
            fast_driver(name, store, max(3, TRACES[name] // part), repeats)
    under_hypothesis(EXAMPLES // part, repeats)


if __name__ == "__main__":
    main()
