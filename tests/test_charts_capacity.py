"""What the charts of capacity draw: the data of their lines and signs."""

import math

import matplotlib.pyplot as plt
import pytest

from orch.lab.charts import distributions, wait_by_workers


@pytest.fixture(autouse=True)
def _no_window_and_no_figure_left():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def lines(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def points(line):
    return list(zip(line.get_xdata(), line.get_ydata(), strict=True))


ROWS = [(17, 0.2, 0.5, 0.8), (16, 0.9, 1.3, 1.9)]


def test_waits_have_a_dot_an_interval_and_the_line_of_theory():
    ax = wait_by_workers(ROWS, [(17, 0.59), (16, 1.29)], target_s=1.0)
    assert points(lines(ax)["theory"]) == [(16, 1.29), (17, 0.59)]
    assert points(lines(ax)["asked for: 1 s"])[0][1] == 1.0
    bars = [collection.get_segments()[0].tolist() for collection in ax.collections]
    assert bars == [[[16, 0.9], [16, 1.9]], [[17, 0.2], [17, 0.8]]]
    dots = [points(line)[0] for line in ax.lines if line.get_marker() == "o"]
    assert dots == [(16, 1.3), (17, 0.5)]
    assert list(ax.get_xticks()) == [16, 17]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("workers", "wait in seconds")
    assert ax.get_yscale() == "log"
    assert {"0.1", "1"} <= {ax.yaxis.get_major_formatter()(value) for value in ax.get_yticks()}


def test_a_wait_of_nothing_stands_at_the_lower_edge():
    ax = wait_by_workers([(1, 0.0, 0.5, 1.0), (2, 0.0, 0.0, 0.0)])
    low = ax.get_ylim()[0]
    assert low > 0
    assert ax.collections[0].get_segments()[0].tolist() == [[1, low], [1, 1.0]]
    assert points(ax.lines[-1]) == [(2, low)]


def test_many_numbers_of_workers_have_few_ticks():
    assert len(wait_by_workers([], [(n, 1.0) for n in range(1, 101)]).get_xticks()) <= 24


def test_a_distribution_is_a_step_for_each_job():
    ax = distributions({"simulated": [0.3, 0.1], "measured": [0.2, math.inf]})
    assert points(lines(ax)["simulated"]) == [(0.0, 0.0), (0.1, 0.5), (0.3, 1.0)]
    assert points(lines(ax)["measured"]) == [(0.0, 0.0), (0.2, 0.5)]
    assert lines(ax)["simulated"].get_linestyle() != lines(ax)["measured"].get_linestyle()
    assert ax.get_xlim() == (0.0, pytest.approx(0.309))


def test_nothing_to_show_is_an_empty_chart():
    assert not wait_by_workers([]).lines
    assert not distributions({}).get_legend()
