"""What charts draw: the data of their lines, bars and signs, never their pixels."""

import math
from datetime import UTC, datetime, timedelta

import matplotlib.pyplot as plt
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.dates import date2num

from orch.dag import Task
from orch.history import History, Op, Outcome
from orch.job import JobStatus
from orch.lab import charts
from orch.lab.charts.lanes import LANES_MAX
from orch.lab.charts.rows import faults_of, in_order
from orch.lab.charts.style import COLUMNS, OUTCOMES
from orch.lab.charts.thin import Bar, thin_bars, thin_points, thin_steps
from orch.lab.spans import lease_spans, task_spans
from orch.page import Kill, Mark, Run, Sample

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_window_and_no_figure_left():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def lines(ax):
    """Lines with a label, by label."""
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def points(line):
    return list(zip(line.get_xdata(), line.get_ydata(), strict=True))


def words(ax):
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def shapes(ax):
    """The corners of all bars of lanes, by colour."""
    found = {}
    for collection in ax.collections:
        if isinstance(collection, PolyCollection) and len(collection.get_facecolor()):
            colour = to_hex(collection.get_facecolor()[0]).upper()
            found.setdefault(colour, []).extend(path.vertices[:4] for path in collection.get_paths())
    return found


EMPTY = {
    "queue_depth": ([],),
    "waiting_jobs": ({},),
    "worker_lanes": ([],),
    "latency_by_part": ({},),
    "latency_over_time": ([],),
    "throughput": ({},),
    "attempts_of_jobs": ([],),
    "retry_delays": ([],),
    "delivery_order": ([],),
    "ticks_and_jobs": ({},),
    "wall_clock": ("Europe/London", NOON, NOON, {}),
    "dag_graph": ([],),
    "dag_gantt": ([],),
    "life_of_a_job": ([],),
}


@pytest.mark.parametrize("name", sorted(EMPTY))
def test_nothing_gives_an_empty_chart_with_its_titles(name):
    ax = getattr(charts, name)(*EMPTY[name])
    assert ax.get_title(loc="left") or ax.get_title()
    ax.figure.canvas.draw()


@pytest.mark.parametrize("name", sorted(EMPTY))
def test_a_chart_draws_on_the_axis_that_it_is_given(name):
    _, ax = plt.subplots()
    assert getattr(charts, name)(*EMPTY[name], ax=ax) is ax


# -- fewer points ----------------------------------------------------------------------------------------------------


def test_thinned_steps_are_bounded_and_keep_every_extreme_and_both_ends():
    times = [n / 7 for n in range(200_000)]
    values = [n % 97 for n in range(200_000)]
    values[77_777], values[123_456] = 5_000, -5_000
    x, y = thin_steps(times, values)
    assert len(x) <= 4 * COLUMNS
    assert (max(y), min(y)) == (5_000, -5_000)
    assert (x[y.index(5_000)], x[y.index(-5_000)]) == (times[77_777], times[123_456])
    assert (x[0], y[0], x[-1], y[-1]) == (times[0], values[0], times[-1], values[-1])
    assert x == sorted(x)


def test_few_steps_stay_as_they_are():
    assert thin_steps([1, 2, 2], [3, 4, 3]) == ([1, 2, 2], [3, 4, 3])


def test_steps_at_one_instant_are_thinned_too():
    x, y = thin_steps([5.0] * 10_000, list(range(10_000)))
    assert (len(x), y) == (2, [0, 9_999])


def test_narrow_bars_become_one_for_each_row_column_and_kind():
    bars = [Bar(0, n / 1000, n / 1000 + 0.0005, "a") for n in range(1000)]
    thin = thin_bars([*bars, Bar(0, 0.0, 1.0, "a"), Bar(0, 0.5, 0.5001, "b"), Bar(1, 0.5, 0.5001, "a")], 1.0, 10)
    assert sum(bar.number for bar in thin) == 1003
    assert len(thin) == 10 + 3
    assert Bar(0, 0.0, 1.0, "a") in thin


def test_one_point_is_left_for_each_column_and_key():
    assert thin_points([(0.01, 1), (0.02, 1), (0.03, 2), (0.99, 1)], 1.0, 10) == [(0.01, 1), (0.03, 2), (0.99, 1)]


# -- rows ------------------------------------------------------------------------------------------------------------


def test_faults_of_simulations_and_of_real_runs_are_the_same_rows():
    rows = faults_of(
        [(3.0, "pause", "w", 2.0), (1.0, "crash", "w"), Kill(2.0, "w", ("j",)), Mark(0.0, 9.0, "store", "", "")]
    )
    assert [tuple(row) for row in rows] == [
        (0.0, 9.0, "store", ""),
        (1.0, 1.0, "crash", "w"),
        (2.0, 2.0, "kill", "w"),
        (3.0, 5.0, "pause", "w"),
    ]
    assert [row.of_store for row in rows] == [True, False, False, False]


def test_names_are_sorted_with_their_numbers_as_numbers():
    assert in_order(["w-10", "w-9", "far-1", "w-9"]) == ["far-1", "w-9", "w-10"]


# -- depth -----------------------------------------------------------------------------------------------------------


def test_the_depth_of_the_queue_is_drawn_as_steps_of_each_status():
    drawn = lines(charts.queue_depth([(0.0, 0, 0), (1.0, 3, 1), (4.0, 2, 2)], end=10.0))
    assert points(drawn["pending"]) == [(0, 0), (1, 3), (4, 2), (10, 2)]
    assert points(drawn["running"]) == [(0, 0), (1, 1), (4, 2), (10, 2)]
    assert drawn["pending"].get_drawstyle() == "steps-post"
    assert drawn["pending"].get_linestyle() != drawn["running"].get_linestyle()


def test_samples_of_a_real_run_also_show_what_is_final():
    drawn = lines(charts.queue_depth([Sample(0.0, 4, 0, 0, 0), Sample(2.0, 0, 1, 2, 1)]))
    assert points(drawn["success"])[-1] == (2.0, 2)
    assert points(drawn["failed"])[-1] == (2.0, 1)


def test_faults_stand_above_the_depth_and_an_outage_is_a_band_with_its_words():
    ax = charts.queue_depth([(0.0, 1, 1)], [(1.0, "crash", "w"), (2.0, "crash", "v"), (3.0, "outage", "store", 4.0)])
    assert points(lines(ax)["crash of a worker (2)"]) == [(1.0, 1.035), (2.0, 1.035)]
    band = ax.patches[0]
    assert (band.get_x(), band.get_width()) == (3.0, 4.0)
    assert words(ax)[-1] in ("store away", "crash of a worker (2)")
    assert "store away" in words(ax)


def test_a_long_run_is_drawn_with_few_points_and_its_peak():
    steps = [(n / 10, n % 50, 1) for n in range(200_000)]
    steps[60_000] = (6_000.0, 777, 1)
    drawn = lines(charts.queue_depth(steps))["pending"]
    assert len(drawn.get_xdata()) <= 4 * COLUMNS
    assert (6_000.0, 777) in points(drawn)


def test_jobs_wait_from_arrival_to_delivery_a_line_for_each_tenant():
    drawn = lines(charts.waiting_jobs({"a": [(0.0, 2.0), (1.0, None)], "b": [(1.0, 1.0), (3.0, 4.0)]}))
    assert points(drawn["a"]) == [(0, 0), (0, 1), (1, 2), (2, 1), (4, 1)]
    assert max(drawn["b"].get_ydata()) == 1


# -- lanes -----------------------------------------------------------------------------------------------------------

LANES = [
    ("w-0", "j", 1, 1.0, 3.0, "killed"),
    ("w-1", "j", 2, 8.0, 9.0, "success"),
    ("w-0.1", "k", 1, 5.0, None, "running"),
]


def test_each_attempt_is_a_bar_in_the_lane_of_its_worker_coloured_by_its_end():
    ax = charts.worker_lanes(LANES, [(3.0, "crash", "w-0")])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["w-0", "w-1"]
    bars = shapes(ax)
    ((killed,), (won,), (open_,)) = (bars[OUTCOMES[name].colour] for name in ("killed", "success", "running"))
    assert (killed[0][0], killed[1][0]) == (1.0, 3.0)
    assert (won[0][0], won[1][0]) == (8.0, 9.0)
    assert (open_[0][0], open_[1][0]) == (5.0, 9.0)
    assert open_[0][1] == killed[0][1] < 0.5 < won[0][1]


def test_how_an_attempt_ended_is_said_by_signs_and_words_too():
    ax = charts.worker_lanes(LANES, [(3.0, "crash", "w-0")])
    assert {"cut off: its worker died", "ended in success", "no end was seen", "crash of a worker"} <= set(words(ax))
    signs = {(line.get_marker(), *points(line)[0]) for line in ax.lines if line.get_marker() == "X"}
    assert signs == {("X", 3.0, 0.0), ("X", 3.0, -0.44)}


def test_an_arrow_leads_from_what_was_cut_off_to_the_next_delivery():
    ax = charts.worker_lanes(LANES)
    (arrow,) = [text for text in ax.texts if hasattr(text, "arrow_patch") and text.arrow_patch is not None]
    assert (arrow.xy, arrow.xyann) == ((8.0, 1), (3.0, 0))
    assert "delivered again (1)" in words(ax)


def test_leases_lie_below_the_bars_of_their_worker():
    ax = charts.worker_lanes(LANES, leases=[("w-1", 8.0, 12.0, "j", 7)], window=(0.0, 20.0))
    assert [points(line) for line in ax.lines if line.get_linewidth() == 2.5] == [[(8.0, 0 + 1.44), (12.0, 1.44)]]
    assert "holds the lease" in words(ax)


def test_a_pause_is_a_hatched_box_in_its_lane():
    ax = charts.worker_lanes(LANES, [(2.0, "pause", "w-1", 5.0)])
    (box,) = [one for one in ax.collections if one.get_hatch()]
    assert [tuple(corner) for corner in box.get_paths()[0].vertices[:2]] == [(2.0, 0.54), (7.0, 0.54)]


def test_attempts_of_one_worker_that_overlap_have_tracks_of_their_own():
    rows = [("w", "a", 1, 0.0, 4.0, "success"), ("w", "b", 1, 1.0, 3.0, "success"), ("w", "c", 1, 3.0, 5.0, "success")]
    tops = [bar[0][1] for bar in shapes(charts.worker_lanes(rows))[OUTCOMES["success"].colour]]
    assert tops[0] != tops[1] == tops[2]


def test_a_window_shows_only_what_lies_in_it():
    ax = charts.worker_lanes(LANES, window=(7.0, 9.0))
    assert OUTCOMES["killed"].colour not in shapes(ax)
    assert ax.get_xlim() == (7.0, 9.0)


def test_runs_of_real_workers_are_drawn_as_simulated_ones():
    ax = charts.worker_lanes([Run("j", 1, "w", 1.0, 2.0, "success")], [Kill(2.5, "w", ())])
    assert [(bar[0][0], bar[1][0]) for bar in shapes(ax)[OUTCOMES["success"].colour]] == [(1.0, 2.0)]
    assert "kill -9 of a worker" in words(ax)


def test_more_lanes_than_a_page_holds_are_left_out_and_the_title_says_so():
    ax = charts.worker_lanes([(f"w-{n}", f"j{n}", 1, n, n + 1.0, "success") for n in range(LANES_MAX + 5)])
    assert len(ax.get_yticks()) == LANES_MAX
    assert "5 more" in ax.get_title(loc="left")


def test_two_hundred_thousand_attempts_are_few_bars_and_no_rare_end_is_lost():
    rows = [(f"w-{n % 4}", str(n), 1, n / 100, n / 100 + 0.03, "success") for n in range(200_000)]
    rows[150_000] = ("w-0", "150000", 1, 1_500.0, 1_500.03, "lost")
    bars = shapes(charts.worker_lanes(rows))
    assert len(bars[OUTCOMES["success"].colour]) <= 4 * (COLUMNS + 1)
    ((lost),) = bars[OUTCOMES["lost"].colour]
    assert lost[0][0] == 1_500.0


# -- latency ---------------------------------------------------------------------------------------------------------


def test_latency_by_part_reads_as_what_each_part_takes_at_most():
    (line,) = charts.latency_by_part([float(n) for n in range(1, 1001)]).lines[:1]
    drawn = points(line)
    at_90 = min(y for x, y in drawn if x >= 1.0 - 1e-9)
    assert at_90 == pytest.approx(901, abs=12)
    assert drawn[0] == (0, 1.0)
    assert drawn[-1][1] == 1000.0


def test_the_slowest_of_many_latencies_is_drawn_and_the_curve_is_short():
    line = charts.latency_by_part({"x": [1.0] * 199_999 + [99.0]}).lines[0]
    assert len(line.get_xdata()) <= 402
    assert line.get_ydata()[-1] == 99.0


def test_what_has_no_end_is_counted_not_drawn():
    ax = charts.latency_by_part({"x": [1.0, float("inf")]})
    assert words(ax) == ["x (1 without an end)"]
    assert "1 without an end" in charts.latency_over_time([(0.0, float("inf")), (1.0, 1.0)]).get_title(loc="left")


def test_percentiles_of_each_window_and_a_gap_where_nothing_came():
    rows = [(0.1, 1.0), (0.2, 2.0), (0.3, 3.0), (2.5, 7.0)]
    drawn = lines(charts.latency_over_time(rows, window_s=1.0))
    assert points(drawn["p50"])[0] == (0.5, 2.0)
    assert points(drawn["slowest"])[0] == (0.5, 3.0)
    assert points(drawn["p95"])[2] == (2.5, 7.0)
    assert drawn["p50"].get_ydata()[1] != drawn["p50"].get_ydata()[1]  # not a number


# -- throughput ------------------------------------------------------------------------------------------------------


def test_throughput_counts_each_window_per_second():
    drawn = lines(charts.throughput({"done": [0.1, 0.2, 1.9, 3.5, float("inf")]}, window_s=2.0))
    assert points(drawn["done"]) == [(0, 1.5), (2, 0.5), (4, 0.5)]


def test_a_long_run_has_few_windows_and_every_instant_is_in_one():
    line = lines(charts.throughput({"x": [n / 10 for n in range(200_000)]}))["x"]
    assert len(line.get_xdata()) <= 302
    width = line.get_xdata()[1]
    assert sum(line.get_ydata()[:-1]) * width == pytest.approx(200_000)


# -- retries ---------------------------------------------------------------------------------------------------------

TRIES = [
    ("w", "a", 1, 0.0, 1.0, "retry"),
    ("w", "a", 2, 2.0, 3.0, "retry"),
    ("w", "a", 3, 6.0, 7.0, "success"),
    ("w", "b", 1, 1.0, 2.0, "success"),
]


def test_each_job_is_a_row_with_its_attempts_and_those_with_the_most_come_first_when_there_are_too_many():
    ax = charts.attempts_of_jobs(TRIES, jobs_max=1)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a"]
    assert "1 of 2 jobs" in ax.get_title(loc="left")
    assert [points(line) for line in ax.lines if line.get_linewidth() == 5] == [
        [(0.0, 0), (1.0, 0)],
        [(2.0, 0), (3.0, 0)],
        [(6.0, 0), (7.0, 0)],
    ]
    assert {"failed, will be tried again", "ended in success", "waits for its next attempt"} == set(words(ax))


def test_waits_stand_by_the_number_of_the_failure_within_the_band_that_backoff_chooses_from():
    ax = charts.retry_delays(TRIES, first_s=1.0)
    dots = [points(line) for line in ax.lines if line.get_marker() == "o"]
    assert [[y for _, y in one] for one in dots] == [[1.0], [3.0]]
    assert [round(x) for one in dots for x, _ in one] == [1, 2]
    bands = [one for one in ax.collections if hasattr(one, "get_hatch") and len(one.get_facecolor())]
    edges = [sorted({y for path in one.get_paths() for y in path.vertices[:, 1]}) for one in bands]
    assert [0.5, 1.0] in edges
    assert [1.0, 2.0] in edges


def test_many_waits_are_few_dots_with_both_extremes():
    rows = [
        (w, f"j{n}", k, n + 2.0 * k, n + 2.0 * k + 1.0 - n / 1e6, "retry")
        for w in "w"
        for n in range(5_000)
        for k in (1, 2)
    ]
    (line,) = [line for line in charts.retry_delays(rows).lines if line.get_marker() == "o"]
    assert len(line.get_ydata()) <= 120
    assert max(line.get_ydata()) == pytest.approx(1.004999)


# -- order -----------------------------------------------------------------------------------------------------------


def test_deliveries_stand_against_the_place_of_their_job_with_an_arrow_to_the_next_of_the_same():
    ax = charts.delivery_order([("b", 2, "first"), ("a", 1, "first"), ("b", 2, "again")])
    drawn = lines(ax)
    assert points(drawn["first"]) == [(1, 2), (2, 1)]
    assert points(drawn["again"]) == [(3, 2)]
    assert drawn["first"].get_marker() != drawn["again"].get_marker()
    (arrow,) = [text for text in ax.texts if hasattr(text, "arrow_patch") and text.arrow_patch is not None]
    assert (arrow.xy, arrow.xyann) == ((3, 2), (1, 2))


# -- schedules -------------------------------------------------------------------------------------------------------


def test_a_tick_is_on_time_late_or_without_a_job():
    hour = timedelta(hours=1)
    rows = {"s": [(NOON, NOON), (NOON + hour, NOON + 3 * hour), (NOON + 2 * hour, None)]}
    ax = charts.ticks_and_jobs(rows, [(NOON + hour / 2, NOON + 3 * hour)])
    day = date2num(NOON)
    drawn = {name: [round((x - day) * 24, 6) for x in line.get_xdata()] for name, line in lines(ax).items()}
    assert drawn == {
        "tick with its job, on time": [0],
        "job of an earlier tick (the line leads to it)": [3],
        "tick without a job": [2],
    }
    assert "no scheduler" in words(ax)


@pytest.mark.parametrize(
    ("day", "said"),
    [(datetime(2026, 3, 29, tzinfo=UTC), "skipped"), (datetime(2026, 10, 25, tzinfo=UTC), "twice")],
)
def test_the_wall_clock_jumps_where_clocks_change_and_says_what_that_means(day, said):
    ticks = {"s": [day + timedelta(hours=1)], "t": [day + timedelta(hours=1), day + timedelta(days=9)]}
    ax = charts.wall_clock("Europe/London", day, day + timedelta(hours=4), ticks)
    assert [text.get_text() for text in ax.texts if said in text.get_text()]
    drawn = lines(ax)
    assert set(drawn) == {"s  (1x)", "t  (1x)"}
    expected = 2.0 if said == "skipped" else 1.0
    assert [line.get_ydata()[0] for line in drawn.values()] == [expected, expected]
    assert drawn["s  (1x)"].get_xdata()[0] < drawn["t  (1x)"].get_xdata()[0]  # beside each other, not one on the other


# -- DAGs ------------------------------------------------------------------------------------------------------------

DIAMOND = [
    Task("a", "noop"),
    Task("b", "noop", depends_on=["a"]),
    Task("c", "noop", depends_on=["a"]),
    Task("d", "noop", depends_on=["b", "c"]),
]


def test_each_task_stands_to_the_right_of_all_it_depends_on_with_how_it_ended_in_words():
    ax = charts.dag_graph(DIAMOND, {"a": "ok", "b": "fail", "d": "skipped"})
    texts = {text.get_text().split("\n")[0]: text for text in ax.texts if text.get_text()}
    at = {name: text.get_position() for name, text in texts.items()}
    assert at["a"][0] < at["b"][0] == at["c"][0] < at["d"][0]
    assert at["b"][1] != at["c"][1]
    assert {text.get_text() for text in texts.values()} == {"a\ndone", "b\nfailed", "c", "d\nskipped"}
    assert sum(hasattr(text, "arrow_patch") and text.arrow_patch is not None for text in ax.texts) == 4


def test_a_cycle_can_be_drawn():
    charts.dag_graph([Task("a", "noop", depends_on=["b"]), Task("b", "noop", depends_on=["a"])])


def event(seconds, kind, run="j#1", task=None, **more):
    stamp = (NOON + timedelta(seconds=seconds)).isoformat()
    return {"timestamp": stamp, "event": kind, "run": run, **({"task_id": task} if task else {}), **more}


def test_tasks_are_bars_of_each_run_and_those_taken_over_are_signs():
    spans = task_spans(
        [
            event(0, "dag_start"),
            event(1, "task_start", task="a"),
            event(2, "task_ok", task="a"),
            event(2, "task_start", task="b"),
            event(10, "task_reused", run="j#2", task="a"),
            event(10, "task_start", run="j#2", task="b"),
            event(11, "task_retry", run="j#2", task="b"),
            event(13, "task_fail", run="j#2", task="b"),
            event(13, "task_skipped", run="j#2", task="c"),
        ],
        cut_at={"j#1": 4.0},
    )
    assert [tuple(span) for span in spans] == [
        ("j#1", "a", 1.0, 2.0, "ok", ()),
        ("j#1", "b", 2.0, 4.0, "cut", ()),
        ("j#2", "a", 10.0, 10.0, "reused", ()),
        ("j#2", "b", 10.0, 13.0, "fail", (11.0,)),
        ("j#2", "c", 13.0, 13.0, "skipped", ()),
    ]
    ax = charts.dag_gantt(spans, [(4.0, "kill -9")])
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(1.0, 1.0), (2.0, 2.0), (10.0, 3.0)]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b", "c"]
    assert {"done", "cut off", "failed", "taken over, not run", "skipped", "a try failed, and is repeated"} == set(
        words(ax)
    )
    assert {"#1", "#2", "kill -9"} <= {text.get_text() for text in ax.texts}


# -- leases ----------------------------------------------------------------------------------------------------------


def op(name, seconds, token=None, outcome=Outcome.OK, **args):
    return Op(
        "w", name, "j" if token else None, args, int(seconds * 1e9), int(seconds * 1e9), outcome, None, None, token
    )


def test_a_lease_lasts_until_its_time_is_over_as_extended_or_its_job_is_settled():
    history = History(
        [
            op("dequeue", 1, 7, lease_s=5.0),
            op("extend", 3, 7, lease_s=5.0),
            op("dequeue", 9, 8, lease_s=5.0),
            op("extend", 10, 7, Outcome.REFUSED, lease_s=5.0),
            op("report", 11, 8, status=JobStatus.SUCCESS),
        ]
    )
    assert [tuple(span) for span in lease_spans(history)] == [("w", 1.0, 8.0, "j", 7), ("w", 9.0, 11.0, "j", 8)]


# -- capacity ----------------------------------------------------------------------------------------------------------

ROWS = [(17, 0.2, 0.5, 0.8), (16, 0.9, 1.3, 1.9)]


def test_waits_have_a_dot_an_interval_and_the_line_of_theory():
    ax = charts.wait_by_workers(ROWS, [(17, 0.59), (16, 1.29)], target_s=1.0)
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
    ax = charts.wait_by_workers([(1, 0.0, 0.5, 1.0), (2, 0.0, 0.0, 0.0)])
    low = ax.get_ylim()[0]
    assert low > 0
    assert ax.collections[0].get_segments()[0].tolist() == [[1, low], [1, 1.0]]
    assert points(ax.lines[-1]) == [(2, low)]


def test_many_numbers_of_workers_have_few_ticks():
    assert len(charts.wait_by_workers([], [(n, 1.0) for n in range(1, 101)]).get_xticks()) <= 24


def test_a_distribution_is_a_step_for_each_job():
    ax = charts.distributions({"simulated": [0.3, 0.1], "measured": [0.2, math.inf]})
    assert points(lines(ax)["simulated"]) == [(0.0, 0.0), (0.1, 0.5), (0.3, 1.0)]
    assert points(lines(ax)["measured"]) == [(0.0, 0.0), (0.2, 0.5)]
    assert lines(ax)["simulated"].get_linestyle() != lines(ax)["measured"].get_linestyle()
    assert ax.get_xlim() == (0.0, pytest.approx(0.309))


def test_nothing_to_show_is_an_empty_chart():
    assert not charts.wait_by_workers([]).lines
    assert not charts.distributions({}).get_legend()


def test_a_job_that_never_ran_again_stands_at_the_right_and_is_not_taken_for_a_time():
    ax = charts.times_to_recover({"theirs": {"take": None, "run": 800.0}, "ours": {"take": 2.0, "run": 1.5}})
    assert [text.get_text() for text in ax.texts] == ["never"]
    lines = {line.get_label(): list(line.get_xdata()) for line in ax.lines if not line.get_label().startswith("_")}
    assert lines == {"take": [2.0], "run": [800.0, 1.5]}
    assert max(ax.get_xticks()) <= 800.0 * 10 / 2
    assert [label.get_text() for label in ax.get_yticklabels()] == ["theirs", "ours"]


def test_no_queue_at_all_makes_an_empty_chart_of_recoveries():
    assert not charts.times_to_recover({}).texts
