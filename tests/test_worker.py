"""The worker's logic, step by step: no thread, no clock, a hand that answers."""

import logging
import random

import pytest

from orch.errors import BackendUnavailable, InvalidInput, JobNotFound, LeaseLost, NotSupported, WriteRefused
from orch.job import Job, JobStatus, Lease, WorkerInfo
from orch.runner import Dead, Done, Lost, Retry
from orch.worker import Config, State, keep_leases, work
from orch.worker.logic import OUTAGE_S_MAX, report_of, retry_delay
from orch.worker.steps import (
    Abandon,
    Announce,
    Claim,
    Claimed,
    Exchange,
    Extend,
    Finished,
    Next,
    Record,
    Say,
    Sleep,
    Start,
    Stop,
)

DOWN = BackendUnavailable("connection refused")


def a_job(name="j1", token=1, **fields):
    job = Job.new("workflow:noop", id=name, clock=lambda: 1_800_000_000.0, **fields)
    job.status, job.attempts = JobStatus.RUNNING, 1
    job.lease = Lease(name, token, "w", 1_800_000_030.0)
    return job


def settled(report):
    """What a queue answers to a report."""
    after = JobStatus.PENDING if report.status is JobStatus.RETRY else report.status
    return Job(report.job_id, "d", "t", None, after, "2026-11-24T10:00:00Z")


class Hand:
    """Answers the steps of one worker; what it says and records is noted and answered by itself."""

    def __init__(self, **config):
        self.config = Config(worker_id="w", **config)
        self.state = State()
        self.now = 100.0
        self.said, self.warned, self.recorded, self.records = [], [], [], 0
        self.code = None
        self.steps = work(self.config, self.state, random.Random(0))
        self.step = None
        self.answer()

    def answer(self, value=None, after=0.0):
        """Answer the step, so many seconds later; returns the next one that is not only telling."""
        self.now += after
        send = value
        while True:
            try:
                self.step = self.steps.send(None if self.step is None else (self.now, send))
            except StopIteration as end:
                self.code, self.step = end.value, None
                return None
            if isinstance(self.step, Say):
                (self.said if self.step.level == logging.INFO else self.warned).append(self.step.text)
            elif isinstance(self.step, Record):
                self.recorded += self.step.events
                self.records += 1
            else:
                return self.step
            send = None

    def look(self, *events, after=0.0):
        """Let these events have happened."""
        assert isinstance(self.step, Next), self.step
        return self.answer(events, after)

    def begin(self, *jobs):
        """A worker that runs these jobs, and waits for what happens."""
        self.look()
        assert isinstance(self.step, Claim)
        self.answer()
        self.look(Claimed(jobs))
        assert isinstance(self.step, Start)
        self.answer()
        if isinstance(self.step, Claim):
            self.answer()
        assert isinstance(self.step, Next)
        return self

    def exchange(self, *jobs, results=None, after=0.0):
        assert isinstance(self.step, Exchange), self.step
        results = [settled(report) for report in self.step.reports] if results is None else results
        return self.answer((results, list(jobs)), after)


def finished(key, outcome=None, seconds=0.5):
    return Finished(key, Done({}) if outcome is None else outcome, seconds)


# -- claiming ------------------------------------------------------------------------------------------------------


@pytest.mark.promise("W7")
def test_an_idle_worker_claims_for_its_free_slots():
    hand = Hand(slots=3)
    assert hand.look() == Claim(3, 2.0)


def test_a_worker_with_a_claim_under_way_waits_for_events_without_end():
    hand = Hand()
    hand.look()
    assert hand.answer() == Next(None)


@pytest.mark.promise("W7")
def test_a_claim_is_not_doubled_while_it_is_under_way():
    hand = Hand(slots=3).begin(a_job())
    assert hand.state.reserved == 2
    hand.look(finished(1))
    assert (len(hand.step.reports), hand.step.n) == (1, 1)


@pytest.mark.promise("W7")
def test_no_slot_is_claimed_for_twice_when_the_queue_has_more():
    hand = Hand(slots=2)
    hand.look()
    hand.answer()
    hand.look(Claimed((a_job("a", 1), a_job("b", 2))))
    hand.answer()
    assert hand.step == Next(None)
    assert hand.state.reserved == 0


def test_a_finished_job_is_reported_and_the_next_one_claimed_in_one_step():
    hand = Hand().begin(a_job("a", 1))
    step = hand.look(finished(1, Done({"n": 1})))
    assert isinstance(step, Exchange)
    assert [(r.job_id, r.status, r.result, r.lease.token) for r in step.reports] == [
        ("a", JobStatus.SUCCESS, {"n": 1}, 1)
    ]
    assert step.n == 1
    started = hand.exchange(a_job("b", 2))
    assert [run.job.id for run in started.runs] == ["b"]


def test_everything_that_finished_meanwhile_is_reported_together():
    hand = Hand(slots=3).begin(a_job("a", 1), a_job("b", 2), a_job("c", 3))
    step = hand.look(finished(1), finished(3))
    assert [report.job_id for report in step.reports] == ["a", "c"]
    assert step.n == 2


def test_an_empty_queue_makes_the_free_slot_wait_at_once():
    hand = Hand().begin(a_job())
    hand.look(finished(1))
    assert hand.exchange() == Claim(1, 2.0)


def test_a_queue_that_cannot_wait_is_asked_once_a_poll():
    hand = Hand(poll_s=1.0)
    hand.look()
    hand.answer()
    assert hand.look(Claimed(())) == Next(101.0)
    assert hand.look(after=0.5) == Next(101.0)
    assert isinstance(hand.look(after=0.5), Claim)


def test_a_wait_that_brought_a_job_is_followed_by_the_next_at_once():
    hand = Hand(slots=2, poll_s=60.0)
    hand.look()
    hand.answer()
    hand.look(Claimed((a_job(),)))
    assert hand.answer() == Claim(1, 2.0)


@pytest.mark.promise("W7")
def test_max_jobs_bounds_what_is_claimed():
    hand = Hand(slots=5, max_jobs=2)
    assert hand.look() == Claim(2, 2.0)
    hand.answer()
    hand.look(Claimed((a_job("a", 1),)))
    assert hand.answer() == Claim(1, 2.0)


@pytest.mark.promise("W7")
def test_max_jobs_counts_the_claim_that_is_under_way():
    hand = Hand(slots=2, max_jobs=2).begin(a_job())
    assert hand.state.reserved == 1
    assert hand.look(finished(1)).n == 0


def test_a_worker_ends_after_max_jobs():
    hand = Hand(max_jobs=1).begin(a_job())
    hand.look(finished(1, Dead("no")))
    assert hand.step.n == 0
    hand.exchange()
    assert hand.code == 0
    assert hand.state.over


@pytest.mark.parametrize(
    "bad",
    [
        {"worker_id": ""},
        {"slots": 0},
        {"slots": 1001},
        {"slots": True},
        {"lease_s": 0},
        {"grace_s": -1},
        {"poll_s": 0},
        {"wait_s": 0},
        {"max_jobs": 0},
        {"retry_s": -1},
        {"retry_s_max": float("nan")},
    ],
)
def test_what_no_worker_can_do_is_refused(bad):
    with pytest.raises(InvalidInput):
        Config(**{"worker_id": "w", **bad})


# -- reporting -----------------------------------------------------------------------------------------------------


@pytest.mark.promise("W6")
def test_a_failed_attempt_waits_before_the_next():
    hand = Hand(retry_s=10.0).begin(a_job(max_retries=3))
    report = hand.look(finished(1, Retry("boom"))).reports[0]
    assert (report.status, report.error) == (JobStatus.RETRY, "boom")
    assert 5.0 <= report.delay_s <= 10.0


@pytest.mark.promise("W6")
def test_waits_double_up_to_the_cap_with_a_random_part_of_at_most_one_half():
    rng = random.Random(1)
    for failures in range(20):
        full = min(60.0, 2.0**failures)
        delays = {retry_delay(failures, rng, first_s=1.0, most_s=60.0) for _ in range(50)}
        assert full / 2 <= min(delays) < max(delays) <= full
    assert retry_delay(10**9, rng, first_s=1.0, most_s=60.0) <= 60.0


@pytest.mark.promise("W6")
def test_a_seed_gives_the_same_waits():
    first, second = random.Random(7), random.Random(7)
    for failures in range(5):
        wait = retry_delay(failures, first, first_s=1.0, most_s=9.0)
        assert wait == retry_delay(failures, second, first_s=1.0, most_s=9.0)


@pytest.mark.promise("W6")
def test_a_job_that_can_never_succeed_fails_at_once():
    hand = Hand().begin(a_job(max_retries=3))
    report = hand.look(finished(1, Dead("DAG validation failed"))).reports[0]
    assert (report.status, report.delay_s) == (JobStatus.FAILED, None)


class Evil(dict):
    def items(self):
        raise RuntimeError("no")

    def __bool__(self):
        return True


@pytest.mark.promise("W3")
@pytest.mark.parametrize("result", [{"x": {1}}, {1: 2}, {"x": float("nan")}, ["no dict"], Evil()])
def test_a_result_that_cannot_be_kept_fails_the_job_and_is_not_tried_again(result):
    report = report_of(a_job(max_retries=3), Done(result))
    assert report.status is JobStatus.FAILED
    assert report.error.startswith("the workflow returned what cannot be kept: ")


@pytest.mark.parametrize(
    ("outcome", "after", "line"),
    [
        (Done({}), JobStatus.SUCCESS, "[w] ✓ Job j1 succeeded"),
        (Retry("boom"), JobStatus.PENDING, "[w] ⟳ Job j1 retrying (attempt 1)"),
        (Retry("boom"), JobStatus.FAILED, "[w] ✗ Job j1 failed: boom"),
        (Dead("bad"), JobStatus.FAILED, "[w] ✗ Job j1 failed: bad"),
    ],
)
def test_the_lines_are_those_of_the_seed(outcome, after, line):
    hand = Hand().begin(a_job())
    hand.look(finished(1, outcome))
    hand.exchange(results=[Job("j1", "d", "t", None, after, "2026-11-24T10:00:00Z")])
    assert hand.said == ["[w] Processing job j1 (DAG: workflow:noop)", line]


def test_a_quiet_worker_says_nothing_about_single_jobs():
    hand = Hand(quiet=True).begin(a_job())
    hand.look(finished(1))
    hand.exchange()
    assert hand.said == []


def test_the_state_log_tells_when_an_attempt_began_and_how_it_ended():
    hand = Hand().begin(a_job(schedule_id="s", tenant_id="acme"))
    hand.look(finished(1, Retry("boom"), seconds=1.5))
    hand.exchange()
    about = {
        "job_id": "j1",
        "schedule_id": "s",
        "dag_path": "workflow:noop",
        "tenant": "acme",
        "run": "j1#1",
        "worker": "w",
    }
    assert hand.recorded == [
        {"event": "run_started", **about},
        {
            "event": "run_finished",
            **about,
            "status": "retry",
            "error": "boom",
            "duration_seconds": 1.5,
            "attempts": 1,
        },
    ]


def test_a_success_has_the_fields_of_the_seed_in_the_state_log():
    hand = Hand().begin(a_job())
    hand.look(finished(1, seconds=1.5))
    hand.exchange()
    assert list(hand.recorded[1])[-2:] == ["status", "duration_seconds"]


def test_without_a_state_log_no_event_is_made():
    hand = Hand(state_log=False, slots=2).begin(a_job("a", 1), a_job("b", 2))
    hand.look(finished(1), finished(2, Lost()))
    hand.exchange()
    assert hand.records == 0
    assert hand.state.done == 1


@pytest.mark.promise("W2")
@pytest.mark.parametrize("answer", [LeaseLost("not yours"), JobNotFound("purged")])
def test_a_report_under_a_lost_lease_is_said_and_forgotten(answer):
    hand = Hand().begin(a_job())
    hand.look(finished(1))
    hand.exchange(results=[answer])
    assert hand.warned == [f"[w] Lost job j1: its outcome was not reported: {answer}"]
    assert hand.recorded[-1]["status"] == "lost"
    assert hand.state.unreported == []
    assert hand.state.done == hand.state.failed == 0


# -- outages -------------------------------------------------------------------------------------------------------


@pytest.mark.promise("W3", "W5")
def test_a_report_is_tried_again_until_the_queue_takes_it_and_the_work_is_not():
    hand = Hand().begin(a_job())
    step = hand.look(finished(1))
    reports = step.reports
    for _ in range(50):
        wait = hand.answer(DOWN)
        assert isinstance(wait, Next)
        assert hand.now < wait.until <= hand.now + OUTAGE_S_MAX
        step = hand.look(after=wait.until - hand.now)
        assert step == Exchange(reports, 0)
    hand.exchange()
    assert hand.state.done == 1
    assert isinstance(hand.step, Claim)


@pytest.mark.promise("W5")
def test_pauses_grow_during_an_outage():
    hand = Hand().begin(a_job())
    hand.look(finished(1))
    pauses = []
    for _ in range(12):
        wait = hand.answer(DOWN)
        pauses.append(wait.until - hand.now)
        hand.look(after=pauses[-1])
    assert all(0.05 * 2**n <= pause <= 0.1 * 2**n for n, pause in enumerate(pauses[:6]))
    assert OUTAGE_S_MAX / 2 <= pauses[-1] <= OUTAGE_S_MAX
    assert len(set(pauses)) == len(pauses)


@pytest.mark.promise("W5")
def test_a_claim_that_fails_is_made_again_after_a_pause():
    hand = Hand()
    hand.look()
    hand.answer()
    wait = hand.look(Claimed((), DOWN))
    assert isinstance(wait, Next)
    assert hand.now < wait.until <= hand.now + 0.1
    assert "Queue does not answer (connection refused)" in hand.warned[0]
    assert hand.look(after=0.1) == Claim(1, 2.0)
    hand.answer()
    hand.look(Claimed((a_job(),)))
    assert hand.warned[1].startswith("[w] Queue is back after ")


@pytest.mark.promise("W5", "Q14")
def test_a_queue_that_takes_no_writes_is_waited_for_and_named():
    hand = Hand().begin(a_job())
    hand.look(finished(1))
    hand.answer(WriteRefused("out of memory"))
    assert hand.warned[0].startswith("[w] Queue takes no writes (out of memory): trying again in ")
    assert hand.state.unreported


@pytest.mark.promise("W5")
def test_a_report_that_alone_could_not_be_written_is_tried_again_alone():
    hand = Hand(slots=2).begin(a_job("a", 1), a_job("b", 2))
    step = hand.look(finished(1), finished(2))
    hand.exchange(results=[settled(step.reports[0]), DOWN])
    assert [finished.report.job_id for finished in hand.state.unreported] == ["b"]
    step = hand.look(after=1.0)
    assert [report.job_id for report in step.reports] == ["b"]


@pytest.mark.promise("W3", "W7")
def test_a_report_that_the_queue_refuses_does_not_keep_the_others():
    hand = Hand(slots=3).begin(a_job("a", 1), a_job("b", 2), a_job("c", 3))
    hand.look(finished(1), finished(2), finished(3))
    reported = []
    while hand.state.unreported:
        if isinstance(hand.step, Next | Claim):
            assert hand.state.reserved + len(hand.state.unreported) <= 3  # W7: what is unreported is RUNNING
            hand.answer(())
        elif "b" in [report.job_id for report in hand.step.reports]:
            hand.answer(InvalidInput("b is cursed"))
        else:
            reported += [report.job_id for report in hand.step.reports]
            hand.exchange()
    assert reported == ["a", "c"]
    assert hand.warned == ["[w] Error processing job b: b is cursed"]


# -- time-outs -----------------------------------------------------------------------------------------------------


@pytest.mark.promise("W6")
def test_a_run_over_its_time_is_one_failed_attempt():
    hand = Hand().begin(a_job(timeout_s=5.0, max_retries=1))
    assert hand.step == Next(105.0)
    assert hand.look(after=5.0) == Abandon((1,))
    report = hand.answer().reports[0]
    assert (report.status, report.error) == (JobStatus.RETRY, "timed out after 5 s")
    assert report.delay_s > 0


@pytest.mark.promise("W6", "W7")
def test_the_slot_of_a_timed_out_job_stays_blocked_until_its_thread_ends():
    hand = Hand().begin(a_job(timeout_s=5.0))
    hand.look(after=5.0)
    assert hand.answer().n == 0
    assert hand.exchange() == Next(None)
    assert list(hand.state.blocked) == [1]
    assert hand.look(finished(1)) == Claim(1, 2.0)
    assert hand.state.blocked == {}
    assert hand.state.done == 0


def test_a_job_that_finished_in_time_is_not_timed_out_because_nobody_looked():
    hand = Hand().begin(a_job(timeout_s=5.0))
    step = hand.look(finished(1), after=60.0)
    assert step.reports[0].status is JobStatus.SUCCESS


# -- stopping ------------------------------------------------------------------------------------------------------


@pytest.mark.promise("W4")
def test_an_idle_worker_ends_when_its_claim_is_over():
    hand = Hand()
    hand.look()
    hand.answer()
    assert isinstance(hand.look(Stop("SIGTERM")), Next)
    hand.look(Claimed(()), after=1.0)
    assert hand.code == 0
    assert hand.said == ["[w] Shutting down..."]


def test_after_ctrl_c_the_last_line_has_a_line_of_its_own():
    hand = Hand()
    hand.look()
    hand.answer()
    hand.look(Stop("SIGINT"))
    assert hand.said == ["", "[w] Shutting down..."]


@pytest.mark.promise("W4")
def test_jobs_that_a_claim_brings_after_the_stop_are_given_back_unstarted():
    hand = Hand(slots=2)
    hand.look()
    hand.answer()
    hand.look(Stop("SIGTERM"))
    step = hand.look(Claimed((a_job("a", 1), a_job("b", 2))))
    assert [(r.job_id, r.status, r.lease.token) for r in step.reports] == [
        ("a", JobStatus.PENDING, 1),
        ("b", JobStatus.PENDING, 2),
    ]
    assert step.n == 0
    hand.exchange()
    assert hand.code == 0
    assert hand.recorded == []


@pytest.mark.promise("W4")
def test_a_stopping_worker_claims_nothing_and_lets_running_jobs_finish():
    hand = Hand(grace_s=10.0).begin(a_job())
    assert hand.look(Stop("SIGTERM")) == Next(110.0)
    step = hand.look(finished(1), after=9.0)
    assert (step.n, step.reports[0].status) == (0, JobStatus.SUCCESS)
    hand.exchange()
    assert hand.code == 0


@pytest.mark.promise("W4")
def test_what_still_runs_after_the_grace_is_given_back_as_the_last_act():
    hand = Hand(slots=2, max_jobs=2, grace_s=10.0)
    hand.look()
    hand.answer()
    hand.look(Claimed((a_job("a", 1), a_job("b", 2))))
    hand.answer()
    hand.look(Stop("SIGTERM"))
    assert hand.look(after=10.0) == Abandon((1, 2))
    step = hand.answer()
    assert [(report.job_id, report.status) for report in step.reports] == [
        ("a", JobStatus.PENDING),
        ("b", JobStatus.PENDING),
    ]
    hand.exchange()
    assert hand.code == 0
    assert [event["status"] for event in hand.recorded[2:]] == ["returned", "returned"]


@pytest.mark.promise("W4")
def test_without_grace_jobs_are_given_back_at_once():
    hand = Hand(grace_s=0.0, max_jobs=1).begin(a_job())
    assert hand.look(Stop("SIGTERM")) == Abandon((1,))


def test_a_second_stop_changes_nothing_here():
    hand = Hand(grace_s=10.0).begin(a_job())
    hand.look(Stop("SIGTERM"))
    assert hand.look(Stop("SIGTERM"), after=5.0) == Next(110.0)


@pytest.mark.promise("W4")
def test_a_worker_that_was_stopped_exits_0_even_if_a_job_failed():
    hand = Hand(burst=True)
    hand.look()
    hand.exchange(a_job())
    hand.answer()
    hand.look(finished(1, Dead("no")), Stop("SIGTERM"))
    hand.exchange()
    assert hand.code == 0


@pytest.mark.promise("W4", "W5")
def test_reports_are_tried_until_the_grace_is_over():
    hand = Hand(grace_s=10.0, max_jobs=1).begin(a_job())
    hand.look(finished(1))
    hand.answer(DOWN)
    hand.look(Stop("SIGTERM"))
    tries = 0
    while hand.code is None:
        if isinstance(hand.step, Exchange):
            tries += 1
            hand.answer(DOWN)
        else:
            assert hand.step.until <= 110.5
            hand.look(after=max(0.0, hand.step.until - hand.now))
    assert hand.now >= 110.0
    assert tries > 5
    assert hand.code == 1
    assert hand.warned[-1].endswith("not reported, left to their leases: j1")


@pytest.mark.promise("W5")
def test_a_worker_that_cannot_give_back_does_not_exit_0():
    hand = Hand(grace_s=1.0, max_jobs=1).begin(a_job())
    hand.look(Stop("SIGTERM"))
    hand.look(after=1.0)
    hand.answer()
    hand.answer(DOWN)
    assert hand.code == 1


def test_a_claim_that_never_comes_back_does_not_keep_a_stopping_worker():
    hand = Hand(grace_s=1.0, wait_s=2.0)
    hand.look()
    hand.answer()
    hand.look(Stop("SIGTERM"))
    while hand.code is None:
        hand.look(after=hand.step.until - hand.now)
    assert hand.code == 1
    assert hand.now == 107.0
    assert hand.warned[-1].endswith("a claim under way was left behind")


# -- burst ---------------------------------------------------------------------------------------------------------


def test_a_burst_ends_with_0_when_nothing_is_ready():
    hand = Hand(burst=True)
    assert hand.look() == Exchange((), 1)
    hand.exchange()
    assert hand.code == 0


def test_a_burst_works_off_what_is_ready_and_never_waits_in_a_claim():
    hand = Hand(burst=True)
    hand.look()
    for number in range(3):
        assert isinstance(hand.exchange(a_job(f"j{number}", number)), Start)
        hand.answer()
        hand.look(finished(number + 1))
    hand.exchange()
    assert hand.code == 0
    assert hand.state.done == 3


def test_a_burst_in_which_a_job_failed_ends_with_1():
    hand = Hand(burst=True)
    hand.look()
    hand.exchange(a_job())
    hand.answer()
    hand.look(finished(1, Dead("no")))
    hand.exchange()
    assert hand.code == 1


def test_a_burst_leaves_a_delayed_retry_and_ends_with_0():
    hand = Hand(burst=True)
    hand.look()
    hand.exchange(a_job(max_retries=1))
    hand.answer()
    hand.look(finished(1, Retry("again")))
    hand.exchange()
    assert hand.code == 0


def test_a_burst_with_a_free_slot_asks_now_and_then_while_a_job_runs():
    hand = Hand(burst=True, slots=2, poll_s=1.0)
    hand.look()
    hand.exchange(a_job())
    assert hand.answer() == Next(101.0)
    assert hand.look(after=1.0) == Exchange((), 1)
    assert hand.exchange() == Next(102.0)


@pytest.mark.promise("W5")
def test_a_burst_does_not_end_during_an_outage():
    hand = Hand(burst=True)
    hand.look()
    for _ in range(20):
        wait = hand.answer(DOWN)
        assert isinstance(wait, Next)
        assert hand.look(after=wait.until - hand.now) == Exchange((), 1)
    hand.exchange()
    assert hand.code == 0


@pytest.mark.promise("W5")
def test_a_burst_that_could_not_look_does_not_take_the_queue_for_empty():
    hand = Hand(burst=True, slots=2, poll_s=1.0)
    hand.look()
    hand.exchange(a_job())
    hand.answer()
    hand.look(after=1.0)
    wait = hand.answer(DOWN)
    hand.look(finished(1, Lost()))
    assert hand.look(after=wait.until - hand.now) == Exchange((), 2)


@pytest.mark.promise("W5")
def test_a_burst_looks_again_after_an_outage_of_its_report():
    hand = Hand(burst=True)
    hand.look()
    hand.exchange(a_job())
    hand.answer()
    hand.look(finished(1))
    wait = hand.answer(DOWN)
    hand.look(after=wait.until - hand.now)
    hand.exchange()
    hand.look()
    assert hand.step == Exchange((), 1)


@pytest.mark.promise("W5")
def test_a_burst_with_every_slot_blocked_does_not_end_with_0():
    hand = Hand(burst=True)
    hand.look()
    hand.exchange(a_job(timeout_s=1.0))
    hand.answer()
    hand.look(after=1.0)
    hand.answer()
    hand.exchange()
    assert hand.code == 1


# -- the heartbeat -------------------------------------------------------------------------------------------------


class Heart(Hand):
    """Answers the steps of the heartbeat, of a worker that runs `runs`."""

    def __init__(self, *jobs, unreported=(), **config):
        super().__init__(**config)
        if jobs:
            self.begin(*jobs)
        for key in unreported:
            self.look(finished(key))
            self.answer(DOWN)
        self.steps = keep_leases(self.config, self.state)
        self.step, self.said, self.warned, self.recorded = None, [], [], []
        self.answer()

    def sleep(self):
        """Sleep as long as it wants to; returns what comes then."""
        assert isinstance(self.step, Sleep)
        return self.answer(after=max(0.0, self.step.until - self.now))

    def until(self, kind):
        """Answer everything in a friendly way until such a step comes."""
        while not isinstance(self.step, kind):
            if isinstance(self.step, Sleep):
                self.sleep()
            elif isinstance(self.step, Extend):
                self.answer(list(self.step.leases))
            else:
                self.answer()
        return self.step


@pytest.mark.promise("W2")
def test_leases_are_extended_three_times_in_their_length():
    heart = Heart(a_job("a", 1), a_job("b", 2), slots=2, lease_s=9.0)
    times = []
    for _ in range(4):
        step = heart.until(Extend)
        times.append(heart.now)
        assert [lease.token for lease in step.leases] == [1, 2]
        heart.answer(list(step.leases))
    assert times == [103.0, 106.0, 109.0, 112.0]


@pytest.mark.promise("W2")
def test_the_lease_of_a_finished_job_is_kept_until_its_report_is_taken():
    heart = Heart(a_job(), unreported=[1], lease_s=9.0)
    assert [lease.job_id for lease in heart.until(Extend).leases] == ["j1"]


@pytest.mark.promise("W2")
def test_a_job_whose_lease_is_lost_is_abandoned_never_reported_and_said():
    heart = Heart(a_job("a", 1), a_job("b", 2), slots=2)
    step = heart.until(Extend)
    assert heart.answer([LeaseLost("expired"), step.leases[1]]) == Abandon((1,))
    heart.answer()
    assert list(heart.state.running) == [2]
    assert list(heart.state.blocked) == [1]
    assert heart.warned == ["[w] Lost job a: its outcome will not be reported: expired"]
    assert heart.recorded[0]["status"] == "lost"


def test_without_a_state_log_a_lost_lease_is_said_and_no_event_is_made():
    heart = Heart(a_job(), state_log=False)
    heart.until(Extend)
    heart.answer([LeaseLost("expired")])
    assert isinstance(heart.answer(), Sleep)
    assert (len(heart.warned), heart.records) == (1, 0)


@pytest.mark.promise("W2")
def test_the_outcome_of_an_abandoned_job_is_dropped():
    hand = Hand().begin(a_job())
    hand.state.blocked[1] = hand.state.running.pop(1)
    assert hand.look(finished(1)) == Claim(1, 2.0)
    assert hand.state.unreported == []


@pytest.mark.promise("W2")
def test_a_run_that_learned_by_itself_that_it_is_lost_is_not_reported():
    hand = Hand().begin(a_job())
    assert hand.look(finished(1, Lost())) == Claim(1, 2.0)
    assert hand.warned == ["[w] Lost job j1: its outcome will not be reported: the queue refused its progress"]
    assert hand.recorded[-1]["status"] == "lost"


def test_a_job_that_was_reported_during_its_extension_is_not_lost():
    heart = Heart(a_job())
    heart.until(Extend)
    heart.state.running.clear()
    assert isinstance(heart.answer([LeaseLost("settled")]), Sleep)
    assert heart.warned == []


@pytest.mark.promise("W2", "W5")
def test_an_extension_that_fails_is_tried_again_within_a_second_and_said_once():
    heart = Heart(a_job(), lease_s=30.0)
    heart.until(Extend)
    for _ in range(5):
        at = heart.now
        heart.answer(DOWN)
        heart.until(Extend)
        assert heart.now - at <= 1.0
    assert heart.warned == ["[w] Leases are not extended: connection refused"]
    assert list(heart.state.running) == [1]


def test_one_lease_that_could_not_be_extended_is_not_a_lost_one():
    heart = Heart(a_job("a", 1), a_job("b", 2), slots=2)
    step = heart.until(Extend)
    heart.answer([DOWN, step.leases[1]])
    assert list(heart.state.running) == [1, 2]


def test_a_queue_without_extensions_is_asked_once():
    heart = Heart(a_job(), lease_s=3.0)
    heart.until(Extend)
    heart.answer([NotSupported("no extend_lease")])
    for _ in range(20):
        assert not isinstance(heart.answer(after=3.0), Extend)
    assert len(heart.warned) == 1


@pytest.mark.promise("W8")
def test_a_worker_announces_itself_when_it_begins():
    heart = Heart(slots=4, host="h", pid=7, started_at="2026-11-24T10:00:00Z")
    assert heart.until(Announce) == Announce(WorkerInfo("w", "h", 7, "2026-11-24T10:00:00Z", slots=4))
    assert heart.now == 100.0


@pytest.mark.promise("W8")
def test_every_beat_tells_what_was_done_and_what_is_blocked():
    heart = Heart(a_job())
    heart.until(Announce)
    heart.answer()
    heart.state.done, heart.state.failed = 5, 2
    heart.state.blocked[9] = heart.state.running.pop(1)
    info = heart.until(Announce).info
    assert heart.now == 102.0
    assert (info.done, info.failed, info.blocked) == (5, 2, 1)


@pytest.mark.promise("W8")
def test_a_waiting_claim_is_a_beat_so_an_idle_worker_tells_of_itself_now_and_then():
    """Not never: a queue may have forgotten it while it was stopped, or have heard an older word after a later one."""
    heart = Heart()
    heart.state.reserved = 1
    for _ in range(3):
        at = heart.now
        heart.until(Announce)
        heart.answer()
        for _ in range(4):
            assert isinstance(heart.sleep(), Sleep)
        heart.sleep()
        assert heart.now - at == 10.0


@pytest.mark.promise("W8")
def test_an_announcement_that_failed_is_made_again():
    heart = Heart()
    heart.state.reserved = 1
    heart.until(Announce)
    heart.answer(DOWN)
    heart.sleep()
    assert isinstance(heart.step, Announce)


def test_the_heart_stops_when_the_worker_is_over():
    heart = Heart()
    heart.until(Sleep)
    heart.state.over = True
    assert heart.answer() is None


# -- what is told, and small differences ---------------------------------------------------------------------------


def test_lines_and_events_come_in_the_order_of_the_reports():
    hand = Hand(slots=3).begin(a_job("a", 1), a_job("b", 2), a_job("c", 3))
    hand.look(finished(1, seconds=0.1234567), finished(2), finished(3))
    hand.exchange()
    assert hand.said[3:] == [f"[w] ✓ Job {name} succeeded" for name in "abc"]
    assert [event["job_id"] for event in hand.recorded[3:]] == ["a", "b", "c"]
    assert hand.recorded[3]["duration_seconds"] == 0.123457


def test_jobs_that_are_lost_are_said_in_their_order_and_are_not_the_errors_of_others():
    hand = Hand(slots=2).begin(a_job("a", 1), a_job("b", 2))
    hand.look(finished(1), finished(2))
    hand.exchange(results=[LeaseLost("gone"), JobNotFound("purged")])
    assert [line.split(":")[0] for line in hand.warned] == ["[w] Lost job a", "[w] Lost job b"]


def test_a_job_that_failed_for_good_and_was_requeued_meanwhile_is_said_to_have_failed():
    hand = Hand().begin(a_job())
    hand.look(finished(1, Dead("bad")))
    hand.exchange(results=[Job("j1", "d", "t", None, JobStatus.PENDING, "2026-11-24T10:00:00Z")])
    assert hand.said[-1] == "[w] ✗ Job j1 failed: bad"


@pytest.mark.promise("W5")
def test_the_length_of_an_outage_is_said():
    hand = Hand().begin(a_job())
    hand.look(finished(1))
    wait = hand.answer(DOWN)
    while not isinstance(hand.step, Exchange):
        wait = hand.look(after=wait.until - hand.now)
    hand.exchange(after=2.0)
    assert hand.warned[-1] == f"[w] Queue is back after {hand.now - 100.0:.1f} s"


@pytest.mark.promise("W5")
def test_after_an_outage_pauses_begin_anew_and_nobody_waits_longer():
    hand = Hand().begin(a_job("a", 1))
    hand.look(finished(1))
    for _ in range(8):
        wait = hand.answer(DOWN)
        hand.look(after=wait.until - hand.now)
    assert hand.exchange(a_job("b", 2)) is not None
    hand.answer()
    hand.look(finished(2))
    assert hand.answer(DOWN).until <= hand.now + 0.1


@pytest.mark.promise("W3")
def test_reports_come_together_again_after_one_was_refused():
    hand = Hand(slots=2).begin(a_job("a", 1), a_job("b", 2))
    hand.look(finished(1), finished(2))
    hand.answer(InvalidInput("one is cursed"))
    hand.look()
    assert hand.exchange() == Claim(1, 2.0)
    hand.answer()
    hand.look(Claimed(()))
    hand.exchange()
    while isinstance(hand.step, Next):
        hand.look(after=hand.step.until - hand.now)
    assert hand.step == Claim(2, 2.0)
    hand.answer()
    hand.look(Claimed((a_job("c", 3), a_job("d", 4))))
    hand.answer()
    step = hand.look(finished(3), finished(4))
    assert (len(step.reports), step.n) == (2, 2)


@pytest.mark.promise("W7")
def test_a_refused_batch_is_reported_one_by_one_without_claims():
    hand = Hand(slots=2).begin(a_job("a", 1), a_job("b", 2))
    hand.look(finished(1), finished(2))
    hand.answer(InvalidInput("one is cursed"))
    for name in "ab":
        hand.look()
        assert ([report.job_id for report in hand.step.reports], hand.step.n) == ([name], 0)
        hand.exchange()
        if isinstance(hand.step, Claim):
            hand.answer()


def test_a_burst_with_no_free_slot_asks_for_nothing():
    hand = Hand(burst=True, poll_s=1.0)
    hand.look()
    hand.exchange(a_job())
    hand.answer()
    for _ in range(3):
        assert isinstance(hand.look(after=2.0), Next)


def test_a_worker_of_max_jobs_waits_for_the_rest_when_nothing_is_ready():
    hand = Hand(max_jobs=2).begin(a_job())
    hand.look(finished(1))
    hand.exchange()
    assert hand.code is None
    assert isinstance(hand.step, Claim)


@pytest.mark.promise("W4")
def test_a_stopping_worker_wakes_at_the_end_of_its_grace_and_says_what_it_gives_back():
    hand = Hand(grace_s=10.0, max_jobs=1).begin(a_job(schedule_id="s"))
    assert hand.look(Stop("SIGTERM"), after=3.0) == Next(113.0)
    assert hand.said[-2:] == ["[w] Shutting down...", "[w] Waiting at most 10 s for 1 running job(s)"]
    hand.look(after=10.0)
    hand.answer()
    hand.exchange()
    assert hand.said[-1] == "[w] Giving back job j1"
    assert hand.recorded[-1]["duration_seconds"] == 13.0
    assert (hand.code, hand.state.running, list(hand.state.blocked)) == (0, {}, [1])


def test_a_quiet_worker_gives_back_without_a_word_about_single_jobs():
    hand = Hand(grace_s=0.0, max_jobs=1, quiet=True).begin(a_job())
    hand.look(Stop("SIGTERM"))
    assert not [line for line in hand.said if "j1" in line]
    assert "[w] Shutting down..." in hand.said


@pytest.mark.promise("W6")
def test_a_job_over_its_time_is_said_and_its_time_counted():
    hand = Hand().begin(a_job(timeout_s=5.0, max_retries=1))
    hand.look(after=6.0)
    assert hand.answer().reports[0].error == "timed out after 5 s"
    assert hand.warned == ["[w] Job j1 timed out after 5 s"]
    hand.exchange()
    assert hand.recorded[-1]["duration_seconds"] == 6.0


@pytest.mark.promise("W2")
def test_leases_that_are_lost_together_are_said_in_their_order_with_their_times():
    heart = Heart(a_job("a", 1), a_job("b", 2), a_job("c", 3), slots=3, lease_s=9.0)
    step = heart.until(Extend)
    assert heart.answer([step.leases[0], LeaseLost("x"), LeaseLost("")]) == Abandon((2, 3))
    heart.answer()
    assert heart.warned == [f"[w] Lost job {one}: its outcome will not be reported: {why}" for one, why in LOST]
    assert [event["duration_seconds"] for event in heart.recorded] == [3.0, 3.0]
    assert [event["error"] for event in heart.recorded] == ["x", "LeaseLost"]


LOST = (("b", "x"), ("c", "LeaseLost"))


def test_the_delay_of_a_report_is_that_of_a_retry_only():
    hand = Hand(slots=2).begin(a_job("a", 1), a_job("b", 2))
    step = hand.look(finished(1), finished(2, Retry("no")))
    assert step.reports[0].delay_s is None
    assert step.reports[1].delay_s is not None


@pytest.mark.promise("W5")
def test_a_burst_whose_question_is_refused_waits_and_asks_again():
    hand = Hand(burst=True)
    hand.look()
    assert isinstance(hand.answer(InvalidInput("no such queue")), Next)
    assert "no such queue" in hand.warned[0]
    assert hand.look(after=1.0) == Exchange((), 1)


@pytest.mark.promise("W3")
def test_reports_that_could_not_be_written_are_all_kept_in_their_order():
    hand = Hand(slots=4).begin(*(a_job(name, n) for n, name in enumerate("abcd", 1)))
    step = hand.look(*(finished(n) for n in range(1, 5)))
    hand.exchange(results=[DOWN] * 4)
    assert [kept.report for kept in hand.state.unreported] == list(step.reports)
    assert hand.state.done == 0


@pytest.mark.promise("W4")
def test_every_run_that_is_given_back_is_given_up():
    hand = Hand(slots=3, max_jobs=3, grace_s=0.0).begin(*(a_job(name, n) for n, name in enumerate("abc", 1)))
    assert hand.look(Stop("SIGTERM")) == Abandon((1, 2, 3))
    hand.answer()
    assert (hand.state.running, list(hand.state.blocked)) == ({}, [1, 2, 3])


def test_a_worker_of_max_jobs_waits_for_its_blocked_slot():
    hand = Hand(max_jobs=2).begin(a_job(timeout_s=1.0))
    hand.look(after=1.0)
    hand.answer()
    hand.exchange()
    assert (hand.code, hand.step) == (None, Next(None))
    assert isinstance(hand.look(finished(1)), Claim)


@pytest.mark.promise("W8")
def test_beats_are_as_rare_as_they_need_to_be():
    heart = Heart(a_job(), lease_s=3.0)
    times = []
    for _ in range(4):
        heart.until(Announce)
        times.append(heart.now)
        heart.answer()
    assert times == [100.0, 102.0, 104.0, 106.0]


def test_what_failed_and_what_became_of_it_is_counted():
    hand = Hand(slots=3).begin(a_job("a", 1, max_retries=1), a_job("b", 2), a_job("c", 3))
    hand.look(finished(1, Retry("x")), finished(2, Dead("y")), finished(3))
    hand.exchange()
    assert (hand.state.done, hand.state.failed, hand.state.dead, hand.state.claimed) == (1, 2, 1, 3)


def test_a_burst_with_a_free_slot_does_not_ask_all_the_time():
    hand = Hand(burst=True, slots=2, poll_s=1.0)
    hand.look()
    hand.exchange(a_job())
    hand.answer()
    assert isinstance(hand.look(after=0.5), Next)
    assert hand.look(after=0.5) == Exchange((), 1)


def test_a_report_without_a_claim_does_not_bring_the_next_claim_nearer():
    hand = Hand(slots=2, max_jobs=2, poll_s=60.0).begin(a_job())
    assert hand.look(finished(1)).n == 0
    hand.exchange()
    assert hand.look(Claimed(())) == Next(160.0)


@pytest.mark.promise("W5")
def test_reports_stay_together_during_an_outage():
    hand = Hand(slots=2).begin(a_job("a", 1), a_job("b", 2))
    reports = hand.look(finished(1), finished(2)).reports
    wait = hand.answer(DOWN)
    assert hand.now < wait.until <= hand.now + 0.1
    assert hand.look(after=0.1) == Exchange(reports, 0)


@pytest.mark.promise("W4")
def test_a_stopping_worker_wakes_at_the_end_of_a_grace_that_is_shorter_than_a_claim():
    hand = Hand(grace_s=3.0, max_jobs=1).begin(a_job())
    assert hand.look(Stop("SIGTERM")) == Next(103.0)
