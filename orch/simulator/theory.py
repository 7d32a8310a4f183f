"""Queueing theory, to hold the simulator against: waits of M/M/c and M/G/1, and intervals over replications."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

from orch import checks
from orch.errors import InvalidInput
from orch.simulator.load import Distribution


def erlang_c(servers: int, offered: float) -> float:
    """The probability that a job has to wait in M/M/c (A. K. Erlang, 1917); `offered` is arrival rate times mean time.

    Computed from Erlang B by its recursion, which stays exact for thousands of servers. Raises `InvalidInput` when the
    servers cannot keep up.
    """
    checks.check_int(servers, "servers", 1)
    if not 0 <= offered < servers:
        raise InvalidInput(f"{servers} servers keep up with less than {servers} busy ones, got {offered:g}")
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = offered * blocked / (number + offered * blocked)
    return blocked / (1.0 - offered / servers * (1.0 - blocked))


def mmc_wait(servers: int, rate: float, mean_s: float) -> float:
    """The mean wait in M/M/c, in seconds."""
    offered = rate * mean_s
    return erlang_c(servers, offered) * mean_s / (servers - offered)


def mmc_wait_quantile(servers: int, rate: float, mean_s: float, part: float) -> float:
    """The wait that `part` of all jobs do not exceed in M/M/c, in seconds."""
    offered = rate * mean_s
    late = erlang_c(servers, offered)
    return 0.0 if late <= 1.0 - part else math.log(late / (1.0 - part)) * mean_s / (servers - offered)


def mg1_wait(rate: float, service: Distribution) -> float:
    """The mean wait in M/G/1, in seconds (F. Pollaczek 1930, A. Khinchine 1932)."""
    load = rate * service.mean
    if load >= 1:
        raise InvalidInput(f"one server keeps up with a load below 1, got {load:g}")
    return rate * service.second / (2.0 * (1.0 - load))


def interval(values: Sequence[float], confidence: float = 0.99) -> tuple[float, float]:
    """Where the mean lies that independent values were drawn around, with this confidence (Student's t)."""
    count = len(values)
    if count < 2:
        raise InvalidInput(f"an interval needs at least 2 values, got {count}")
    half = t_quantile(0.5 + confidence / 2, count - 1) * stdev(values) / math.sqrt(count)
    return fmean(values) - half, fmean(values) + half


def t_quantile(part: float, freedom: int) -> float:
    """A quantile of Student's t: exact for 1 and 2 degrees of freedom, else by Hill's method (CACM algorithm 396)."""
    if part < 0.5:
        return -t_quantile(1.0 - part, freedom)
    if freedom == 1:
        return math.tan(math.pi * (part - 0.5))
    if freedom == 2:
        return (2 * part - 1) / math.sqrt(2 * part * (1 - part))
    tails = 2.0 * (1.0 - part)
    a = 1.0 / (freedom - 0.5)
    b = 48.0 / a**2
    c = ((20700.0 * a / b - 98.0) * a - 16.0) * a + 96.36
    d = ((94.5 / (b + c) - 3.0) / b + 1.0) * math.sqrt(a * math.pi / 2.0) * freedom
    y = (d * tails) ** (2.0 / freedom)
    if y > 0.05 + a:
        x = NormalDist().inv_cdf(tails / 2.0)
        y = x**2
        if freedom < 5:
            c += 0.3 * (freedom - 4.5) * (x + 0.6)
        c = (((0.05 * d * x - 5.0) * x - 7.0) * x - 2.0) * x + b + c
        y = (((((0.4 * y + 6.3) * y + 36.0) * y + 94.5) / c - y - 3.0) / b + 1.0) * x
        y = math.expm1(a * y**2)
    else:
        y = (
            (
                1.0 / (((freedom + 6.0) / (freedom * y) - 0.089 * d - 0.822) * (freedom + 2.0) * 3.0)
                + 0.5 / (freedom + 4.0)
            )
            * y
            - 1.0
        ) * (freedom + 1.0) / (freedom + 2.0) + 1.0 / y
    return math.sqrt(freedom * y)
