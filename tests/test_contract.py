"""The contract fails on a broken queue: each class here breaks one thing, and the named sentences must say so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orch.backends.memory import MemoryQueue
from orch.clock import iso_to_us, to_us
from orch.errors import UnreadableRecord
from orch.job import Event, JobStatus
from orch.testing.capabilities import ALL, CAPABILITIES
from orch.testing.contract import QueueContract, needs

pytest_plugins = ["pytester"]


class LastInFirstOut(MemoryQueue):
    """fails: test_first_in_first_out, test_a_bulk_enqueue_keeps_the_given_order"""

    def _make_pending(self, entry, now, due):
        self._ticket -= 2
        super()._make_pending(entry, now, due)


class NoPriority(MemoryQueue):
    """fails: test_higher_priority_goes_first, test_a_late_job_of_higher_priority_overtakes"""

    def _push_ready(self, entry):
        priority, entry.job.priority = entry.job.priority, 0
        super()._push_ready(entry)
        entry.job.priority = priority


class DelayForgotten(MemoryQueue):
    """fails:
    test_a_delayed_job_is_not_ready_before_its_time,
    test_a_retry_with_a_delay_takes_its_ticket_when_it_is_due
    """

    def _make_pending(self, entry, now, due):
        super()._make_pending(entry, now, None)


class DequeueDoesNotPromote(MemoryQueue):
    """fails: test_a_delayed_job_is_ready_at_its_time, test_a_dequeue_promotes_also_what_it_does_not_deliver"""

    def _exchange(self, reports, n, worker_id, lease_s):
        self._promote = lambda now: None
        try:
            return super()._exchange(reports, n, worker_id, lease_s)
        finally:
            del self._promote


class RequeuePromotes(MemoryQueue):
    """fails: test_a_requeue_takes_its_ticket_before_what_is_due_but_not_promoted"""

    def _requeue(self, job_id):
        self._promote(to_us(self._read_clock()))
        return super()._requeue(job_id)


class GiveBackGoesToTheEnd(MemoryQueue):
    """fails: test_a_job_given_back_keeps_its_place, test_returned_and_new_jobs_mixed_come_in_ticket_order"""

    def _end_delivery(self, entry, event, now, delay_s=None):
        if event is Event.GIVE_BACK:
            self._ticket += 1
            entry.ticket = self._ticket
        super()._end_delivery(entry, event, now, delay_s)


class RetryKeepsItsPlace(MemoryQueue):
    """fails: test_a_retried_job_goes_to_the_end_of_the_line"""

    def _make_pending(self, entry, now, due):
        ticket = entry.ticket
        if ticket and due is None and entry.due_us is None and not entry.job.finished_at and entry.job.attempts:
            entry.ready_us = now
            self._push_ready(entry)
        else:
            super()._make_pending(entry, now, due)


class KnownIdOverwritten(MemoryQueue):
    """fails:
    test_enqueuing_a_known_id_changes_nothing_whatever_its_state,
    test_of_two_equal_ids_in_one_call_the_first_counts
    """

    def _enqueue(self, jobs):
        new = super()._enqueue(jobs)
        for job in jobs:
            if job.id in self._entries:
                self._entries[job.id].job.dag_path = job.dag_path
        return new


class AlwaysNew(MemoryQueue):
    """fails: test_the_first_enqueue_is_true_and_the_second_false, test_enqueue_many_counts_the_new_ones"""

    def _enqueue(self, jobs):
        super()._enqueue(jobs)
        return len(jobs)


class NoFence(MemoryQueue):
    """fails: test_a_stale_lease_can_do_nothing_to_the_next_delivery, test_an_invented_token_can_do_nothing"""

    def _report(self, report, now):
        entry = self._entries.get(report.job_id)
        if entry is not None and entry.job.lease is not None and report.lease is not None:
            report = replace(report, lease=entry.job.lease)
        return super()._report(report, now)


class ProgressWithoutFence(MemoryQueue):
    """fails: test_a_stale_lease_can_do_nothing_to_the_next_delivery, test_a_lease_that_was_ended_can_do_nothing"""

    def _record_progress(self, lease, task_id, output):
        entry = self._entries[lease.job_id]
        entry.progress = {**(entry.progress or {}), task_id: output}


class TokenIsTheTime(MemoryQueue):
    """fails: test_tokens_grow_over_the_whole_queue, test_a_backward_jump_of_the_clock_delivers_nothing_twice"""

    def _deliver(self, entry, worker_id, now, expires_us):
        self._token = 0
        return super()._deliver(entry, worker_id, now, expires_us)


class NeverReclaims(MemoryQueue):
    """fails: test_a_job_whose_holder_vanished_can_still_succeed, test_when_all_holders_die_all_jobs_come_back"""

    def _reclaim(self, now):
        pass


class ReclaimsOnlyWhenIdle(MemoryQueue):
    """fails: test_recovery_does_not_wait_behind_a_backlog, test_a_job_whose_lease_was_lost_keeps_its_place"""

    def _reclaim(self, now):
        if not self._ready:
            super()._reclaim(now)


class ReclaimsAll(MemoryQueue):
    """fails:
    test_a_dequeue_takes_back_at_most_a_hundred_the_oldest_first,
    test_leases_that_ended_together_are_taken_back_by_token
    """

    def _reclaim(self, now):
        for _ in range(9):
            super()._reclaim(now)


class LeaseEndsLate(MemoryQueue):
    """fails: test_a_lease_is_expired_when_the_clock_reaches_its_end_and_not_before"""

    def _reclaim(self, now):
        super()._reclaim(now - 1)


class ReportsReclaim(MemoryQueue):
    """fails: test_only_a_dequeue_takes_leases_back, test_an_exchange_reports_before_it_takes_leases_back"""

    def _exchange(self, reports, n, worker_id, lease_s):
        self._reclaim(to_us(self._read_clock()))
        return super()._exchange(reports, n, worker_id, lease_s)


class ExtensionShortens(MemoryQueue):
    """fails: test_an_extension_never_makes_a_lease_shorter"""

    def _extend(self, leases, lease_s):
        for lease in leases:
            if lease.job_id in self._entries:
                self._entries[lease.job_id].expires_us = 0
        return super()._extend(leases, lease_s)


class NoRetryBudget(MemoryQueue):
    """fails:
    test_a_retry_beyond_max_retries_is_a_failure_with_the_error_kept,
    test_deliveries_are_bounded_by_both_budgets
    """

    def _report(self, report, now):
        entry = self._entries.get(report.job_id)
        if entry is not None and entry.raw is None:
            entry.job.failures = 0
        return super()._report(report, now)


class CrashesNotCounted(MemoryQueue):
    """fails: test_a_lost_lease_beyond_max_crashes_is_a_failure_that_says_so, test_the_two_budgets_are_separate"""

    def _reclaim(self, now):
        super()._reclaim(now)
        for entry in self._entries.values():
            entry.job.crashes = 0


class FinalIsNotFinal(MemoryQueue):
    """fails: test_another_status_on_a_final_job_is_refused, test_a_cancelled_success_is_refused"""

    def _report(self, report, now):
        entry = self._entries.get(report.job_id)
        if entry is not None and report.lease is None and entry.job.status is JobStatus.SUCCESS:
            self._counts[entry.job.status] -= 1
            self._counts[JobStatus.RUNNING] += 1
            entry.job.status = JobStatus.RUNNING
        return super()._report(report, now)


class CancelKeepsTheLease(MemoryQueue):
    """fails: test_a_cancel_ends_the_lease, test_a_lease_that_was_ended_can_do_nothing"""

    def _end_delivery(self, entry, event, now, delay_s=None):
        lease = entry.job.lease
        super()._end_delivery(entry, event, now, delay_s)
        if event is Event.FAIL:
            entry.job.lease = lease


class RepeatsAreLost(MemoryQueue):
    """fails:
    test_a_repeated_report_is_silent_and_returns_the_job_as_it_is,
    test_a_settled_report_survives_a_requeue
    """

    def _report(self, report, now):
        answer = super()._report(report, now)
        self._entries[report.job_id].settled = None
        return answer


class SettledByToken(MemoryQueue):
    """fails:
    test_another_status_under_a_settled_lease_is_lost,
    test_the_repeat_of_a_retry_that_exhausted_the_budget_is_silent
    """

    def _report(self, report, now):
        entry = self._entries.get(report.job_id)
        settled = None if entry is None else entry.settled
        if entry is not None and report.lease is not None and settled and settled[0] == report.lease.token:
            return entry.job.copy()
        return super()._report(report, now)


class CountsQuarantine(MemoryQueue):
    """fails: test_an_unreadable_record_is_set_aside_and_the_next_job_delivered"""

    def counts(self):
        counts = super().counts()
        counts[JobStatus.PENDING] += len(self._quarantine)
        return counts


class CountsFiveStates(MemoryQueue):
    """fails: test_counts_are_of_exactly_the_four_states"""

    def counts(self):
        return {**super().counts(), JobStatus.RETRY: 0}


class ListsByText(MemoryQueue):
    """fails: test_stamps_are_compared_as_instants"""

    def _list(self, status, limit):
        jobs = [e.job.copy() for e in self._entries.values() if status in (None, e.job.status)]
        jobs.sort(key=lambda job: (job.enqueued_at, self._entries[job.id].seq), reverse=True)
        return jobs[:limit]


class TiesById(MemoryQueue):
    """fails: test_ties_go_by_later_first_enqueue"""

    def _list(self, status, limit):
        jobs = super()._list(status, 10**9)
        jobs.sort(key=lambda job: (iso_to_us(job.enqueued_at), job.id), reverse=True)
        return jobs[:limit]


class PurgesAtTheHour(MemoryQueue):
    """fails:
    test_a_purge_removes_what_finished_more_than_so_many_hours_ago,
    test_a_purge_takes_the_old_and_leaves_the_young
    """

    def _purge(self, older_than_s):
        return super()._purge(older_than_s - 0.000001)


class PurgesOneSlice(MemoryQueue):
    """fails: test_a_purge_of_more_than_a_slice_removes_all"""

    def _purge(self, older_than_s):
        rest = self._finished[1000:]
        del self._finished[1000:]
        removed = super()._purge(older_than_s)
        self._finished += rest
        return removed


class HandsOutItsOwn(MemoryQueue):
    """fails: test_changing_a_job_that_came_out_changes_nothing"""

    def _get(self, job_id):
        entry = self._entries.get(job_id)
        return entry.job if entry is not None and entry.raw is None else super()._get(job_id)


class KeepsTheCallersJob(MemoryQueue):
    """fails:
    test_changing_a_job_after_it_was_enqueued_changes_nothing,
    test_enqueuing_changes_nothing_of_the_callers_job
    """

    def _enqueue(self, jobs):
        new = super()._enqueue(jobs)
        for job in jobs:
            if job.id in self._entries:
                self._entries[job.id].job = job
        return new


class ChecksNothing(MemoryQueue):
    """fails: test_a_bad_field_is_refused_also_when_it_was_set_later, test_only_a_pending_job_can_be_enqueued"""

    def enqueue(self, job):
        return self._enqueue((job,)) == 1


class BulkOneByOne(MemoryQueue):
    """fails: test_one_bad_job_refuses_the_whole_bulk, test_an_iterator_that_raises_half_way_enqueues_nothing"""

    def enqueue_many(self, jobs):
        return sum(self.enqueue(job) for job in jobs)


class PoisonStopsDequeue(MemoryQueue):
    """fails:
    test_an_unreadable_record_is_set_aside_and_the_next_job_delivered,
    test_many_unreadable_records_stop_nobody
    """

    def _readable(self, entry):
        if not super()._readable(entry):
            raise UnreadableRecord(entry.job.id)
        return True


class DropsUnknownFields(MemoryQueue):
    """fails: test_unknown_fields_survive_a_round_trip"""

    def _readable(self, entry):
        readable = super()._readable(entry)
        entry.job.extra = {}
        return readable


class WorkersNeverLeave(MemoryQueue):
    """fails: test_a_worker_is_gone_after_ten_missed_beats"""

    def workers(self):
        now = to_us(self._read_clock())
        self._workers = {id: (now, info) for id, (_, info) in self._workers.items()}
        return super().workers()


class CursorWithoutCompare(MemoryQueue):
    """fails: test_a_cursor_moves_by_compare_and_set, test_only_one_of_two_clients_moves_a_cursor"""

    def _advance(self, moves):
        return super()._advance([replace(move, expected=self._ticks.get(move.key)) for move in moves])


class ReadyNotCounted(MemoryQueue):
    """fails: test_ready_and_delayed_stay_true_through_an_operators_acts"""

    def _drop_ready(self, priority):
        pass


BROKEN = [cls for cls in list(globals().values()) if isinstance(cls, type) and cls.__module__ == __name__]

SUITE = """
import sys
from orch.testing import QueueContract

class TestBroken(QueueContract):
    capabilities = frozenset({capabilities})
    def make_queue(self, clock):
        return getattr(sys.modules[{module!r}], {name!r})(clock=clock)

for name in dir(TestBroken):
    if name.startswith("test_") and name not in {tests}:
        setattr(TestBroken, name, None)  # not collected, which is what costs time
"""


def run(
    pytester: pytest.Pytester, queue: type[MemoryQueue], *tests: str, capabilities: Any = ALL
) -> dict[str, set[str]]:
    """The names of the tests that passed, failed and were skipped, without their parameters."""
    suite = SUITE.format(module=__name__, name=queue.__name__, tests=tests, capabilities=sorted(capabilities))
    pytester.makepyfile(test_broken=suite)
    pytester.makeini("[pytest]\nmarkers = promise: a promise")
    outcomes = pytester.inline_run(
        "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--tb=no"
    ).listoutcomes()
    return {
        kind: {report.nodeid.split("::")[-1].partition("[")[0] for report in reports}
        for kind, reports in zip(("passed", "skipped", "failed"), outcomes, strict=True)
    }


@pytest.mark.parametrize("queue", BROKEN, ids=lambda cls: cls.__name__)
def test_a_broken_queue_fails_the_sentences_about_it(pytester: pytest.Pytester, queue: type[MemoryQueue]) -> None:
    assert queue.__doc__ is not None
    expected = {name.strip() for name in queue.__doc__.removeprefix("fails:").split(",")}
    assert run(pytester, queue, *sorted(expected))["failed"] == expected


class Whole(MemoryQueue):
    pass


def test_a_queue_that_can_less_skips_by_name_and_fails_nothing(pytester: pytest.Pytester) -> None:
    tests = [
        "test_first_in_first_out",
        "test_higher_priority_goes_first",
        "test_a_delivery_carries_a_lease",
        "test_stats_of_an_empty_queue",
    ]
    outcome = run(pytester, Whole, *tests, capabilities=ALL - {"priority", "stats"})
    assert outcome == {
        "passed": {"test_first_in_first_out", "test_a_delivery_carries_a_lease"},
        "skipped": {"test_higher_priority_goes_first", "test_stats_of_an_empty_queue"},
        "failed": set(),
    }


def test_the_base_class_alone_is_not_collected(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("from orch.testing import QueueContract")
    assert pytester.inline_run("-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest").listoutcomes() == (
        [],
        [],
        [],
    )


def test_each_sentence_names_its_promise_and_stands_once() -> None:
    sentences = [(name, test) for part in QueueContract.__mro__ for name, test in vars(part).items()]
    names = [name for name, _ in sentences if name.startswith("test_")]
    assert len(names) == len(set(names))
    tests = [test for name, test in sentences if name.startswith("test_")]
    assert len(tests) >= 120
    held = {id for test in tests for mark in test.pytestmark if mark.name == "promise" for id in mark.args}
    assert all(any(mark.name == "promise" for mark in test.pytestmark) for test in tests)
    assert held >= {f"Q{n}" for n in range(1, 15)}


def test_a_capability_that_does_not_exist_cannot_be_needed() -> None:
    with pytest.raises(AssertionError, match="flying"):
        needs("flying")
    assert set(CAPABILITIES) == ALL
