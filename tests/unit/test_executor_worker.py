"""A task on a worker: its slices piece by piece, what they come to, and how it fails."""

from __future__ import annotations

import pickle
from collections.abc import Generator, Sequence
from typing import Any, cast

import pytest
from confluent_kafka import Message

from kafka_stream.errors import BrokerUnavailable, CauseElsewhere, ConfigurationError, FailedElsewhere
from kafka_stream.executors.pieces import Piece, PieceCutter
from kafka_stream.executors.slice_reader import SliceReader
from kafka_stream.executors.worker import outcome_of
from kafka_stream.protocols.executors import Outcome, Slice, Work
from kafka_stream.source.buffer import count_before
from kafka_stream.testing import message
from kafka_stream.types import OffsetRange
from tests import executor_work
from tests.executor_work import work_of
from tests.fakes import ORDERS_0, ORDERS_1, record


class Log:
    """Two partitions in memory, and which of their slices were left open."""

    def __init__(self, records: Sequence[Message], error: Exception | None = None) -> None:
        self.records = records
        self.error = error
        self.open = 0

    def read(self, part: Slice, piece_bytes: int | None) -> Generator[Piece]:
        self.open += 1
        try:
            cutter = PieceCutter(part.range, piece_bytes)
            found = [m for m in self.records if m.partition() == part.range.partition]
            begin = count_before(found, part.range.from_offset, len(found))
            yield from cutter.add(found[begin : count_before(found, part.range.until_offset, len(found))])
            if self.error is not None:
                raise self.error
            yield from cutter.finish()
        finally:
            self.open -= 1


LOG = [record(0, b"a"), record(3, b"bb"), record(4, b"ccc"), record(2, b"x", partition=1)]


def done(work: Work, *ranges: OffsetRange, log: Log | None = None) -> Outcome:
    return outcome_of(work, [Slice(r) for r in ranges], cast("SliceReader", log or Log(LOG)))


def test_an_outcome_is_of_each_slice() -> None:
    outcome = done(work_of(executor_work.values), OffsetRange(ORDERS_0, 0, 4), OffsetRange(ORDERS_1, 0, 9))
    assert pickle.loads(outcome.values) == [[[b"a", b"bb"]], [[b"x"]]]
    assert (outcome.records, outcome.value_bytes, outcome.leader_epochs) == ([2, 1], [3, 1], [None, None])


def test_a_slice_without_records_has_no_pieces() -> None:
    outcome = done(work_of(executor_work.failing), OffsetRange(ORDERS_0, 1, 3))
    assert (pickle.loads(outcome.values), outcome.records, outcome.value_bytes) == ([], [0], [0])


def test_each_sink_has_its_value_of_each_piece() -> None:
    outcome = done(work_of(executor_work.values, sinks=2, piece_bytes=150), OffsetRange(ORDERS_0, 0, 9))
    assert pickle.loads(outcome.values) == [[[value], [value]] for value in (b"a", b"bb", b"ccc")]


def test_a_sink_that_keeps_whole_ranges_has_the_whole_slice() -> None:
    whole = OffsetRange(ORDERS_0, 0, 9)
    outcome = done(work_of(executor_work.values, by_range=True, piece_bytes=1), whole)
    assert pickle.loads(outcome.values) == [[{whole: [b"a", b"bb", b"ccc"]}]]


def test_without_prepare_a_piece_is_a_batch() -> None:
    (piece,) = pickle.loads(done(work_of(None), OffsetRange(ORDERS_0, 0, 9)).values)
    assert piece[0].ranges == (OffsetRange(ORDERS_0, 0, 9),)
    assert executor_work.values(piece[0]) == [b"a", b"bb", b"ccc"]


def test_an_async_prepare_is_run() -> None:
    outcome = done(work_of(executor_work.values_later), OffsetRange(ORDERS_1, 0, 9))
    assert pickle.loads(outcome.values) == [[[b"x"]]]


@pytest.mark.parametrize(("until", "epoch"), [(5, 7), (6, None)])
def test_the_leader_epoch_is_that_of_a_record_right_before_the_end(until: int, epoch: int | None) -> None:
    log = Log([message(b"a", topic="orders", offset=4, leader_epoch=7)])
    outcome = done(work_of(executor_work.values), OffsetRange(ORDERS_0, 0, until), log=log)
    assert outcome.leader_epochs == [epoch]


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (executor_work.failing, r"on orders\[0\] \[0, 9\), of stream 'orders': ValueError: no such price"),
        (executor_work.failing_at_a_record, r"RecordError: record orders\[0\]@0: no such price"),
        (executor_work.exiting, r"SystemExit: 3"),
        (executor_work.rejecting, r"prepare rejected 1 records .* on orders\[0\] \[0, 9\)"),
    ],
)
def test_user_code_that_fails_says_how_and_where(prepare: Any, says: str) -> None:
    log = Log(LOG)
    with pytest.raises(FailedElsewhere, match=says):
        done(work_of(prepare), OffsetRange(ORDERS_0, 0, 9), log=log)
    assert log.open == 0


def test_the_traceback_of_user_code_travels_with_its_failure() -> None:
    with pytest.raises(FailedElsewhere) as failed:
        done(work_of(executor_work.failing), OffsetRange(ORDERS_0, 0, 9))
    cause = pickle.loads(pickle.dumps(failed.value)).__cause__
    assert isinstance(cause, CauseElsewhere)
    assert "executor_work.py" in str(cause)
    assert "ValueError: no such price" in str(cause)


@pytest.mark.parametrize(
    ("prepare", "kind"), [(executor_work.locks, r"_thread\.lock"), (executor_work.lazily, "generator")]
)
def test_results_that_cannot_be_sent_are_refused(prepare: Any, kind: str) -> None:
    with pytest.raises(ConfigurationError, match=f"stream 'orders' gives cannot be sent back from a worker: .*{kind}"):
        done(work_of(prepare), OffsetRange(ORDERS_0, 0, 9))


def test_what_reading_fails_with_comes_through() -> None:
    error = BrokerUnavailable("no answer")
    log = Log(LOG, error)
    with pytest.raises(BrokerUnavailable) as failed:
        done(work_of(executor_work.values), OffsetRange(ORDERS_0, 0, 9), log=log)
    assert failed.value is error
    assert log.open == 0
