"""What ``Deduplicate`` refuses: keys and times that are none, and streams that cannot work. And what it may forget."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kafka_stream import DirectStream, RecordError
from kafka_stream.errors import ConfigurationError
from kafka_stream.sinks.files import FileSink
from kafka_stream.sinks.sql import Deduplicate
from kafka_stream.sinks.sql.deduplication.forgetting import Progress, horizon_us
from kafka_stream.testing import MemoryKafka, batch_of, message
from kafka_stream.user_code import FunctionSink


def none_of(_: Any, __: Any) -> None:
    raise NotImplementedError


async def async_key(_: Any) -> int:
    raise NotImplementedError


# Keys and times that are none


NO_KEYS = [
    None,
    1.5,
    [1],
    {"a": 1},
    (1, None),
    (1, (2.0,)),
    datetime(2026, 1, 1, tzinfo=UTC),
    bytearray(b"a"),
    object(),
]


@pytest.mark.parametrize("key", NO_KEYS)
def test_what_is_no_key_is_the_records_fault(key: Any) -> None:
    sink: Any = Deduplicate(lambda _: key, "1 hour").before([FunctionSink(none_of)])
    with pytest.raises(RecordError, match=r"topic\[0\]@0: its key is .*; a key is bytes, str, int"):
        sink.prepare(batch_of([message(b"", timestamp_ms=0)]))


@pytest.mark.parametrize(
    ("time", "why"),
    [
        (lambda _: datetime(2026, 1, 1), "no zone"),
        (lambda _: 5, "its time is a int"),
        (lambda _: None, "its time is a NoneType"),
        (lambda _: 1 / 0, "could not be made"),
        (None, "it has no timestamp"),
    ],
)
def test_what_is_no_time_is_the_records_fault(time: Any, why: str) -> None:
    sink: Any = Deduplicate(lambda _: 1, "1 hour", time=time).before([FunctionSink(none_of)])
    with pytest.raises(RecordError, match=why):
        sink.prepare(batch_of([message(b"")]))


def test_a_key_that_cannot_be_made_and_a_time_beyond_all_calendars_are_the_records_fault() -> None:
    sink: Any = Deduplicate(lambda record: record["x"], "1 hour").before([FunctionSink(none_of)])
    with pytest.raises(RecordError, match="its key could not be made") as raised:
        sink.prepare(batch_of([message(b"", timestamp_ms=0)]))
    assert isinstance(raised.value.__cause__, TypeError)
    sink = Deduplicate(lambda _: uuid.UUID(int=1), "1 hour").before([FunctionSink(none_of)])
    with pytest.raises(RecordError, match=r"topic\[0\]@1: its timestamp lies beyond all calendars"):
        sink.prepare(batch_of([message(b"", timestamp_ms=0), message(b"", offset=1, timestamp_ms=2**62)]))


# What is refused when a stream is built


REFUSED: dict[str, tuple[Any, str]] = {
    "alone": (lambda folder: Deduplicate(len, "1 hour"), "has no sink behind it"),
    "last": (lambda folder: [none_of, Deduplicate(len, "1 hour")], "has no sink behind it"),
    "files behind it": (
        lambda folder: [Deduplicate(len, "1 hour"), FileSink(folder, list)],
        "cannot be behind Deduplicate 'deduplicate'",
    ),
    "two of one name": (
        lambda folder: [Deduplicate(len, "1 hour"), Deduplicate(len, "1 day"), none_of],
        "two sinks of the list keep their state as 'deduplicate'",
    ),
    "no length of time": (lambda folder: [Deduplicate(len, "an hour"), none_of], "no length of time"),
    "nothing": (lambda folder: [Deduplicate(len, timedelta()), none_of], "longer than nothing"),
    "no function": (lambda folder: [Deduplicate("id", "1 hour"), none_of], "not a function of"),  # type: ignore[arg-type]
    "an async key": (lambda folder: [Deduplicate(async_key, "1 hour"), none_of], "an async function"),
    "no name": (lambda folder: [Deduplicate(len, "1 hour", name=""), none_of], "name=''"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_work_is_refused_when_the_stream_is_built(tmp_path: Path, what: str) -> None:
    make, why = REFUSED[what]
    with pytest.raises(ConfigurationError, match=why):
        DirectStream(name="orders", topics=["orders"], kafka=MemoryKafka(), store="sqlite:///x.db", sink=make(tmp_path))


def test_it_is_refused_with_a_store_that_is_no_database() -> None:
    with pytest.raises(ConfigurationError, match="writes through an SQL transaction"):
        DirectStream(
            name="orders",
            topics=["orders"],
            kafka=MemoryKafka(),
            store="zookeeper://localhost",
            sink=[Deduplicate(len, "1 hour"), none_of],
        )


# What may be forgotten


HOUR_US = 3_600_000_000
IDLE = True


@pytest.mark.parametrize(
    ("partitions", "expected"),
    [
        ([(10, not IDLE), (20, not IDLE)], 8),
        ([(10, IDLE), (20, not IDLE)], 18),
        ([(10, not IDLE), (None, not IDLE)], None),  # one had no record yet, and is waited for
        ([(10, not IDLE), (None, IDLE)], 8),
        ([(10, not IDLE), None], None),
        ([(10, IDLE)], None),
        ([], None),
    ],
)
def test_what_can_be_forgotten_lies_behind_all_partitions_that_are_not_idle(
    partitions: list[Any], expected: int | None
) -> None:
    given = [None if it is None else Progress(it[0] and it[0] * HOUR_US, it[1]) for it in partitions]
    assert horizon_us(given, HOUR_US) == (None if expected is None else expected * HOUR_US)
