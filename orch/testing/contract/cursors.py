"""S2: cursors of schedules move by compare-and-set."""

from __future__ import annotations

import pytest

from orch.errors import (
    InvalidInput,
)
from orch.job import CursorMove
from orch.queue import PersistentQueue
from orch.testing.contract.base import (
    Contract,
    at,
    needs,
    promise,
)


class Cursors(Contract):
    """Sentences about S2."""

    @promise("S2")
    @needs("cursors")
    def test_a_cursor_moves_by_compare_and_set(self, queue: PersistentQueue) -> None:
        assert queue.schedule_cursor("k") is None
        assert queue.advance_schedule("k", at(0), at(60)) is False
        assert queue.schedule_cursor("k") is None
        assert queue.advance_schedule("k", None, at(60)) is True
        assert queue.schedule_cursor("k") == at(60)
        assert queue.advance_schedule("k", None, at(120)) is False
        assert queue.advance_schedule("k", at(0), at(120)) is False
        assert queue.schedule_cursor("k") == at(60)
        assert queue.advance_schedule("k", at(60), at(120)) is True
        assert queue.schedule_cursor("k") == at(120)

    @promise("S2", "Q8")
    @needs("cursors")
    def test_a_repeated_advance_has_the_effect_of_once(self, queue: PersistentQueue) -> None:
        assert [queue.advance_schedule("k", None, at(60)), queue.advance_schedule("k", None, at(60))] == [True, False]
        assert queue.schedule_cursor("k") == at(60)

    @promise("S2")
    @needs("cursors")
    def test_cursors_do_not_know_each_other(self, queue: PersistentQueue) -> None:
        keys = ["k", "K", "k ", "a|* * * * *|Europe/London", "日本", "x" * 1024]
        for n, key in enumerate(keys):
            assert queue.advance_schedule(key, None, at(n)) is True
        assert [queue.schedule_cursor(key) for key in keys] == [at(n) for n in range(len(keys))]

    @promise("S2")
    @needs("cursors")
    def test_many_cursors_move_each_by_itself_and_in_order(self, queue: PersistentQueue) -> None:
        queue.advance_schedule("b", None, at(0))
        moves = [CursorMove("a", None, at(60)), CursorMove("b", None, at(60)), CursorMove("a", at(60), at(120))]
        assert queue.advance_schedules(moves) == [True, False, True]
        assert queue.schedule_cursors(["b", "none", "a", "b"]) == [at(0), None, at(120), at(0)]
        assert not queue.advance_schedules([])
        assert not queue.schedule_cursors([])

    @promise("Q12", "S2")
    @needs("refusal", "cursors")
    def test_a_bad_move_among_good_ones_moves_none(self, queue: PersistentQueue) -> None:
        with pytest.raises(InvalidInput, match="noon"):
            queue.advance_schedules([CursorMove("a", None, at(60)), CursorMove("b", None, "noon")])
        assert queue.schedule_cursors(["a", "b"]) == [None, None]

    @promise("S2")
    @needs("cursors")
    def test_only_one_of_two_clients_moves_a_cursor(self, queue: PersistentQueue) -> None:
        other = self._second(queue)
        queue.advance_schedule("k", None, at(0))
        assert [queue.advance_schedule("k", at(0), at(60)), other.advance_schedule("k", at(0), at(60))] == [True, False]
