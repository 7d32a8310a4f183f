"""Charts of what a queue did: plain sequences in, a matplotlib axis back; one file for each question.

What colour says is also said by place, shape or words. Nothing is fetched from anywhere. Times are seconds from the
beginning, unless a chart says otherwise.
"""

from __future__ import annotations

from orch.lab.charts.capacity import distributions, wait_by_workers
from orch.lab.charts.dag import TaskSpan, dag_gantt, dag_graph
from orch.lab.charts.depth import by_tenant, queue_depth, waiting_jobs
from orch.lab.charts.lanes import worker_lanes
from orch.lab.charts.latency import latency_by_part, latency_over_time
from orch.lab.charts.life import life_of_a_job
from orch.lab.charts.order import delivery_order
from orch.lab.charts.recovery import times_to_recover
from orch.lab.charts.retries import attempts_of_jobs, retry_delays
from orch.lab.charts.score import operation_map, runs_to_kill
from orch.lab.charts.throughput import throughput
from orch.lab.charts.ticks import ticks_and_jobs, wall_clock
from orch.lab.charts.witness import space_time, trace_picture

__all__ = [
    "TaskSpan",
    "attempts_of_jobs",
    "by_tenant",
    "dag_gantt",
    "dag_graph",
    "delivery_order",
    "distributions",
    "latency_by_part",
    "latency_over_time",
    "life_of_a_job",
    "operation_map",
    "queue_depth",
    "retry_delays",
    "runs_to_kill",
    "space_time",
    "throughput",
    "ticks_and_jobs",
    "times_to_recover",
    "trace_picture",
    "wait_by_workers",
    "waiting_jobs",
    "wall_clock",
    "worker_lanes",
]
