"""The judge of a torture run, on hand-written runs: a sane one holds, each broken one is found by its promise."""

import json
from dataclasses import replace

import pytest

from orch import Job, JobStatus
from orch.history import BadLine, History, Op, Outcome
from orch.page import Run, render
from orch.torture.judge import by_step, judge, overlapping, read_notes, recoveries_of, runs_of
from orch.torture.matrix import Cell, Kills, Matrix, Variant, faults_of, seconds_of
from orch.torture.plan import Plan
from orch.torture.report import figures_of, window_of, witness_of
from orch.torture.run import Outcome as RunOutcome
from orch.torture.world import Death, Hit, Seen

S = 1_000_000_000
PLAN = Plan(lease_s=2.0)


def op(client, verb, job, call, ret, **values):
    outcome = values.pop("outcome", Outcome.UNKNOWN if ret is None else Outcome.OK)
    args = values.pop("args", {})
    return Op(client, verb, job, args, int(call * S), None if ret is None else int(ret * S), outcome, **values)


def delivered(worker, job, call, attempt, token):
    return op(
        f"{worker}/orch-claim",
        "dequeue",
        job,
        call,
        call + 0.01,
        args={"lease_s": 2.0},
        value={"priority": 0, "failures": 0, "crashes": attempt - 1},
        attempt=attempt,
        token=token,
    )


def reported(worker, job, call, token, status="success"):
    value = {"status": status, "attempts": 1, "failures": 0, "crashes": 0}
    return op(worker, "report", job, call, call + 0.01, args={"status": status}, value=value, token=token)


# Job a runs at once; w1.1 dies over b at 1.0, and w2.1 takes it when its lease is over.
OPS = [
    op("p1.1", "enqueue", "a", 0.0, 0.1, args={"max_retries": 0}, value=True),
    op("p1.1", "enqueue", "b", 0.2, 0.3, args={"max_retries": 0}, value=True),
    delivered("w2.1", "a", 0.4, 1, 11),
    delivered("w1.1", "b", 0.5, 1, 12),
    reported("w2.1", "a", 0.8, 11),
    delivered("w2.1", "b", 3.0, 2, 13),
    reported("w2.1", "b", 3.5, 13),
    op("judge.1", "dequeue", None, 5.0, 5.1),
]
NOTES = [
    ("w1.1", 0.1, {"what": "ready"}),
    ("w2.1", 0.1, {"what": "ready"}),
    ("w2.1", 0.45, {"what": "begin", "job": "a", "attempt": 1, "token": 11, "path": "workflow:sleep"}),
    ("w1.1", 0.55, {"what": "begin", "job": "b", "attempt": 1, "token": 12, "path": "workflow:sleep"}),
    ("w2.1", 0.75, {"what": "end", "job": "a", "attempt": 1, "token": 11, "outcome": "Done"}),
    ("w2.1", 3.05, {"what": "begin", "job": "b", "attempt": 2, "token": 13, "path": "workflow:sleep"}),
    ("w2.1", 3.45, {"what": "end", "job": "b", "attempt": 2, "token": 13, "outcome": "Done"}),
]
DEATHS = [
    Death("w1", 1, "work", 1 * S, -9, "kill"),
    Death("w2", 1, "work", 6 * S, 0, "stopped"),
]


def job(name, status=JobStatus.SUCCESS, **fields):
    made = Job.new("workflow:sleep", id=name)
    made.status = status
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def seen(**values):
    given = {
        "begun_ns": 0,
        "deaths": DEATHS,
        "hits": [Hit(1 * S, 1 * S, "kill", "w1", "kill -9"), Hit(4 * S, 5 * S, "restart", "", "the server is down")],
        "drained": True,
        "found": {"a": job("a"), "b": job("b", attempts=2, crashes=1)},
        "counts": dict.fromkeys(JobStatus, 0) | {JobStatus.SUCCESS: 2},
        "torment_ns": 4 * S,
        "ended_ns": 6 * S,
    }
    return Seen(**{**given, **values})


def noted(tmp_path, notes):
    for path in tmp_path.glob("*.notes.jsonl"):
        path.unlink()
    for member, at_s, note in notes:
        with (tmp_path / f"{member}.notes.jsonl").open("a") as file:
            file.write(json.dumps({"at_ns": int(at_s * S), **note}) + "\n")
    return read_notes(tmp_path)


@pytest.fixture
def verdict(tmp_path):
    def of(ops=OPS, notes=NOTES, bad=(), **values):
        return judge(PLAN, seen(**values), History(ops, bad), noted(tmp_path, notes))

    return of


def broken(judgement):
    return {finding.promise.split()[0] for finding in judgement.findings if not finding.held}


def test_a_sane_run_keeps_every_promise(verdict):
    judgement = verdict()
    assert broken(judgement) == set()
    assert judgement.good
    assert judgement.recoveries_s == pytest.approx((2.01,))
    assert (judgement.counts["lost"], judgement.counts["twice"], judgement.counts["runs"]) == (0, 0, 3)
    assert judgement.latencies_s == pytest.approx((0.81, 3.31))


def final(status=JobStatus.SUCCESS, **fields):
    return {"a": job("a"), "b": job("b", status, **fields)}


FAILED = JobStatus.FAILED
COUNTS = {JobStatus.PENDING: 0, JobStatus.RUNNING: 0, JobStatus.SUCCESS: 1, FAILED: 1}


@pytest.mark.parametrize(
    ("promise", "values"),
    [
        ("Q1", {"found": {"a": job("a")}, "counts": {JobStatus.SUCCESS: 1}}),
        ("Q1", {"found": final(JobStatus.RUNNING), "counts": {JobStatus.SUCCESS: 1, JobStatus.RUNNING: 1}}),
        ("Q1", {"found": {**final(), "x": job("x")}, "counts": {JobStatus.SUCCESS: 3}}),
        ("Q1", {"drained": False}),
        ("Q1", {"left": "b"}),
        ("Q4", {"ops": [*OPS[:5], delivered("w2.1", "b", 1.5, 2, 13), *OPS[6:]]}),
        ("Q4", {"notes": [*NOTES[:5], ("w2.1", 0.7, NOTES[5][2]), NOTES[6]]}),
        ("Q9", {"counts": {JobStatus.SUCCESS: 3}}),
        ("Q9", {"quarantined": 1}),
        ("W1", {"found": final(FAILED), "counts": COUNTS}),
        ("W5", {"deaths": [*DEATHS, Death("w3", 1, "work", 2 * S, 1, None)]}),
        ("W5", {"deaths": [*DEATHS, Death("w3", 1, "work", 2 * S, -9, None)]}),
        ("W5", {"deaths": [*DEATHS, Death("w3", 1, "work", 2 * S, 0, None)]}),
        ("W5", {"idle": ("w1",)}),
        ("W5", {"unseen": ("w1",)}),
        ("W4", {"deaths": [DEATHS[0], DEATHS[1]._replace(code=-9)]}),
        ("history", {"bad": [BadLine("x", 3, "no JSON")]}),
        ("history", {"notes": [*NOTES, ("w1.1", 0.9, {"what": "history failed", "error": "disk full"})]}),
    ],
)
def test_each_broken_promise_is_found_by_its_name(verdict, promise, values):
    assert promise in broken(verdict(**values))


@pytest.mark.parametrize(
    "values",
    [
        {"found": final(FAILED, failures=1), "counts": COUNTS},
        {"found": final(FAILED, crashes=4), "counts": COUNTS},
        {"deaths": [*DEATHS, Death("p1", 1, "produce", 2 * S, 0, "stopped")]},
        {"bad": [BadLine("x", 3, "cut", torn=True)]},
    ],
)
def test_what_has_a_reason_is_no_fault(verdict, values):
    assert verdict(**values).findings[8].held
    assert {"W1", "W4", "W5", "history"}.isdisjoint(broken(verdict(**values)))


def test_a_worker_that_dies_of_a_poisonous_job_is_no_fault_of_the_worker(verdict):
    death = Death("w3", 1, "work", 2 * S, -9, None)
    poison = {"what": "begin", "job": "a", "attempt": 1, "token": 11, "path": "workflow:crash"}
    assert "W5" not in broken(verdict(deaths=[*DEATHS, death], notes=[*NOTES, ("w3.1", 1.5, poison)]))


def test_one_that_never_reached_its_store_may_give_up(verdict):
    death = Death("w3", 1, "work", 2 * S, 2, None)
    unreachable = ("w3.1", 1.5, {"what": "unreachable", "error": "is it running?"})
    assert "W5" not in broken(verdict(deaths=[*DEATHS, death], notes=[*NOTES, unreachable]))
    assert "W5" in broken(verdict(deaths=[*DEATHS, death], notes=NOTES))


def test_one_that_reached_its_ordered_death_while_it_was_stopped_is_excused(verdict):
    crash = ("w2.1", 5.9, {"what": "crash", "step": "before Say"})
    deaths = [DEATHS[0], DEATHS[1]._replace(code=-9)]
    assert "W4" not in broken(verdict(deaths=deaths, notes=[*NOTES, crash]))


def test_an_operator_may_end_a_job(verdict):
    ops = [*OPS[:6], op("p1.1", "cancel", "b", 3.2, 3.3, value={"status": "failed"}), OPS[-1]]
    assert "W1" not in broken(verdict(ops=ops, found=final(FAILED), counts=COUNTS))


# -- runs ------------------------------------------------------------------------------------------------------------


def test_runs_come_from_the_notes_and_a_death_ends_what_it_cut_off(tmp_path):
    runs = runs_of(noted(tmp_path, NOTES), seen())
    assert runs == [
        Run("a", 1, "w2", 0.45, 0.75, "success"),
        Run("b", 1, "w1", 0.55, 1.0, "killed"),
        Run("b", 2, "w2", 3.05, 3.45, "success"),
    ]


def test_a_torn_note_is_left_out(tmp_path):
    (tmp_path / "w1.1.notes.jsonl").write_bytes(b'{"at_ns": 1, "what": "ready"}\n{"at_ns": 2, "wh')
    assert [note.what for note in read_notes(tmp_path)] == ["ready"]


ZOMBIE = [Run("b", 1, "w1", 0.55, 9.0, "lost"), Run("b", 2, "w2", 3.05, 3.45, "success")]


def test_a_zombie_that_goes_on_after_its_lease_is_not_the_queue_s_fault():
    assert overlapping(ZOMBIE, OPS, seen(), 2.0) == []


def test_two_runs_within_a_lease_are_told():
    extended = op("w1.1", "extend", "b", 2.4, 2.41, args={"lease_s": 2.0}, value=9.0, token=12)
    assert overlapping(ZOMBIE, [*OPS[:5], extended, *OPS[5:]], seen(), 2.0) == ["b#1/2"]


def test_a_run_that_an_operator_ended_may_be_overtaken():
    extended = op("w1.1", "extend", "b", 2.4, 2.41, args={"lease_s": 2.0}, value=9.0, token=12)
    cancel = op("p1.1", "cancel", "b", 2.5, 2.6, value={"status": "failed"})
    assert overlapping(ZOMBIE, [*OPS, extended, cancel], seen(), 2.0) == []


def test_a_recovery_counts_from_the_death_to_the_next_delivery_of_what_was_held():
    assert recoveries_of(OPS, DEATHS) == pytest.approx([2.01])
    assert recoveries_of([*OPS, reported("w1.1", "b", 0.9, 12)], DEATHS) == []
    unheard = op("w1.1", "report", "b", 0.9, None, args={"status": "retry"}, token=12)
    assert recoveries_of([*OPS, unheard], DEATHS) == [], "it may have been put back by that"
    assert recoveries_of(OPS[:5], DEATHS) == []
    low = [replace(one, value={"priority": -5}) if one.op == "dequeue" else one for one in OPS]
    assert recoveries_of(low, DEATHS) == [], "it waits for all others anyway"


def test_deaths_at_steps_are_counted_by_their_names(tmp_path):
    crash = {"what": "crash", "step": "after Claim"}
    assert by_step(noted(tmp_path, [("w1.1", 1.0, crash), ("w1.2", 2.0, crash)])) == {"step after Claim": 2}


# -- the page and the matrix -----------------------------------------------------------------------------------------


@pytest.fixture
def outcome(verdict, tmp_path):
    def of(plan=PLAN, **values):
        judgement = verdict(**values)
        struck = {"kill": 1, "restart": 1, "step before Say": 2}
        return RunOutcome(plan, "SQLite, synchronous NORMAL", seen(), judgement, struck, {"reply": 3}, 6.0)

    return of


EARLY = [*OPS[:5], delivered("w2.1", "b", 1.5, 2, 13), *OPS[6:]]


def test_the_page_shows_verdict_faults_and_lanes(outcome, tmp_path):
    page = render(figures_of(outcome(), read_notes(tmp_path)))
    assert "Every promise was kept." in page
    assert "orch torture: SQLite, synchronous NORMAL" in page
    assert "before Say 2" in page
    assert "restart: the server is down at 4.00 s" in page
    assert "class='mark kill'" in page
    assert "What was broken first" not in page


def test_a_broken_run_shows_its_witness_and_the_lanes_around_it(outcome, tmp_path):
    bad = outcome(ops=EARLY)
    assert not bad.good
    assert {finding.promise.split()[0] for finding in bad.broken} == {"Q4"}
    witness = witness_of(bad, History(EARLY))
    assert "Q4 early redelivery" in witness
    page = render(figures_of(replace(bad, witness=witness), read_notes(tmp_path)))
    assert "What was broken first" in page
    start_s, end_s = window_of(replace(bad, seconds=100.0))
    assert start_s <= 1.5 <= end_s <= start_s + 12.0


def test_an_outcome_is_json_and_has_a_line_for_people(outcome):
    data = json.loads(json.dumps(outcome().to_dict()))
    assert data["good"] is True
    assert data["counts"]["lost"] == 0
    assert data["recoveries_s"] == {"count": 1, "median": 2.01, "slowest": 2.01}
    assert "1 kill" in outcome().summary
    assert "2 step" in outcome().summary


def kills(judgement, **values):
    given = {"take_s": 2.0, "run_s": 1.5, "idle_s": 0.3, "busy_s": 0.1, "alive": True, "exits": (0,)}
    return Kills(variant=Variant("redis"), lost=0, twice=0, judgement=judgement, **{**given, **values})


def test_a_row_of_the_matrix_is_good_only_if_all_of_it_is(outcome):
    judgement = outcome().judgement
    assert kills(judgement).good(2.0)
    for wrong in ({"take_s": None}, {"run_s": 9.0}, {"idle_s": None}, {"alive": False}, {"exits": (0, 1)}):
        assert not kills(judgement, **wrong).good(2.0)


def test_the_matrix_prints_what_was_measured(outcome):
    row = kills(outcome().judgement, run_s=None)
    table = Matrix((row,), (Cell(Variant("redis"), "kill", outcome()),), 2.0, 7, 10.0)
    titles, rows = table.kill_table()
    assert dict(zip(titles, rows[0], strict=True)) == {
        "orch on": "Redis always",
        "killed in take": "2.0",
        "killed in run": "never",
        "after a 4 s outage": "resumes (0.3 s)",
        "… mid-job": "resumes (0.1 s)",
        "lost": "0",
        "twice in a lease": "0",
        "workers": "alive",
        "exit status": "0",
    }
    assert table.fault_table() == (["fault", "Redis always"], [["kill", "held: 8 operations, 1 faults"]])
    assert not table.good
    assert "NOT as the contract has it" in table.summary
    assert json.loads(json.dumps(table.to_dict()))["good"] is False
    assert replace(table, kills=(kills(outcome().judgement),)).good


def test_a_broken_cell_names_the_promise(outcome):
    cell = Cell(Variant("sqlite"), "kill", outcome(ops=EARLY))
    assert not cell.good
    assert str(cell) == "BROKEN: Q4"


def test_a_loss_that_a_store_does_not_promise_to_survive_must_be_noticed(outcome):
    weak = Plan(synchronous="NORMAL", nemesis=("power",))
    unnoticed = Cell(Variant("sqlite"), "power", outcome(weak))
    assert (unnoticed.good, str(unnoticed)) == (False, "LOSS UNNOTICED")
    lost = outcome(weak, found={"a": job("a")}, counts={JobStatus.SUCCESS: 1})
    noticed = Cell(Variant("sqlite"), "power", lost)
    assert (noticed.good, str(noticed)) == (True, "loss noticed: 1 jobs, 0 faults")


def test_each_store_is_given_the_faults_it_has_and_power_long_enough():
    assert "disk" in faults_of(Variant("sqlite"))
    assert "partition" in faults_of(Variant("redis"))
    assert faults_of(Variant("redis", appendfsync="everysec", every_fault=False)) == ["power"]
    assert seconds_of("kill", 4.0) == 4.0
    assert seconds_of("power", 4.0) == 16.0
