"""What sinks take of workers is what they take of themselves: Kafka's, files', ZooKeeper's, and functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from operator import methodcaller
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pytest
import sqlalchemy as sa

from kafka_stream.batch import Batch
from kafka_stream.errors import FailedElsewhere, ProcessingError, RecordError
from kafka_stream.protocols import Sink
from kafka_stream.sinks.files import FileSink
from kafka_stream.sinks.kafka import KafkaSink
from kafka_stream.sinks.sql import Deduplicate, SqlSink
from kafka_stream.sinks.zookeeper import Create, Delete, Put, Remove, Set, ZooKeeperSink
from kafka_stream.testing import message
from kafka_stream.testing.sink_backend import batch_from
from kafka_stream.types import OffsetRange, Owner, TopicPartition
from kafka_stream.user_code import FunctionSink
from tests.elsewhere import pieces_of, prepared_elsewhere

TP = TopicPartition("orders", 0)


class Pair(NamedTuple):
    key: str
    value: bytes


class Recorder:
    """A transaction that only remembers what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        def ask(*args: Any, **fields: Any) -> None:
            self.asked.append((name, *args, {it: value for it, value in fields.items() if value is not None}))

        return ask


def records(number: int = 6) -> Batch:
    """Records with all that a record may have."""
    messages = [
        message(
            json.dumps({"number": it}).encode() if it % 4 != 3 else None,
            key=f"k{it}" if it % 3 else None,
            headers=[("h", b"x"), ("h", b"")] if it % 2 else None,
            topic=TP.topic,
            partition=TP.partition,
            offset=it,
        )
        for it in range(number)
    ]
    return Batch((OffsetRange(TP, 0, number),), {TP: messages})


def asked_of(sink: Sink, values: Iterable[Any]) -> list[Any]:
    transaction = Recorder()
    for value in values:
        sink.write(value, transaction)
    return transaction.asked


def messages_of(batch: Batch) -> Iterator[Any]:
    """Each shape, of each record."""
    for m in batch:
        yield m
        yield Pair("a", b"1")
        yield (m.key(), m.value())
        yield {"value": m.value(), "key": "d", "partition": 2, "headers": {"h": b"x"}, "topic": "others"}
        yield b"bare"
        yield "text"


def as_it_is(prepared: Any) -> Any:
    return prepared


def operations_of(batch: Batch) -> Iterator[Any]:
    for m in batch:
        yield Put("/latest", m.value() or b"")
        yield Create(f"/all/{m.offset()}", b"x")
        yield Set(f"/all/{m.offset()}", b"y", 0)
        yield Remove("/old")
        yield Delete(f"/all/{m.offset()}", 1)


@pytest.mark.parametrize(
    "sink", [KafkaSink("enriched", messages_of), KafkaSink("copied", as_it_is)], ids=["all shapes", "messages"]
)
def test_a_topic_gets_the_same_records(sink: KafkaSink) -> None:
    batch = records()
    expected = asked_of(sink, [sink.prepare(batch)])
    assert asked_of(sink, [prepared_elsewhere(sink, batch)]) == expected
    assert asked_of(sink, [prepared_elsewhere(sink, piece) for piece in pieces_of(batch)]) == expected


def test_no_message_travels_for_a_topic() -> None:
    ((kind, run),) = prepared_elsewhere(KafkaSink("copied", as_it_is), records())
    assert {type(it) for it in run} == {tuple}
    assert kind is not tuple


def test_zookeeper_gets_the_same_operations() -> None:
    sink, batch = ZooKeeperSink(operations_of), records()
    whole = asked_of(sink, [sink.prepare(batch)])
    assert asked_of(sink, [prepared_elsewhere(sink, batch)]) == whole
    in_pieces = [sink.prepare(piece) for piece in pieces_of(batch)]
    found = asked_of(sink, [prepared_elsewhere(sink, piece) for piece in pieces_of(batch)])
    assert found == asked_of(sink, in_pieces)


def rows_of(batch: Batch) -> list[dict[str, Any]]:
    return [{"offset": m.offset(), "value": (m.value() or b"").decode()} for m in batch]


def tables_of(batch: Batch) -> pa.Table:
    return pa.Table.from_pylist(rows_of(batch))


@pytest.mark.parametrize(
    ("format_", "schema", "to_rows"),
    [
        ("jsonl", None, rows_of),
        ("parquet", None, rows_of),
        ("parquet", pa.schema([("offset", pa.int32()), ("value", pa.string())]), rows_of),
        ("parquet", None, tables_of),
    ],
)
def test_files_have_the_same_bytes(
    tmp_path: Path, format_: Literal["jsonl", "parquet"], schema: Any, to_rows: Any
) -> None:
    batch, files = records(), dict[str, dict[str, bytes]]()
    for name in ("here", "elsewhere"):
        sink = FileSink(tmp_path / name, to_rows, format_, schema=schema)
        sink.take_over("orders", Owner("a", "host"), [TP])
        content = sink.prepare(batch) if name == "here" else prepared_elsewhere(sink, batch)
        sink.write({batch.ranges[0]: content}, None)
        files[name] = {path.name: path.read_bytes() for path in (tmp_path / name).glob(f"*.{format_}")}
    assert files["here"] == files["elsewhere"] != {}


def test_a_function_stays_where_the_transaction_is() -> None:
    batch, seen = records(), []
    sink = FunctionSink(lambda prepared, transaction: seen.append([m.offset() for m in prepared]))
    for piece in pieces_of(batch):
        sink.write(prepared_elsewhere(sink, piece), None)
    assert seen == [[0, 1, 2], [3, 4, 5]]


def test_a_record_that_is_rejected_of_a_batch_from_elsewhere_is_not_lost_silently() -> None:
    batch = records().for_attempt()
    (sent,) = [prepared_elsewhere(FunctionSink(print), batch)]
    assert [m.offset() for m in sent] == [m.offset() for m in batch]
    with pytest.raises(RecordError, match="no price"):
        sent.reject(sent.messages[0], "no price")
    assert list(sent.rejected) == list(batch.rejected) == []


def test_an_error_of_the_users_code_comes_back() -> None:
    with pytest.raises(ProcessingError, match="row 0 is a int"):
        prepared_elsewhere(FileSink("x", numbers_as_rows), batch_from([1]))


def numbers_as_rows(batch: Batch) -> list[int]:
    return [1]


SEEN = sa.Table("seen_numbers", sa.MetaData(), sa.Column("offset", sa.Integer, primary_key=True))


def rejecting(batch: Batch) -> list[Any]:
    batch.reject(batch.messages[0], "no price")
    return []


def failing(batch: Batch) -> list[Any]:
    return [{"offset": 1 // 0}]


def deduplicated(to_rows: Any) -> Sink:
    return Deduplicate(methodcaller("key"), "1 hour").before([SqlSink(SEEN, to_rows)])


def keyed() -> Batch:
    messages = [message(b"", key="a", topic=TP.topic, partition=0, offset=it, timestamp_ms=1) for it in range(3)]
    return Batch((OffsetRange(TP, 0, 3),), {TP: messages}).for_attempt()


def test_a_record_that_is_rejected_behind_a_deduplicate_is_rejected_where_that_counts() -> None:
    with pytest.raises(FailedElsewhere, match="rejected behind Deduplicate 'deduplicate'"):
        prepared_elsewhere(deduplicated(rejecting), keyed())


def test_what_fails_behind_a_deduplicate_comes_back_with_its_traceback() -> None:
    failure = prepared_elsewhere(deduplicated(failing), keyed()).behind.failure
    assert isinstance(failure, FailedElsewhere)
    assert "ZeroDivisionError" in str(failure.__cause__)
    assert "in failing" in str(failure.__cause__)
