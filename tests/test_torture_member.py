"""Members of a torture run: what they write down, where they die, what they enqueue."""

import json
import random
import signal
import threading
from types import SimpleNamespace

import pytest

from orch import Job, JobStatus, MemoryQueue, open_queue
from orch.errors import BackendUnavailable, InvalidInput, OrchError
from orch.history import History, RecordingQueue
from orch.runner import Done
from orch.settings import Settings
from orch.torture import member
from orch.torture.member import Death, Notes, Orders
from orch.torture.plan import STEPS, Crash
from orch.worker.attempt import Attempt
from orch.worker.logic import work
from orch.worker.steps import Claim, Claimed, Config, Exchange, Next, State, Stop


def orders(folder, **values):
    given = {"role": member.WORK, "lane": "w1", "life": 3, "url": f"sqlite:///{folder / 'q.db'}", "prefix": "t"}
    return Orders(**{**given, "folder": str(folder), "lease_s": 2.0, **values})


def notes_in(folder, name="w1.3"):
    return [json.loads(line) for line in (folder / f"{name}.notes.jsonl").read_text().splitlines()]


def test_orders_survive_a_round_trip_as_json(tmp_path):
    given = orders(tmp_path, crash=Crash("Start", after=False, n=2))
    assert Orders.from_dict(json.loads(json.dumps(given.to_dict()))) == given
    assert (given.name, given.history.name, given.notes.name) == ("w1.3", "w1.3.ops.jsonl", "w1.3.notes.jsonl")


# -- where a worker dies ---------------------------------------------------------------------------------------------


class Died(Exception):
    pass


def die():
    raise Died


def watched(crash):
    """The steps of a worker that has one job to run, with what it was answered; ends where it dies."""
    queue = MemoryQueue(clock=lambda: 1000.0)
    queue.enqueue(Job.new("workflow:noop", id="a"))
    config = Config(worker_id="w", quiet=True)
    steps = Death(crash, die).watch(work(config, State(), random.Random(0)))
    seen, answer, now = [], None, 0.0
    events = []
    with pytest.raises(Died):
        while True:
            step = steps.send(answer)
            seen.append(type(step).__name__)
            value = None
            match step:
                case Next():
                    value, events = tuple(events), []
                case Claim():
                    events.append(Claimed(tuple(queue.dequeue_many(step.n, "w"))))
                case Exchange():
                    value = queue.exchange(step.reports, step.n, "w")
            if type(step).__name__ == "Start":
                events = [member_finished(step)]
            now += 0.1
            answer = now, value
    return seen, queue


def member_finished(step):
    from orch.worker.steps import Finished

    return Finished(step.runs[0].key, Done({}), 0.1)


@pytest.mark.parametrize("step", ["Next", "Claim", "Record", "Start", "Exchange"])
def test_a_worker_dies_before_a_step_and_the_step_is_not_done(step):
    seen, _ = watched(Crash(step, after=False, n=1))
    assert step not in seen


@pytest.mark.parametrize("step", ["Next", "Claim", "Record", "Start", "Exchange"])
def test_a_worker_dies_after_a_step_and_before_the_next(step):
    seen, _ = watched(Crash(step, after=True, n=1))
    assert seen.index(step) == len(seen) - 1


def test_it_dies_at_the_nth_step_of_the_kind():
    seen, _ = watched(Crash("Next", after=False, n=3))
    assert seen.count("Next") == 2


def test_the_take_is_when_jobs_have_come_and_nothing_was_written_down():
    seen, queue = watched(Crash("Take", after=True, n=1))
    assert seen[-1] == "Next"
    assert "Record" not in seen
    assert queue.get_job("a").status is JobStatus.RUNNING


def test_what_brings_jobs_is_told_from_what_does_not():
    job = Job.new("workflow:noop")
    assert member.brought_jobs((1.0, ([], [job])))
    assert member.brought_jobs((1.0, (Stop("x"), Claimed((job,)))))
    assert not member.brought_jobs((1.0, ([job], [])))
    assert not member.brought_jobs((1.0, (Claimed(()),)))
    assert not member.brought_jobs((1.0, BackendUnavailable("x")))
    assert not member.brought_jobs((1.0, None))
    assert not member.brought_jobs(None)


def test_a_watched_generator_is_the_same_if_nobody_dies():
    def steps():
        answer = yield Next(None)
        return answer

    watched = Death(Crash("Start", after=True, n=1), die).wrapped(steps)()
    assert watched.send(None) == Next(None)
    with pytest.raises(StopIteration) as end:
        watched.send((1.0, ()))
    assert end.value.value == (1.0, ())


def test_only_the_module_that_drives_workers_is_told_of_a_death(monkeypatch, tmp_path):
    told = SimpleNamespace()
    monkeypatch.setattr(member, "driver", told)
    member.wrap_worker(Crash("Next", after=False, n=2), Notes(tmp_path / "n"))
    assert set(vars(told)) == {"work", "keep_leases"}
    assert isinstance(next(told.work(Config(worker_id="w"), State(), random.Random(0))), Next)


# -- what members write down -----------------------------------------------------------------------------------------


def test_a_run_is_noted_when_it_begins_and_ends(tmp_path):
    job = Job.new("workflow:noop", id="a")
    run = member.noted(lambda _job, _attempt: Done({}), Notes(tmp_path / "w1.3.notes.jsonl"))
    assert run(job, Attempt(0, job)) == Done({})
    begin, end = notes_in(tmp_path)
    assert (begin["what"], begin["job"], begin["attempt"], begin["path"]) == ("begin", "a", 0, "workflow:noop")
    assert (end["what"], end["job"], end["outcome"]) == ("end", "a", "Done")
    assert begin["at_ns"] <= end["at_ns"]


class NotStopped:
    """Nobody stops it, and time costs nothing."""

    def __init__(self, sleeps=10**9):
        self.sleeps = sleeps

    @property
    def yet(self):
        return self.sleeps <= 0

    def sleep_until(self, _instant):
        self.sleeps -= 1


def test_a_member_that_cannot_reach_its_store_tries_for_a_while_and_ends_with_two(tmp_path, monkeypatch):
    monkeypatch.setattr(member, "Stopped", lambda: NotStopped(3))
    asked = orders(tmp_path, url=f"sqlite:///{tmp_path / 'no folder' / 'q.db'}")
    assert member.follow(asked) == 2
    assert [note["what"] for note in notes_in(tmp_path)] == ["unreachable"]


def test_a_member_whose_queue_is_bad_input_does_not_try_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(member, "Stopped", NotStopped)
    assert member.follow(orders(tmp_path, queue="no_such_module:make")) == 2
    assert "no_such_module" in notes_in(tmp_path)[0]["error"]


def test_a_factory_makes_the_queue_of_url_and_settings(tmp_path, monkeypatch):
    (tmp_path / "mine_for_torture.py").write_text("def make(url, settings): return url, settings.lease_s")
    monkeypatch.syspath_prepend(tmp_path)
    assert member.open_member_queue("x://", Settings(lease_s=7.0), "mine_for_torture:make") == ("x://", 7.0)
    with pytest.raises(InvalidInput, match="nothing"):
        member.open_member_queue("x://", Settings(), "mine_for_torture:nothing")


def test_a_producer_writes_down_what_it_enqueued_and_repeats_what_was_not_acknowledged(tmp_path, monkeypatch):
    monkeypatch.setattr(member, "Stopped", lambda: NotStopped(40))
    refused = []
    honest = open_queue(f"sqlite:///{tmp_path / 'q.db'}")
    enqueue = type(honest).enqueue

    def unreliable(self, job):
        if len(refused) < 5:
            refused.append(job.id)
            enqueue(self, job)
            raise BackendUnavailable("the reply is lost")
        return enqueue(self, job)

    monkeypatch.setattr(type(honest), "enqueue", unreliable)
    assert member.follow(orders(tmp_path, role=member.PRODUCE, lane="p1", per_second=1000.0)) == 0
    history = History.read(tmp_path / "p1.3.ops.jsonl")
    asked = [op for op in history if op.op == "enqueue"]
    assert {op.outcome for op in asked} == {"ok", "unknown"}
    acknowledged = {op.job for op in asked if op.outcome == "ok"}
    assert set(refused) <= acknowledged == {job.id for job in honest.list_jobs(limit=1000)}
    assert any(op.value is False for op in asked), "the second enqueue of an id is told that it is known"
    assert [note["what"] for note in notes_in(tmp_path, "p1.3")] == ["ready", "over"]
    honest.close()


def test_a_watcher_notes_the_counts_and_waits_out_what_it_cannot_read(tmp_path, monkeypatch):
    queue = MemoryQueue()
    queue.enqueue(Job.new("workflow:noop"))
    counts = queue.counts
    answers = iter([OrchError("down"), None, None])
    monkeypatch.setattr(queue, "counts", lambda: raise_or(next(answers), counts()))
    member.watch(queue, Notes(tmp_path / "w1.3.notes.jsonl"), NotStopped(3))
    assert [note["counts"] for note in notes_in(tmp_path)] == [[1, 0, 0, 0]] * 2


def raise_or(error, value):
    if error is not None:
        raise error
    return value


def test_one_that_holds_the_store_keeps_everybody_from_writing(tmp_path, monkeypatch):
    path = tmp_path / "q.db"
    queue = open_queue(f"sqlite:///{path}")
    held = threading.Event()
    over = threading.Event()
    waiting = SimpleNamespace(yet=False, sleep_until=lambda _instant: (held.set(), over.wait(60)))
    asked = orders(tmp_path, role=member.HOLD, url=str(path), seconds=1.0)
    codes = []
    holder = threading.Thread(
        target=lambda: codes.append(member.hold(asked, Notes(tmp_path / "w1.3.notes.jsonl"), waiting))
    )
    holder.start()
    assert held.wait(60)
    monkeypatch.setattr("orch.backends.sqlite.LOCK_S", 0.0)
    with pytest.raises(BackendUnavailable):
        queue.enqueue(Job.new("workflow:noop"))
    over.set()
    holder.join()
    queue.enqueue(Job.new("workflow:noop"))
    queue.close()
    assert codes == [0]


def test_a_signal_stops_a_member_and_its_sleep(monkeypatch):
    handlers = {}
    monkeypatch.setattr(member.signal, "signal", handlers.__setitem__)
    stopped = member.Stopped()
    assert not stopped.yet
    handlers[signal.SIGTERM](signal.SIGTERM, None)
    assert stopped.yet
    stopped.sleep_until(float("inf"))


# -- what is enqueued ------------------------------------------------------------------------------------------------


def test_jobs_are_of_every_kind_that_was_asked_for(tmp_path):
    everything = orders(tmp_path, long_jobs=True, poison_jobs=True)
    rng = random.Random(0)
    jobs = [member.a_job(everything, n, rng) for n in range(2000)]
    assert len({job.id for job in jobs}) == 2000
    assert {job.dag_path for job in jobs} == {"workflow:sleep", "workflow:fail_n_times", member.POISON}
    assert any(job.params.get("seconds", 0) > everything.lease_s for job in jobs)
    assert {job.priority for job in jobs} == {-5, 0, 5, 7}
    assert any(job.not_before for job in jobs)


def test_a_calm_plan_has_no_such_jobs(tmp_path):
    calm = orders(tmp_path, delayed_jobs=False)
    rng = random.Random(0)
    jobs = [member.a_job(calm, n, rng) for n in range(2000)]
    assert member.POISON not in {job.dag_path for job in jobs}
    assert max(job.params.get("seconds", 0) for job in jobs) < calm.lease_s
    assert not any(job.not_before for job in jobs)


def test_an_operator_looks_cancels_and_requeues():
    queue = RecordingQueue(MemoryQueue())
    queue.enqueue(Job.new("workflow:noop", id="a"))
    rng = random.Random(1)
    for _ in range(200):
        try:
            member.act(queue, "a", rng)
        except InvalidInput:
            queue.queue.update_status("a", JobStatus.FAILED)
    assert {op.op for op in queue.history()} >= {"get", "list", "counts", "cancel", "requeue"}


def test_every_step_has_its_name_in_the_plan():
    assert "Take" in STEPS
