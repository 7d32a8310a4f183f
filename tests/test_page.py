"""The page of a run says what it was given."""

import re
from html.parser import HTMLParser

from orch.page import Figures, Finding, Kill, Mark, Run, Sample, depth_chart, lanes_chart, latency_chart, render

SAMPLES = (Sample(0.0, 3, 0, 0, 0), Sample(1.0, 1, 2, 0, 0), Sample(2.0, 0, 0, 2, 1))
RUNS = (
    Run("a", 1, "w-1", 0.1, 0.9, "killed"),
    Run("b", 1, "w-2", 0.1, 1.0, "success"),
    Run("a", 2, "w-2", 1.1, 2.0, "success"),
    Run("c", 1, "w-2", 1.2, None, "running"),
)
KILLS = (Kill(0.9, "w-1", ("a",)),)


def figures(**changes):
    values = {
        "title": "T",
        "subtitle": "<b>s</b>",
        "facts": (("enqueued", "3"),),
        "findings": (Finding("Q1", "nothing is lost", True, "3 of 3"),),
        "samples": SAMPLES,
        "runs": RUNS,
        "kills": KILLS,
        "latencies_s": (0.5, 1.0, 1.9),
    }
    return Figures(**{**values, **changes})


class Balanced(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "path", "line", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if tag not in ("rect", "line", "path"):
            assert self.open.pop() == tag


def test_the_page_is_well_formed_and_needs_no_network():
    page = render(figures())
    parser = Balanced()
    parser.feed(page.replace("<!doctype html>", ""))
    assert parser.open == []
    assert not re.search(r"https?://|<script|<link|src=", page)


def test_texts_are_escaped():
    assert "&lt;b&gt;s&lt;/b&gt;" in render(figures())


def test_a_broken_promise_is_told_at_the_top():
    assert "Every promise was kept." in render(figures())
    broken = render(figures(findings=(Finding("Q1", "nothing is lost", False, "1 lost"),)))
    assert "A promise was broken." in broken
    assert "✗ BROKEN" in broken


def test_the_depth_chart_has_an_area_for_each_state_that_occurred():
    chart = depth_chart(SAMPLES, KILLS, 2.0)
    assert [c for c in ("pending", "running", "success", "failed") if f"<polygon class='{c}'" in chart] == [
        "pending",
        "running",
        "success",
        "failed",
    ]
    assert "kill -9 w-1" in chart


def test_the_lanes_chart_has_a_bar_for_each_run_and_a_cross_for_a_killed_one():
    chart = lanes_chart(RUNS, KILLS, 2.0)
    assert chart.count("class='bar") == 4
    assert chart.count("class='cross'") == 1
    assert "a, attempt 2: ended in success, 0.90 s" in chart
    assert "bar success again" in chart


def test_runs_at_the_same_time_get_rows_of_their_own():
    rows = set(re.findall(r"class='bar[^']*' x='[^']*' y='(\d+)'", lanes_chart(RUNS, (), 2.0)))
    assert len(rows) == 3


def test_the_latency_chart_counts_every_job_and_marks_the_median():
    chart = latency_chart((0.5, 1.0, 1.9))
    assert sum(int(n) for n in re.findall(r"<title>(\d+) jobs", chart)) == 3
    assert "median 1.00 s" in chart
    assert "No job has ended" in latency_chart(())


def test_an_empty_run_still_gives_a_page():
    assert "jobs" in render(figures(samples=(), runs=(), kills=(), latencies_s=(), findings=()))


MARKS = (
    Mark(0.9, 0.9, "kill", "w-1", "kill -9"),
    Mark(1.0, 1.5, "pause", "w-2", "stopped for 0.5 s"),
    Mark(0.2, 0.2, "cut", "", "before"),
    Mark(1.6, 1.9, "store", "", "the server is down"),
)


def test_faults_are_marked_in_the_lane_they_hit_and_those_of_the_store_across_all():
    chart = lanes_chart(RUNS, (), 2.0, marks=MARKS)
    assert re.findall(r"class='mark (\w+)'", chart) == ["cut", "store", "kill", "pause"]
    assert "the server is down at 1.60 s" in chart
    for words in ("stopped, then continued", "the store in trouble", "a connection cut", "kill -9"):
        assert words in chart
    assert "the server is down" in depth_chart(SAMPLES, (), 2.0, marks=MARKS)


def test_lanes_can_show_a_part_of_the_time():
    chart = lanes_chart(RUNS, (), 2.0, start_s=1.05, marks=MARKS)
    assert chart.count("class='bar") == 2
    assert re.findall(r"class='mark (\w+)'", chart) == ["store", "pause"]
    assert ">1.2<" in chart
    assert ">0.2<" not in chart


def test_the_page_shows_what_was_done_and_what_was_broken_if_it_is_told():
    plain = render(figures())
    page = render(
        figures(
            marks=MARKS,
            faults=(("kill", 3, "SIGKILL <of a worker>"),),
            recoveries_s=(0.5, 2.0),
            window=(0.5, 1.5),
            witness="Q4: <twice>",
        )
    )
    for words in ("What was done to it", "What was broken first", "was delivered again"):
        assert words in page
        assert words not in plain
    assert "<td><b>kill</b></td><td class='number'>3</td><td>SIGKILL &lt;of a worker&gt;</td>" in page
    assert "<pre>Q4: &lt;twice&gt;</pre>" in page
    assert "ran, from 0 to 2 s" in page
    parser = Balanced()
    parser.feed(page.replace("<!doctype html>", ""))
    assert parser.open == []
