"""What ``KafkaSender`` makes of its producer's fate, without a broker: when it may go on, and when another one does."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from kafka_stream.admin.dead_letters.kafka_sender import KafkaSender, replay_group
from kafka_stream.admin.dead_letters.sending import Cursor, Record
from kafka_stream.errors import CommandRefused, CommitOutcomeUnknown, ProcessingError, StoreUnavailable
from kafka_stream.offset_stores.kafka.producer import Fenced, OutcomeUnknown, TransactionalProducer
from kafka_stream.protocols import Payload
from kafka_stream.types import TopicPartition

AT = TopicPartition("orders", 0)
FENCED = KafkaException(KafkaError(KafkaError._FENCED))


class FakeProducer:
    """Fails where it is told to; remembers what it was asked."""

    timeout_s = 45.0

    def __init__(self, failure: Exception | None, fails_at: str, age_s: float) -> None:
        self.failure = failure
        self.fails_at = fails_at
        self.age_s = age_s
        self.done: list[Any] = []

    def _do(self, what: str, *more: Any) -> None:
        self.done.append((what, *more) if more else what)
        if self.failure is not None and what == self.fails_at:
            raise self.failure

    def begin(self) -> None:
        self._do("begin")

    def produce(self, *record: Any) -> None:
        self._do("produce", *record)

    def flush(self) -> None:
        self._do("flush")

    def send_offsets(self, offsets: Any, _: Any) -> None:
        (only,) = offsets
        self._do("send_offsets", only.topic, only.partition, only.offset, only.metadata)

    def commit(self) -> None:
        self._do("commit")

    commit_offsets = TransactionalProducer.commit_offsets

    def abort(self) -> None:
        self.done.append("abort")

    def end(self, _: float) -> None:
        self.done.append("end")


class FakeAccess:
    """Gives one producer, and what a group keeps."""

    where = "group 'orders.replay' at here"

    def __init__(self, producer: FakeProducer | Fenced, noted: tuple[int, str] | None = None) -> None:
        self._producer = producer
        self._noted = noted

    def producer(self, transactional_id: str) -> FakeProducer:
        assert transactional_id == "orders.replay"
        if isinstance(self._producer, Fenced):
            raise self._producer
        return self._producer

    def group(self, group_id: str) -> Any:
        assert group_id == "orders.replay"
        return SimpleNamespace(nobody=None, noted=lambda _: self._noted)


def sender(access: FakeAccess) -> KafkaSender:
    kafka: Mapping[str, Any] = {"bootstrap.servers": "here:9092"}
    cluster: Any = SimpleNamespace(servers="here:9092")
    made = KafkaSender(cluster, kafka, "orders")
    made._access = access  # type: ignore[assignment]
    return made


def send(producer: FakeProducer) -> None:
    made = sender(FakeAccess(producer))
    made.take_over(AT)
    record = Record("orders", 1, Payload(b"k", b"v", (("h", None),), 1_234))
    made.send([record], Cursor("r1", 1), AT, lambda: producer.done.append("before commit"))


@pytest.mark.parametrize(
    ("noted", "cursor"),
    [
        (None, None),
        ((7, "r1"), Cursor("r1", 7)),
        ((7, "r1 abandoned"), Cursor("r1", 7, abandoned=True)),
        ((7, ""), Cursor("", 7)),
    ],
)
def test_the_cursor_is_what_the_group_has(noted: tuple[int, str] | None, cursor: Cursor | None) -> None:
    assert sender(FakeAccess(FakeProducer(None, "", 0), noted)).take_over(AT) == cursor


def test_a_transaction_has_records_and_cursor() -> None:
    producer = FakeProducer(None, "", 0)
    send(producer)
    assert producer.done == [
        "begin",
        ("produce", "orders", b"v", b"k", [("h", None)], 1, 1_234),
        "flush",
        ("send_offsets", "orders", 0, 1, "r1"),
        "before commit",
        "commit",
    ]


def _unknown(cause: Exception | None) -> OutcomeUnknown:
    error = OutcomeUnknown("no answer")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("failure", "fails_at", "age_s", "raised"),
    [
        (Fenced("taken over"), "flush", 1.0, CommandRefused),
        (Fenced("too late"), "flush", 46.0, StoreUnavailable),
        (_unknown(FENCED), "commit", 1.0, CommandRefused),
        (_unknown(FENCED), "commit", 46.0, CommitOutcomeUnknown),
        (_unknown(None), "commit", 1.0, CommitOutcomeUnknown),
        (StoreUnavailable("away"), "begin", 0.0, StoreUnavailable),
        (ProcessingError("too large"), "flush", 0.0, ProcessingError),
    ],
)
def test_a_failure_says_whether_to_go_on(
    failure: Exception, fails_at: str, age_s: float, raised: type[Exception]
) -> None:
    producer = FakeProducer(failure, fails_at, age_s)
    with pytest.raises(raised) as told:
        send(producer)
    assert (producer.done[-1] == "abort") == (fails_at != "begin")
    if raised is CommandRefused:
        assert "another command has taken over the replays of group 'orders.replay' at here" in str(told.value)


def test_who_loses_the_race_for_the_id_stops() -> None:
    with pytest.raises(CommandRefused, match="another command has taken over"):
        sender(FakeAccess(Fenced("came in between"))).take_over(AT)


def test_the_group_is_the_streams_with_an_ending() -> None:
    assert replay_group("orders") == "orders.replay"
