"""`orch simulate`: workers, a load and faults on virtual time, as a YAML file says; the shipping code inside."""

from __future__ import annotations

import argparse
from typing import Any

from orch.cli._parts import Subparsers, add_json, command, print_json, print_table

EXAMPLE = """\
orch simulate scenario.yaml
  orch simulate scenario.yaml --replications 10 --seed 3 --json
  orch simulate how_many_workers            # a scenario that comes with orch; so does bad_night"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = command(
        subparsers, "simulate", "play a scenario of workers, load and faults on virtual time", EXAMPLE, _run
    )
    parser.add_argument("scenario", help="a YAML file, or the name of a scenario that comes with orch")
    parser.add_argument("--seed", type=int, help="of the first replication (default: the file's)")
    parser.add_argument("--replications", type=int, metavar="N", help="how often, each with the next seed")
    parser.add_argument("--judge", action="store_true", help="judge the history of each, too; exit 1 if one is invalid")
    add_json(parser)


def _run(args: argparse.Namespace) -> int:
    from orch import checks
    from orch.lab.scenarios import scenario_of
    from orch.simulator.scenario import told

    scenario = scenario_of(args.scenario)
    count = None if args.replications is None else checks.check_int(args.replications, "replications", 1, 10_000)
    seed = None if args.seed is None else checks.check_int(args.seed, "seed", 0)
    results = scenario.replicate(count, seed=seed, history=args.judge)
    numbers = {"name": scenario.name, **told(results)}
    verdicts = [result.verdict() for result in results] if args.judge else []
    if verdicts:
        numbers["verdicts"] = [verdict.to_dict() for verdict in verdicts]
    if args.json:
        print_json(numbers)
    else:
        _print(scenario.name, numbers)
        for verdict in verdicts:
            print(verdict)
    return 0 if all(verdict.valid for verdict in verdicts) else 1


def _print(name: str, numbers: dict[str, Any]) -> None:
    runs = numbers["runs"]
    jobs, failed = (sum(run[key] for run in runs) for key in ("jobs", "failed"))
    attempts, crashes = (sum(run[key] for run in runs) for key in ("attempts", "crashes"))
    print(f"{name}: {len(runs)} replication(s), {jobs} jobs, {failed} failed, {attempts} attempts, {crashes} crashes")
    print(f"{numbers['throughput']:.4g} jobs/s, {numbers['utilisation']:.1%} of the slots busy\n")
    rows = []
    for title, key in (("wait", "wait_s"), ("latency", "latency_s")):
        spread, interval = numbers[key], numbers.get(f"{key}_interval")
        rows.append([title, *(f"{value:.4g}" for value in spread.values())])
        if interval is not None:
            rows.append(["  95% from", *(f"{low:.4g}" for low, _ in interval.values())])
            rows.append(["  95% to", *(f"{high:.4g}" for _, high in interval.values())])
    print_table(["seconds", *numbers["wait_s"]], rows)
