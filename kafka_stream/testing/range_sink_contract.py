"""What a sink by range adds to the promise of ``protocols.Sink``: ``protocols.RangeSink`` as tests (needs pytest).

Subclass ``RangeSinkContract`` and define the fixture ``range_backend``.
"""
# ruff: noqa: D102 - a test's name says what it shows

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import suppress

import pytest

from kafka_stream.errors import OwnershipLost, TransientError
from kafka_stream.protocols import RangeSink
from kafka_stream.testing.sink_backend import (
    NEWER,
    OLDER,
    P0,
    P1,
    P2,
    STREAM,
    RangeSinkBackend,
    batch_from,
    merged,
    prepared_for,
    write_and_commit,
)
from kafka_stream.testing.sink_contract import SinkContract
from kafka_stream.testing.store_backend import at_once
from kafka_stream.types import MAX_OFFSET, OffsetRange, Owner, TopicPartition, Writes


class _TakenOver:
    """The backend, but its sinks have taken partitions over before they are written to, each as another owner."""

    def __init__(self, backend: RangeSinkBackend) -> None:
        self._backend = backend
        self.transaction, self.commit = backend.transaction, backend.commit
        self.results, self.secrets = backend.results, backend.secrets
        self.leave_unfinished, self.unfinished = backend.leave_unfinished, backend.unfinished

        self._numbers = itertools.count()

    def sink(self, partitions: Sequence[TopicPartition] = (P0, P1, P2), owner: Owner | None = None) -> RangeSink:
        sink = self._backend.sink()
        take_over(sink, owner or Owner(f"owner-{next(self._numbers)}", "host-a"), partitions)
        return sink


def take_over(sink: RangeSink, owner: Owner, partitions: Sequence[TopicPartition]) -> None:
    """Take over as the loop does, which tries again."""
    for _ in range(100):
        try:
            return sink.take_over(STREAM, owner, partitions)
        except TransientError as error:
            busy = error
    raise busy


class RangeSinkContract(SinkContract):
    """Writing a range again replaces what was written of it, whoever does it, and what is written is durable."""

    @pytest.fixture
    def range_backend(self) -> RangeSinkBackend:
        """The sink under test; subclasses define it."""
        raise NotImplementedError

    @pytest.fixture
    def backend(self, range_backend: RangeSinkBackend) -> _TakenOver:
        """The same, of owners that have taken over."""
        return _TakenOver(range_backend)

    def test_it_is_a_sink_by_range(self, sink: RangeSink) -> None:
        assert isinstance(sink, RangeSink)
        assert sink.writes is Writes.IDEMPOTENT_BY_RANGE
        assert sink.needs is None

    # A range again --------------------------------------------------------------------------------------------------

    def test_a_repeat_replaces_what_was_written(self, backend: _TakenOver, sink: RangeSink) -> None:
        write_and_commit(backend, sink, batch_from([1, 2]), batch_from([3, 4], from_offset=2))
        for _ in range(2):
            write_and_commit(backend, sink, batch_from([3, 4], from_offset=2))
        write_and_commit(backend, sink, batch_from([1, 2]))
        assert backend.results() == [1, 2, 3, 4]

    def test_a_successors_repeat_replaces_what_other_code_gave(self, backend: _TakenOver, sink: RangeSink) -> None:
        write_and_commit(backend, sink, batch_from([1, 2, 3]), batch_from([4, 5], P1))
        write_and_commit(backend, backend.sink(), batch_from([10, 20, None]))
        assert sorted(backend.results()) == [4, 5, 10, 20]

    def test_a_repeat_without_results_removes_the_earlier_ones(self, backend: _TakenOver, sink: RangeSink) -> None:
        write_and_commit(backend, sink, batch_from([1, 2]), batch_from([3], from_offset=2))
        write_and_commit(backend, backend.sink(), batch_from([None, None]))
        assert backend.results() == [3]

    def test_what_was_written_is_seen_without_a_commit_and_repeated_after_a_rollback(
        self, backend: _TakenOver, sink: RangeSink
    ) -> None:
        batch = merged(batch_from([1, 2]), batch_from([3], P1))
        for _ in range(2):
            with backend.transaction() as transaction:
                sink.write(prepared_for(sink, batch), transaction)
            assert sorted(backend.results()) == [1, 2, 3]
        write_and_commit(backend, backend.sink(), batch)
        assert sorted(backend.results()) == [1, 2, 3]

    # Ranges ---------------------------------------------------------------------------------------------------------

    def test_ranges_are_in_the_order_of_their_offsets(self, backend: _TakenOver, sink: RangeSink) -> None:
        offsets = [100, 9, MAX_OFFSET - 1, 0, 10, 2**31, 99, 2**53 + 1]
        for offset in offsets:
            write_and_commit(backend, sink, batch_from([offset], from_offset=offset))
        assert backend.results() == sorted(offsets)

    @pytest.mark.parametrize("name", ["a.b-c_D", "_a", ".a", "-a", "a-00000", "a" * 150])
    def test_topics_and_partitions_are_told_apart(self, backend: _TakenOver, name: str) -> None:
        partitions = [
            TopicPartition(topic, number) for topic in ("a", name, f"{name}-1", f"{name}.1") for number in (0, 1, 11)
        ]
        sink = backend.sink(partitions=partitions)
        write_and_commit(backend, sink, merged(*(batch_from([n], tp, 11) for n, tp in enumerate(partitions))))
        assert sorted(backend.results()) == list(range(len(partitions)))
        sink.discard(OffsetRange(partitions[4], 11, 12))
        assert sorted(backend.results()) == [n for n in range(len(partitions)) if n != 4]

    # Owners ---------------------------------------------------------------------------------------------------------

    def test_a_takeover_may_be_repeated_and_leaves_finished_ranges_alone(
        self, backend: _TakenOver, sink: RangeSink
    ) -> None:
        write_and_commit(backend, sink, batch_from([1, 2]), batch_from([3], P1))
        for owner in (OLDER, NEWER, NEWER):
            sink.take_over(STREAM, owner, [P0])
            sink.take_over(STREAM, owner, [P1, P2])
            sink.take_over(STREAM, owner, [])
        assert sorted(backend.results()) == [1, 2, 3]
        write_and_commit(backend, sink, batch_from([4], from_offset=2))
        assert sorted(backend.results()) == [1, 2, 3, 4]

    def test_what_older_owners_left_unfinished_is_no_result_and_is_removed_of_what_is_taken_over(
        self, backend: _TakenOver
    ) -> None:
        backend.sink(owner=OLDER)
        for tp in (P0, P1):
            backend.leave_unfinished(OLDER, OffsetRange(tp, 0, 3))
        assert backend.results() == []
        successor = backend.sink([P0], NEWER)
        assert set(backend.unfinished()) == {P1}, "others' are left alone: their owner may be at work"
        write_and_commit(backend, successor, batch_from([1, 2, 3]))
        assert backend.results() == [1, 2, 3]
        assert set(backend.unfinished()) == {P1}

    def test_an_owner_may_take_over_again_after_another(self, backend: _TakenOver) -> None:
        first, second = backend.sink(owner=OLDER), backend.sink()
        write_and_commit(backend, second, batch_from([1]))
        first.take_over(STREAM, OLDER, [P0])
        write_and_commit(backend, first, batch_from([2], from_offset=1))
        assert backend.results() == [1, 2]

    def test_an_owner_that_wakes_up_late_changes_nothing_or_writes_the_same_again(
        self, backend: _TakenOver, sink: RangeSink
    ) -> None:
        batch = batch_from([1, 2, 3])
        prepared = prepared_for(sink, batch)
        write_and_commit(backend, backend.sink(), batch)
        with backend.transaction() as transaction, suppress(OwnershipLost, TransientError):
            sink.write(prepared, transaction)
        assert backend.results() == [1, 2, 3]

    def test_an_owner_that_lost_some_partitions_writes_on_the_others(
        self, backend: _TakenOver, sink: RangeSink
    ) -> None:
        successor = backend.sink([P1])
        write_and_commit(backend, sink, batch_from([1, 2]))
        write_and_commit(backend, successor, batch_from([3], P1))
        assert sorted(backend.results()) == [1, 2, 3]

    def test_two_owners_that_write_the_same_ranges_at_once_leave_them_once(self, backend: _TakenOver) -> None:
        batches = [batch_from(range(n, n + 10), from_offset=n) for n in range(0, 100, 10)]

        def write_all() -> None:
            sink = backend.sink()
            for batch in batches * 2:
                with suppress(OwnershipLost, TransientError):
                    sink.write(prepared_for(sink, batch), None)

        at_once([write_all, write_all])
        write_and_commit(backend, backend.sink(), *batches)
        assert backend.results() == list(range(100))

    # Discarding -----------------------------------------------------------------------------------------------------

    def test_a_discarded_range_is_gone_and_nothing_else(self, backend: _TakenOver, sink: RangeSink) -> None:
        write_and_commit(backend, sink, batch_from([1, 2]), batch_from([3], from_offset=2), batch_from([4], P1))
        for _ in range(2):
            sink.discard(OffsetRange(P0, 2, 3))
            assert sorted(backend.results()) == [1, 2, 4]
        write_and_commit(backend, sink, batch_from([5, 6], from_offset=2))
        assert sorted(backend.results()) == [1, 2, 4, 5, 6]

    def test_what_was_never_written_may_be_discarded(self, backend: _TakenOver, sink: RangeSink) -> None:
        sink.discard(OffsetRange(P0, 0, 3))
        write_and_commit(backend, sink, batch_from([1, 2, 3]))
        assert backend.results() == [1, 2, 3]

    def test_what_was_begun_is_discarded_too(self, backend: _TakenOver, sink: RangeSink) -> None:
        backend.leave_unfinished(OLDER, OffsetRange(P0, 0, 3))
        successor = backend.sink()
        successor.discard(OffsetRange(P0, 0, 3))
        assert list(backend.unfinished()) == []
        write_and_commit(backend, successor, batch_from([7]))
        assert backend.results() == [7]


__all__ = ["RangeSinkContract"]
