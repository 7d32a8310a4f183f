"""`orch dag`: see what a DAG file would do, or run it here and now, without a queue."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orch.cli._parts import Subparsers, add_json, command, print_json

if TYPE_CHECKING:
    from orch.dag import DAG
    from orch.settings import Settings

_RULE = "=" * 60


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its own commands."""
    parser = command(subparsers, "dag", "check a DAG file, or run it without a queue", "orch dag plan etl.yaml")
    inner = parser.add_subparsers(metavar="WHAT", required=True)
    plan = command(inner, "plan", "check a DAG file and print the order of its tasks", "orch dag plan etl.yaml", _plan)
    run = command(inner, "run", "run a DAG here and now", "orch dag run etl.yaml --param day=2026-11-24", _run)
    run.add_argument(
        "--param", action="append", default=[], metavar="K=V", help="given to every task; V is JSON, or else text"
    )
    for each in (plan, run):
        each.add_argument("path", metavar="PATH", help="a YAML file")
        each.add_argument("--tenant", default="local-dev", metavar="NAME", help="whom it is for (default: the file's)")
        add_json(each)
        each.add_argument("--url", help=argparse.SUPPRESS)  # accepted everywhere; a DAG run here needs no queue


def _plan(args: argparse.Namespace) -> int:
    from orch.dag import toposort
    from orch.errors import OrchError
    from orch.runner import run_dag

    try:
        dag, _ = _loaded(args)
        if args.json:
            tasks = [
                {"id": task.id, "workflow": task.workflow_ref, "depends_on": task.depends_on} for task in toposort(dag)
            ]
            print_json({"dag_name": dag.name, "tasks": tasks})
            return 0
        planned = run_dag(dag, tenant=args.tenant, dry_run=True)
    except OrchError as error:
        return _refused("Error loading DAG", error)
    print(f"\nDry run complete. {planned['tasks_planned']} tasks would execute.")
    return 0


def _run(args: argparse.Namespace) -> int:
    from orch.cli.enqueue import parsed_params
    from orch.errors import OrchError, RunnerError
    from orch.runner import run_dag

    params = parsed_params(args.param)
    try:
        dag, settings = _loaded(args)
    except OrchError as error:
        return _refused("Error loading DAG", error)
    try:
        result = run_dag(dag, tenant=args.tenant, params=params, events_path=settings.events_path)
    except RunnerError as error:
        if args.json:
            print_json({"error": str(error)})
        else:
            print(f"\nError executing DAG: {error}")
        return 1
    if args.json:
        print_json(result)
    else:
        _print_result(result)
    return 0


def _print_result(result: dict[str, Any]) -> None:
    print(f"\n{_RULE}\nDAG EXECUTION COMPLETE\n{_RULE}")
    print(f"DAG: {result['dag_name']}")
    print(f"Tasks Succeeded: {result['tasks_succeeded']}")
    print(f"Tasks Failed: {result['tasks_failed']}")
    print(f"Duration: {result['duration_seconds']:.2f}s")
    print(f"{_RULE}\n\nTask Outputs:")
    for task_id, output in result["task_outputs"].items():
        print(f"  {task_id}: {output.get('summary', output)}")


def _loaded(args: argparse.Namespace) -> tuple[DAG, Settings]:
    """The DAG of the file, with every fault found at once, unknown workflows too (D2)."""
    from orch.dag import load_dag_from_yaml
    from orch.settings import Settings
    from orch.workflows import WORKFLOW_MAP, load_workflows

    settings = Settings.from_env()
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # as in a worker
    load_workflows(settings.workflows)
    return load_dag_from_yaml(args.path, workflows=WORKFLOW_MAP), settings


def _refused(what: str, error: Exception) -> int:
    print(f"{what}: {error}", file=sys.stderr)
    return 2
