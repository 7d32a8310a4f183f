"""`verify` on queues of somebody else's: right ones pass, wrong ones come back with a program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from dataclasses import replace
from typing import Any

import pytest

from orch.clock import iso, iso_to_us, to_us
from orch.errors import IllegalTransition, InvalidInput, JobNotFound
from orch.job import Job, JobStatus
from orch.queue import PersistentQueue, checked_new
from orch.testing import ContractViolation, FakeClock, verify
from orch.testing.drivers import fast
from orch.testing.kit import NeverReached, judged
from orch.testing.machine import QueueMachine
from orch.testing.report import coverage_table, never_reached, promises
from orch.testing.stores import memory_store

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


SEVEN = ["listing"]


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
    assert "<pre>" in violation._repr_html_()
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
    outcome.steps = 10_000
    op = machine.by_code["X"]
    outcome.coverage[op.row : op.row + 10] = [0] * 10
    assert "extend_lease" in never_reached(machine, outcome.coverage)
    with pytest.raises(NeverReached, match="extend_lease"):
        judged(machine, memory_store, outcome, "fast")


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
