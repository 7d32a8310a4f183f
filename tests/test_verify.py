"""`verify` on queues of somebody else's: right ones pass, wrong ones come back with a program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from orch.backends.memory import MemoryQueue
from orch.clock import iso, iso_to_us, to_us
from orch.errors import IllegalTransition, InvalidInput, JobNotFound, NotSupported
from orch.job import Job, JobStatus
from orch.queue import PersistentQueue, checked_new
from orch.testing import ContractViolation, FakeClock, verify
from orch.testing.capabilities import ALL, CAPABILITIES, detected
from orch.testing.drivers import fast
from orch.testing.kit import NeverReached, judged
from orch.testing.levels import LEVELS, NEEDS
from orch.testing.machine import QueueMachine
from orch.testing.report import coverage_table, never_reached, promises
from orch.testing.stores import memory_store
from orch.testing.subject import PlainQueue, load, subject
from orch.testing.watchdog import Order, run

PENDING, RUNNING, SUCCESS, FAILED, RETRY = JobStatus


class SevenVerbs(PersistentQueue):
    """A right queue with the seven verbs only: no leases, no delays, no priorities."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.jobs: dict[str, Job] = {}
        self.line: deque[str] = deque()

    def enqueue(self, job: Job) -> bool:
        job = checked_new(job)
        if job.id in self.jobs:
            return False
        self.jobs[job.id] = replace(job.copy(), lease=None)
        self.line.append(job.id)
        return True

    def dequeue(self, worker_id: str = "", *, lease_s: float | None = None, wait_s: float = 0.0) -> Job | None:
        if not self.line:
            return None
        job = self.jobs[self.line.popleft()]
        job.status, job.attempts, job.started_at = RUNNING, job.attempts + 1, self.now()
        return job.copy()

    def update_status(self, job_id, status, error=None, result=None, *, lease=None, delay_s=None) -> Job:
        job = self.jobs.get(job_id)
        if job is None:
            raise JobNotFound(job_id)
        if job.status is not RUNNING:
            raise IllegalTransition(job_id)
        if status is SUCCESS:
            self.finish(job, status, error, result)
        elif status is FAILED:
            job.failures += 1
            self.finish(job, status, error, result)
        else:
            job.failures += 1
            error = job.error if error is None else error
            result = job.result if result is None else result
            if job.failures > job.max_retries:
                self.finish(job, FAILED, error, result)
            else:
                job.status, job.started_at, job.error, job.result = PENDING, None, error, result
                job.check()
                self.line.append(job_id)
        return job.copy()

    def finish(self, job: Job, status: JobStatus, error: str | None, result: dict[str, Any] | None) -> None:
        job.status, job.finished_at, job.error, job.result = status, self.now(), error, result
        job.check()  # which copies the result

    def now(self) -> str:
        return iso(to_us(self.clock()))

    def get_job(self, job_id: str) -> Job | None:
        job = self.jobs.get(job_id)
        return None if job is None else job.copy()

    def list_jobs(self, status: JobStatus | None = None, limit: int = 100) -> list[Job]:
        order = {id: n for n, id in enumerate(self.jobs)}
        jobs = [job for job in self.jobs.values() if status in (None, job.status)]
        jobs.sort(key=lambda job: (iso_to_us(job.enqueued_at), order[job.id]), reverse=True)
        return [job.copy() for job in jobs[:limit]]

    def count(self, status: JobStatus | None = None) -> int:
        return len([job for job in self.jobs.values() if status in (None, job.status)])

    def purge(self, older_than_hours: float = 24) -> int:
        cutoff = to_us(self.clock()) - to_us(older_than_hours * 3600)
        gone = [job.id for job in self.jobs.values() if job.finished_at and iso_to_us(job.finished_at) < cutoff]
        for job_id in gone:
            del self.jobs[job_id]
        return len(gone)


class TakesTheNewest(SevenVerbs):
    """Q2"""

    def dequeue(self, *args, **more):
        self.line.rotate(1)
        return super().dequeue(*args, **more)


class RetryIsLost(SevenVerbs):
    """Q1"""

    def update_status(self, job_id, status, *args, **more):
        job = super().update_status(job_id, status, *args, **more)
        if status is RETRY and job.status is PENDING:
            self.line.pop()
        return job


class SameIdTwice(SevenVerbs):
    """Q3"""

    def enqueue(self, job):
        self.jobs[job.id] = checked_new(job).copy()
        self.line.append(job.id)
        return True


class NoCopies(SevenVerbs):
    """Q11"""

    def get_job(self, job_id):
        return self.jobs.get(job_id)


class PurgesRunningJobs(SevenVerbs):
    """Q10"""

    def purge(self, older_than_hours=24):
        for job in self.jobs.values():
            if job.status is RUNNING:
                job.finished_at = "2001-01-01T00:00:00Z"
        return super().purge(older_than_hours)


SEVEN = ["listing", "budget"]


def test_a_right_queue_with_the_seven_verbs_passes():
    verified = verify(SevenVerbs, capabilities=SEVEN, max_examples=60)
    assert (verified.traces, verified.driver) == (600, "fast")
    assert verified.never_reached == ()
    assert "no promise broken" in str(verified)
    assert "operator's report" in str(verified)
    assert "extend_lease" not in str(verified)


@pytest.mark.parametrize(
    "queue", [TakesTheNewest, RetryIsLost, SameIdTwice, NoCopies, PurgesRunningJobs], ids=lambda cls: cls.__name__
)
def test_a_wrong_one_is_told_its_promise(queue):
    with pytest.raises(ContractViolation) as caught:
        verify(queue, capabilities=SEVEN)
    assert caught.value.promise == queue.__doc__


def test_a_queue_that_claims_more_than_it_does_fails():
    with pytest.raises(ContractViolation):
        verify(SevenVerbs, capabilities=["listing", "priority"])


def test_a_report_has_promise_sentence_program_states_and_token():
    with pytest.raises(ContractViolation) as caught:
        verify(RetryIsLost, capabilities=SEVEN)
    violation = caught.value
    text = str(violation)
    assert text.startswith("Q1 conserve: At every instant")
    assert violation.sentence.startswith("conserve: At every instant")
    assert violation.program in text.replace("\n    ", "\n").replace("    from", "from", 1)
    assert "Before its last step:" in text
    assert f"verify(make_queue, replay={violation.trace.token!r})" in text
    assert "<pre " in violation._repr_html_()
    with pytest.raises(ContractViolation) as again:
        verify(RetryIsLost, capabilities=SEVEN, replay=violation.trace.token)
    assert again.value.promise == "Q1"
    assert again.value.program == violation.program


def test_equal_arguments_do_equal_things():
    reports = []
    for _ in range(2):
        with pytest.raises(ContractViolation) as caught:
            verify(RetryIsLost, capabilities=SEVEN, seed=7)
        reports.append(str(caught.value))
    assert reports[0] == reports[1]


THEIRS = """
from collections import deque
from orch.backends.memory import MemoryQueue

class Theirs(MemoryQueue):
    def _reclaim(self, now):
        pass

def make_queue(clock):
    return Theirs(clock=clock)
"""


def test_a_program_can_be_pasted_and_run_with_nothing_but_orch(tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(str(tmp_path))
    import theirs  # made above

    with pytest.raises(ContractViolation) as caught:
        verify(theirs.make_queue)
    program = caught.value.program
    assert "from theirs import make_queue" in program
    assert caught.value.promise == "Q5"
    (tmp_path / "pasted.py").write_text(program)
    done = subprocess.run([sys.executable, "pasted.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "AssertionError: Q5" in done.stderr
    (tmp_path / "theirs.py").write_text("from orch.testing.stores import memory_store as make_queue")
    done = subprocess.run([sys.executable, "pasted.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("given", "shows"),
    [
        ({"driver": "slow"}, "'slow'"),
        ({"max_examples": 0}, "0"),
        ({"seed": -1}, "-1"),
        ({"capabilities": ["flying"]}, "flying"),
        ({"replay": "nonsense"}, "'nonsense'"),
        ({"replay": "q1.E00000.0000"}, "damaged"),
        ({"replay": 5}, "5"),
    ],
)
def test_a_bad_argument_is_refused(given, shows):
    with pytest.raises(InvalidInput, match=shows):
        verify(memory_store, **given)


def test_a_run_that_never_did_something_fails():
    machine = QueueMachine.of(memory_store)
    outcome = fast.explore(machine, memory_store, traces=3)
    outcome.traces, outcome.steps = 1_000, 10_000
    op = machine.by_code["X"]
    outcome.coverage[op.row : op.row + 10] = [0] * 10
    assert "extend_lease" in never_reached(machine, outcome.coverage)
    with pytest.raises(NeverReached, match="extend_lease"):
        judged(machine, memory_store, outcome, "fast")


def test_a_run_that_ends_before_all_that_is_planned_only_says_what_it_did_not_do():
    verified = verify(memory_store, max_examples=9)
    assert verified.steps > 5_000
    assert "crowd extended" in verified.never_reached


def test_the_table_shows_states_and_operations():
    machine = QueueMachine.of(memory_store)
    outcome = fast.explore(machine, memory_store, traces=60)
    table = coverage_table(machine, outcome.coverage)
    for op in machine.operations:
        assert op.name in table
    for place in ("absent", "delayed", "expired", "quarantined", "something to answer"):
        assert place in table


def test_every_promise_of_the_queue_has_its_sentence():
    assert {f"Q{n}" for n in range(1, 16)} < set(promises())
    assert promises()["Q4"].startswith("one holder: At most one current lease per job.")


def test_importing_the_kit_loads_neither_pytest_nor_hypothesis():
    program = (
        "import sys; import orch.testing; from orch.testing import verify, QueueMachine, ContractViolation; "
        "print([name for name in ('pytest', 'hypothesis', 'redis', 'sqlite3') if name in sys.modules])"
    )
    alone = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=alone)
    assert done.stdout.strip() == "[]"


# -- a client that dies inside a verb ----------------------------------------------------------------------------------


class Died(Exception):
    """The client is gone."""


class TwoSteps(SevenVerbs):
    """A list and a table, written one after the other: what dies between them is lost."""

    dies_at: int | None = None

    def step(self) -> None:
        if self.dies_at is not None:
            if self.dies_at == 0:
                raise Died
            self.dies_at -= 1

    def dequeue(self, *args, **more):
        self.step()
        if not self.line:
            return None
        job = self.jobs[self.line.popleft()]
        self.step()
        job.status, job.attempts, job.started_at = RUNNING, job.attempts + 1, self.now()
        return job.copy()


class OneStep(TwoSteps):
    """As it should be: all or nothing."""

    def dequeue(self, *args, **more):
        self.step()
        self.step()
        return SevenVerbs.dequeue(self, *args, **more)


class Mortal:
    """A store whose clients can die."""

    def __init__(self, queue: type[TwoSteps]) -> None:
        self.queue = queue

    def __call__(self, clock: FakeClock) -> TwoSteps:
        return self.queue(clock)

    def die(self, queue, n, verb):
        queue.dies_at = n
        try:
            verb(queue)
        except (Died, IllegalTransition, JobNotFound) as error:
            return queue, isinstance(error, Died)
        else:
            return queue, False
        finally:
            queue.dies_at = None


def test_what_a_client_loses_when_it_dies_between_two_steps_is_found():
    with pytest.raises(ContractViolation) as caught:
        verify(Mortal(TwoSteps), capabilities=SEVEN)
    assert caught.value.promise == "Q1"
    assert (
        "queue, died = make_queue.die(queue, 1, lambda queue: queue.dequeue('w1', lease_s=2))" in caught.value.program
    )
    verified = verify(Mortal(OneStep), capabilities=SEVEN, max_examples=50)
    assert "client dies" in verified.coverage


# -- what a queue can do is found out ----------------------------------------------------------------------------------


def test_a_queue_with_everything_is_asked_for_everything():
    fit = detected(memory_store)
    assert (fit.capabilities, fit.missing, fit.without) == (ALL, {}, frozenset())


def test_a_queue_of_seven_verbs_is_verified_without_naming_what_it_can_do():
    verified = verify(SevenVerbs, max_examples=60)
    assert set(verified.skipped) == set(CAPABILITIES) - {"listing", "budget"}
    assert verified.skipped["lease"] == "its deliveries carry no lease"
    assert verified.level == "L3"
    text = str(verified)
    assert "Not asked for:" in text
    assert "requeue     SevenVerbs has no requeue of its own" in text


@pytest.mark.parametrize(
    "queue", [TakesTheNewest, RetryIsLost, SameIdTwice, NoCopies, PurgesRunningJobs], ids=lambda cls: cls.__name__
)
def test_a_wrong_one_is_found_without_naming_what_it_can_do(queue):
    with pytest.raises(ContractViolation) as caught:
        verify(queue)
    assert caught.value.promise == queue.__doc__


class SaysNo(MemoryQueue):
    """A queue that says what it does not have."""

    def _no(self, *args: Any, **more: Any) -> Any:
        raise NotSupported("not here")

    stats = requeue = workers = exchange_many = record_progress = _no

    def enqueue(self, job):
        if checked_new(job).priority:
            raise NotSupported("all jobs are equal")
        return super().enqueue(job)

    def enqueue_many(self, jobs):
        raise NotSupported("one at a time")


def test_what_says_not_supported_is_not_asked_for():
    fit = detected(lambda clock: SaysNo(clock=clock))
    assert fit.missing == {
        "priority": "all jobs are equal",
        "progress": "not here",
        "requeue": "not here",
        "stats": "not here",
        "workers": "not here",
    }
    assert fit.without == {"enqueue_many"}
    verified = verify(lambda clock: SaysNo(clock=clock), max_examples=60)
    assert "enqueue_many" not in verified.coverage
    assert "exchange" in verified.coverage


class Names(SevenVerbs):
    """It names its capabilities itself."""

    capabilities = ("listing", "priority")


def test_a_queue_may_name_its_capabilities_and_is_held_to_them():
    assert detected(Names).capabilities == {"listing", "priority"}
    with pytest.raises(ContractViolation) as caught:
        verify(Names)
    assert caught.value.promise == "Q2"


class NoPriorities(MemoryQueue):
    """It has leases, and silently ignores priorities."""

    def _push_ready(self, entry):
        priority, entry.job.priority = entry.job.priority, 0
        super()._push_ready(entry)
        entry.job.priority = priority


@pytest.mark.promise("Q2")
def test_what_a_queue_with_leases_does_silently_is_no_missing_capability():
    with pytest.raises(ContractViolation) as caught:
        verify(lambda clock: NoPriorities(clock=clock))
    assert caught.value.promise == "Q2"


class Plain:
    """Seven methods, no base class, no argument that the seed does not have, and None for an answer."""

    def __init__(self, clock: FakeClock) -> None:
        self.queue = SevenVerbs(clock)
        self.purge = self.queue.purge
        self.get_job = self.queue.get_job
        self.list_jobs = self.queue.list_jobs
        self.count = self.queue.count

    def enqueue(self, job: Job) -> None:
        self.queue.enqueue(job)

    def dequeue(self) -> Job | None:
        return self.queue.dequeue()

    def update_status(self, job_id, status, error=None, result=None) -> None:
        with suppress(JobNotFound):  # as the seed does
            self.queue.update_status(job_id, status, error, result)


class PlainJobs(Plain):
    """Its jobs are of a class of its own, with fewer fields."""

    def dequeue(self):
        job = super().dequeue()
        return None if job is None else job.to_dict()


class PlainLoss(Plain):
    """Q1"""

    def update_status(self, job_id, status, error=None, result=None):
        super().update_status(job_id, status, error, result)
        if status is RETRY:
            self.queue.line.clear()


@pytest.mark.parametrize("queue", [Plain, PlainJobs], ids=lambda cls: cls.__name__)
def test_a_plain_class_with_the_seven_verbs_is_verified(queue):
    assert verify(queue, max_examples=30).level == "L3"


def test_a_wrong_plain_class_gets_a_program_that_runs():
    with pytest.raises(ContractViolation) as caught:
        verify(PlainLoss)
    assert caught.value.promise == "Q1"
    assert "queue = PlainQueue.of(" in verify_program(PlainLoss)


def verify_program(factory):
    named = subject(load_here(factory))
    with pytest.raises(ContractViolation) as caught:
        verify(named)
    return caught.value.program


def load_here(factory):
    sys.modules.setdefault("verified_here", sys.modules[__name__])
    return load(f"verified_here:{factory.__name__}")


def test_a_plain_queue_has_the_verbs_beyond_the_seven_that_the_object_has():
    class More(Plain):
        def requeue(self, job_id):
            return job_id

    queue = PlainQueue.of(More(FakeClock()))
    assert queue.requeue("a") == "a"
    with pytest.raises(NotSupported):
        queue.stats()


# -- levels ------------------------------------------------------------------------------------------------------------


def test_each_promise_is_of_one_level_but_order_and_empty_answers():
    seen = [promise for level in LEVELS for promise in NEEDS[level]]
    assert {promise for promise in seen if seen.count(promise) > 1} == {"Q2"}
    assert set(seen) <= set(promises())


@pytest.mark.parametrize(
    ("queue", "held"),
    [(SevenVerbs, "L3"), (TakesTheNewest, "L2"), (SameIdTwice, "L1"), (RetryIsLost, None), (NoCopies, "L3")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_level_can_be_demanded(queue, held):
    place = LEVELS.index(held) if held else -1
    if held:
        assert verify(queue, level=held, max_examples=60).level == "L3" or held != "L3"
    if place + 1 < len(LEVELS[:3]):
        with pytest.raises(ContractViolation) as caught:
            verify(queue, level=LEVELS[place + 1], max_examples=60)
        assert caught.value.promise in NEEDS[LEVELS[place + 1]]


class UnorderedAndLosing(SevenVerbs):
    """The newest first, and the third job that waits is lost."""

    def dequeue(self, *args, **more):
        if len(self.line) >= 3:
            self.line.popleft()
        self.line.rotate(1)
        return super().dequeue(*args, **more)


def test_a_loss_is_found_behind_an_order_that_is_not_kept():
    with pytest.raises(ContractViolation) as caught:
        verify(UnorderedAndLosing, level="L2")
    assert caught.value.promise == "Q1"
    assert len(caught.value.trace.steps) < 12


def test_the_highest_level_needs_leases():
    with pytest.raises(InvalidInput, match="L3 at most"):
        verify(SevenVerbs, level="L4", max_examples=2)
    assert verify(memory_store, level="L4", max_examples=30).level == "L4"


@pytest.mark.parametrize(
    ("given", "shows"),
    [({"level": "L5"}, "L5"), ({"level": "L2", "driver": "hypothesis"}, "hypothesis"), ({"seconds": 0}, "0")],
)
def test_a_bad_level_or_time_is_refused(given, shows):
    with pytest.raises(InvalidInput, match=shows):
        verify(memory_store, **given)


def test_time_may_bound_a_run_with_either_driver():
    assert verify(SevenVerbs, seconds=0.2).traces > 1
    assert verify(SevenVerbs, seconds=0.01, driver="hypothesis").driver == "hypothesis"


# -- the command -------------------------------------------------------------------------------------------------------

OUTSIDE = """
import os
import sys
import time
from collections import deque
from orch.backends.memory import MemoryQueue
from orch.queue import PersistentQueue

print("this is said while it is imported")

def right(clock):
    return MemoryQueue(clock=clock)

class Forgetful(MemoryQueue):
    def _reclaim(self, now):
        pass

wrong = lambda clock: Forgetful(clock=clock)
number = 5

def nothing(clock):
    return None

def takes_no_clock():
    return MemoryQueue()

def breaks(clock):
    raise RuntimeError("no disk")

class Unfinished(PersistentQueue):
    def __init__(self, clock):
        pass
    def enqueue(self, job):
        return True

class Half:
    def __init__(self, clock):
        pass
    def enqueue(self, job):
        return True
    def dequeue(self):
        return None

class Loops(MemoryQueue):
    def _requeue(self, job_id):
        while job_id in self._entries:
            pass
        return super()._requeue(job_id)

loops = lambda clock: Loops(clock=clock)

def sleeps(clock):
    time.sleep(1000)

class Leaves(MemoryQueue):
    def _requeue(self, job_id):
        os._exit(0)

leaves = lambda clock: Leaves(clock=clock)

class Quits(MemoryQueue):
    def close(self):
        raise OSError("the file is gone")

quits = lambda clock: Quits(clock=clock)

class Newest(MemoryQueue):
    def _push_ready(self, entry):
        entry.ticket = -abs(entry.ticket)
        super()._push_ready(entry)

newest = lambda clock: Newest(clock=clock)
"""


@pytest.fixture
def outside(tmp_path):
    """A directory outside the project with queues in it, and `orch verify` run there."""
    (tmp_path / "outside.py").write_text(OUTSIDE)
    (tmp_path / "broken.py").write_text("import nothing_of_this_name")
    (tmp_path / "torn.py").write_text("def make_queue(clock:\n")
    (tmp_path / "exits.py").write_text("raise SystemExit(3)")
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(1000)")

    def orch_verify(*arguments):
        command = [sys.executable, "-m", "orch", "verify", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return orch_verify


def test_a_right_queue_outside_the_project_exits_0(outside):
    done = outside("outside:right", "--examples", "20")
    assert (done.returncode, done.stderr) == (0, "this is said while it is imported\n")
    assert "200 traces" in done.stdout
    assert "no promise broken (fast driver, seed 0" in done.stdout
    assert "Level: L4" in done.stdout
    assert "something to answer" in done.stdout


def test_a_wrong_queue_outside_the_project_exits_1_with_a_program_that_fails_there(outside, tmp_path):
    done = outside("outside:wrong", "--json", "--seed", "3")
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert (told["valid"], told["promise"], told["level"], told["seed"]) == (False, "Q5", "L3", 3)
    assert told["program"].startswith("from orch import")
    (tmp_path / "pasted.py").write_text(told["program"])
    pasted = subprocess.run([sys.executable, "pasted.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert pasted.returncode == 1
    assert "AssertionError: Q5" in pasted.stderr
    again = outside("outside:wrong", "--replay", told["token"])
    assert again.returncode == 1
    assert told["program"].splitlines()[-1].strip() in again.stdout
    assert outside("outside:right", "--replay", told["token"]).returncode == 0


def test_a_queue_without_order_is_told_its_level(outside):
    done = outside("outside:newest", "--examples", "60")
    assert done.returncode == 1
    assert "Level: L2 held; the program above is the witness against the next." in done.stdout
    done = outside("outside:newest", "--level", "L2", "--examples", "60")
    assert done.returncode == 0
    assert "Level: L2 held; L2 was asked for" in done.stdout


@pytest.mark.parametrize(
    ("queue", "shows"),
    [
        ("missing:make", "no module 'missing'"),
        ("broken:make", "broken cannot be imported: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("torn:make", "torn.py, line 1"),
        ("exits:make", "SystemExit: 3"),
        ("outside", "MODULE:FACTORY"),
        ("outside:absent", "outside has no 'absent'; it has "),
        ("outside:number", "outside:number is 5, not callable"),
        ("outside:nothing", "nothing(clock) must return a queue, got None"),
        ("outside:takes_no_clock", "must take one argument, the clock"),
        ("outside:breaks", "RuntimeError: no disk (outside.py, line "),
        ("outside:Unfinished", "abstract methods count, dequeue"),
        ("outside:Half", "Half lacks update_status, get_job, list_jobs, count, purge"),
        ("outside:quits", "OSError: the file is gone"),
    ],
)
def test_what_is_no_queue_exits_2_and_is_told_why(outside, queue, shows):
    done = outside(queue)
    assert done.returncode == 2
    assert shows in done.stderr
    assert done.stdout == ""


def test_a_verb_that_does_not_return_exits_2_and_is_named_with_the_steps_before_it(outside):
    done = outside("outside:loops", "--timeout", "0.5", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 2
    assert (told["hangs"], told["operation"]) == (True, "requeue")
    assert told["program"].splitlines()[-1].startswith("queue.requeue(")
    assert "_requeue" in told["stack"]
    assert f"hangs: step {told['step']}, requeue, took more than 0.5 s" in told["error"]


@pytest.mark.parametrize(("queue", "what"), [("outside:sleeps", "sleeps"), ("slow:make", "to import it")])
def test_a_queue_that_cannot_be_made_in_time_exits_2(outside, queue, what):
    done = outside(queue, "--timeout", "0.5")
    assert done.returncode == 2
    assert f"hangs before the first step: {what} took more than 0.5 s" in done.stderr
    assert "time.sleep(1000)" in done.stderr


def test_a_queue_that_ends_the_interpreter_is_not_taken_for_a_right_one(outside):
    done = outside("outside:leaves")
    assert done.returncode == 2
    assert "ended the interpreter (exit code 0)" in done.stderr


def test_a_time_limit_must_be_one():
    with pytest.raises(InvalidInput, match="0"):
        run(Order("x:y", timeout_s=0))


def test_a_long_stop_of_all_threads_ends_the_child(tmp_path, monkeypatch):
    monkeypatch.setattr("orch.testing.watchdog.GRACE_S", 0.3)
    (tmp_path / "still.py").write_text(
        "import os, signal\ndef make_queue(clock):\n    os.kill(os.getpid(), signal.SIGSTOP)\n"
    )
    told = run(Order("still:make_queue", timeout_s=0.2, folder=str(tmp_path)))
    assert told["exit"] == 2
    assert "holds the interpreter" in told["text"]
