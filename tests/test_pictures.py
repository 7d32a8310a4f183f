"""What breaks a promise shows itself as a picture: its data are asked here, its looks were looked at."""

import re

import pytest

pytest.importorskip("matplotlib")

from orch.backends.memory import MemoryQueue
from orch.checker import Spec, check
from orch.history import Op, Outcome
from orch.lab.charts.score import operation_map, runs_to_kill
from orch.lab.charts.witness import Span, Step, space_time, trace_picture
from orch.lab.jupyter import result_html, verdict_html
from orch.lab.pictures import picture_of_story, svg
from orch.simulator import Fixed, Poisson, simulate
from orch.testing import ContractViolation, verify
from orch.testing.bugs.naive_redis import DiesAfterTheLpop, NaiveStore, TwoDequeuesMeet


class NeverReclaims(MemoryQueue):
    def _reclaim(self, now):
        pass


def violation_of(make_queue, **more):
    with pytest.raises(ContractViolation) as caught:
        verify(make_queue, max_examples=500, **more)
    return caught.value


@pytest.fixture(scope="module")
def violation():
    return violation_of(lambda clock: NeverReclaims(clock=clock))


def said(ax):
    return [text.get_text() for text in ax.texts]


def test_a_story_tells_each_step_of_the_shortest_program_and_where_its_jobs_were(violation):
    story = violation.story
    assert (story.promise, story.actual) == ("Q5", "None")
    assert [scene.number for scene in story.scenes] == list(range(1, len(violation.trace.steps) + 1))
    assert story.scenes[0].text == "enqueue(Job('a'))"
    assert [scene.jobs[0][1] for scene in story.scenes] == ["pending", "running", "lease over", "running"]
    assert story.scenes[1].jobs[0][2] == "w1"
    assert [scene.at_s for scene in story.scenes] == [0, 0, 2, 2]


def test_a_client_that_dies_is_told_in_words():
    lost = violation_of(NaiveStore(DiesAfterTheLpop), capabilities=DiesAfterTheLpop.capabilities)
    assert any("dies after" in scene.text or "takes no writes" in scene.text for scene in lost.story.scenes)


def test_clients_that_meet_are_told_by_their_verbs_and_their_answers():
    class OnlyMeetings(NaiveStore):
        die = property()  # so that it is not there

    story = violation_of(OnlyMeetings(TwoDequeuesMeet), capabilities=TwoDequeuesMeet.capabilities).story
    assert "a client's dequeue between two steps of another's dequeue: job 'a' was delivered to both" in story.sentence
    assert story.expected.startswith("[('a', None)")
    assert story.actual == "('a', 'a')"


def test_the_program_of_a_queue_with_hooks_runs_as_it_is_pasted():
    lost = violation_of(NaiveStore(DiesAfterTheLpop), capabilities=DiesAfterTheLpop.capabilities)
    assert "make_queue = NaiveStore(DiesAfterTheLpop)" in lost.program
    with pytest.raises(AssertionError, match=lost.promise):
        exec(compile(lost.program, "program", "exec"), {})


def test_a_violation_shows_its_picture_in_a_notebook(violation):
    html = violation._repr_html_()
    assert "<svg" in html
    assert violation.trace.token in html
    assert "clock.advance(2.0)" in html
    assert picture_of_story(violation.story) == picture_of_story(violation.story)


STEPS = [Step(1, 0.0, "enqueue", [("a", "pending", "")]), Step(2, 3.0, "dequeue", [("a", "running", "w1")])]


def test_a_trace_picture_goes_downwards_with_numbers_times_and_the_answer_that_was_wrong():
    ax = trace_picture(STEPS, expected="job a", actual="None")
    assert {"1", "2", "0 s", "3 s", "pending", "should be\nrunning (w1)"} <= set(said(ax))
    assert {"should have been: job a", "was: None"} <= set(said(ax))
    rows = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert rows["1"] < rows["2"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert [patch.get_y() for patch in ax.patches] == [-0.5, 0.5]


def test_a_space_time_picture_has_a_lane_for_each_client_and_stars_for_the_witness():
    spans = [Span("p", 0.0, 0.1, "enqueue a", True), Span("w", 0.2, None, "dequeue -> ?", False)]
    ax = space_time(spans)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["p", "w"]
    assert " 1* enqueue a" in said(ax)
    assert " 2  dequeue -> ?  (no answer)" in said(ax)
    first, second = ax.patches
    assert first.get_y() < second.get_y()


def test_of_many_operations_only_the_witness_is_drawn():
    spans = [Span("p", float(n), n + 0.5, f"op {n}", n % 50 == 0) for n in range(200)]
    assert len(space_time(spans).patches) == 4


@pytest.mark.parametrize(
    "draw",
    [lambda: trace_picture([]), lambda: space_time([]), lambda: operation_map({}), lambda: runs_to_kill({})],
    ids=["trace", "space-time", "map", "runs"],
)
def test_nothing_makes_an_empty_picture(draw):
    assert svg(draw()).startswith("<svg")


def test_an_operation_map_says_how_often_and_dots_what_never_happened():
    ax = operation_map({"enqueue": {"absent": 1_234_567, "ready": 0}})
    assert said(ax) == ["1.23M", "·"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["absent", "ready"]


def test_runs_to_kill_counts_survivors_among_all():
    ax = runs_to_kill({"memory": [1, 3, None, 2]})
    (line,) = [line for line in ax.lines if line.get_label().startswith("memory")]
    assert list(line.get_xdata()) == [1, 2, 3]
    assert list(line.get_ydata()) == [25, 50, 75]
    assert line.get_label() == "memory: 3 of 4 killed, 1 survived"


def op(client, verb, job, call, ret):
    return Op(
        client, verb, job, {}, call * 10**9, ret * 10**9, Outcome.OK, True if verb == "enqueue" else None, 1, call
    )


def test_a_verdict_shows_a_picture_of_its_witness():
    history = [op("p", "enqueue", "a", 0, 1), op("p", "enqueue", "b", 2, 3), op("w", "dequeue", "b", 4, 5)]
    history.append(op("w", "dequeue", "a", 6, 7))
    html = verdict_html(check(history, Spec(lease_s=60)))
    assert "<svg" in html
    assert re.search(r"dequeue -&gt; b|dequeue -> b", html)


def test_a_simulation_shows_its_depth_its_lanes_and_how_it_went():
    html = result_html(simulate(2, Poisson(2.0), Fixed(0.5), jobs=20, seed=1))
    assert "20 jobs, 20 succeeded" in html
    assert html.count("<svg") == 2
