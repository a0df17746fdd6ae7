"""What a reader of slices makes of a consumer's errors and events; a broker would have to be broken to give some."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from kafka_stream.errors import (
    BrokerUnavailable,
    ConfigurationError,
    KafkaStreamError,
    NotAuthorized,
    RecordTooLarge,
    TopicNotFound,
)
from kafka_stream.executors.partition_reader import slice_settings
from kafka_stream.executors.slice_reader import SliceReader
from kafka_stream.protocols.executors import PositionGone, Slice
from kafka_stream.types import OffsetRange
from tests.fakes import ORDERS_0, record

Event: TypeAlias = Message | Callable[[], None] | None


def failed(code: int, reason: str | None = None, offset: int = -1) -> Message:
    return Message(topic="orders", partition=0, offset=offset, error=KafkaError(code, reason))


def end_at(offset: int) -> Message:
    return failed(KafkaError._PARTITION_EOF, offset=offset)


class ScriptedConsumer:
    """A consumer that gives what the script says, one event for each poll, and then nothing for ever."""

    def __init__(self, config: dict[str, Any], script: Iterator[Event]) -> None:
        self.config = config
        self.script = script
        self.calls: list[str] = []
        self.is_paused = False
        self.seeks: list[Exception | None] = []
        self.topic_error: KafkaError | None = None

    def poll(self, timeout: float) -> Message | None:
        event = next(self.script, None)
        if callable(event):
            event()
            return None
        return event

    def consume(self, at_most: int, timeout: float) -> list[Message]:
        assert timeout == 0
        return []

    def assign(self, partitions: Sequence[Any]) -> None:
        self.calls.append(f"assign {partitions[0].offset}")

    def pause(self, partitions: Sequence[Any]) -> None:
        self.is_paused = True

    def resume(self, partitions: Sequence[Any]) -> None:
        self.is_paused = False

    def seek(self, partition: Any) -> None:
        self.calls.append(f"seek {partition.offset} {partition.leader_epoch}")
        if self.seeks and (error := self.seeks.pop(0)) is not None:
            raise error

    def list_topics(self, topic: str, timeout: float) -> Any:
        return SimpleNamespace(topics={topic: SimpleNamespace(error=self.topic_error, partitions={0: None})})

    def close(self) -> None:
        self.calls.append("close")


class Bench:
    def __init__(self, *script: Event, **kafka: Any) -> None:
        self.script = iter(script)
        self.made: list[ScriptedConsumer] = []
        self.seeks: list[Exception | None] = []
        self.topic_error: KafkaError | None = None
        self.now_s = 0.0
        self.reader = SliceReader({"bootstrap.servers": "a:1", **kafka}, "orders", self.make, self.clock)

    def make(self, config: dict[str, Any]) -> Consumer:
        self.made.append(ScriptedConsumer(config, self.script))
        self.made[-1].seeks, self.made[-1].topic_error = self.seeks, self.topic_error
        return cast("Consumer", self.made[-1])

    def clock(self) -> float:
        self.now_s += 0.5
        return self.now_s

    def offsets(self, begin: int, until: int, epoch: int | None = None) -> list[int | None]:
        pieces = self.reader.read(Slice(OffsetRange(ORDERS_0, begin, until), epoch), None)
        return [message.offset() for piece in pieces for message in piece.messages]

    def hears(self, code: int, reason: str = "so it is", *, fatal: bool = False) -> Callable[[], None]:
        return lambda: self.made[-1].config["error_cb"](KafkaError(code, reason, fatal=fatal))


def test_a_record_at_the_end_or_behind_it_ends_a_slice_and_is_kept_for_the_next() -> None:
    bench = Bench(record(1), record(7), record(8), end_at(12))
    assert bench.offsets(0, 5) == [1]
    assert bench.offsets(5, 8) == [7]
    assert bench.offsets(8, 12) == [8]
    assert [consumer.calls for consumer in bench.made] == [["assign 0"]]


def test_a_reported_end_behind_a_slice_counts_for_the_next_one_too() -> None:
    bench = Bench(record(1), end_at(20))
    assert bench.offsets(0, 5) == [1]
    assert bench.offsets(5, 12) == []
    assert bench.offsets(12, 20) == []
    assert [consumer.calls for consumer in bench.made] == [["assign 0"]]


def test_an_end_before_that_of_the_slice_is_not_its_end() -> None:
    bench = Bench(record(1), end_at(3), record(4), end_at(6))
    assert bench.offsets(0, 6) == [1, 4]


def test_who_does_not_want_to_wait_any_more_ends_the_reading() -> None:
    bench = Bench(record(1))
    looks = iter([None, None, TimeoutError("enough")])

    def look() -> None:
        if (error := next(looks)) is not None:
            raise error

    with pytest.raises(TimeoutError, match="enough"):
        list(bench.reader.read(Slice(OffsetRange(ORDERS_0, 0, 5)), None, look))


def test_what_was_fetched_a_while_ago_is_read_again() -> None:
    bench = Bench(record(1), record(7), record(7))
    assert bench.offsets(0, 5) == [1]
    bench.now_s += 60
    assert bench.offsets(5, 8) == [7]
    assert [consumer.calls for consumer in bench.made] == [["assign 0", "assign 5"]]


def test_a_leader_epoch_is_compared_by_a_seek_and_what_came_before_it_is_void() -> None:
    bench = Bench(record(5), end_at(9), record(5), record(6))
    not_yet = KafkaException(KafkaError(KafkaError._STATE))
    bench.seeks = [not_yet, not_yet, None]
    assert bench.offsets(5, 7, epoch=3) == [5, 6]
    assert bench.made[0].calls == ["assign 5", *["seek 5 3"] * 3]
    assert not bench.made[0].is_paused


@pytest.mark.parametrize(
    ("code", "is_truncated"), [(KafkaError._AUTO_OFFSET_RESET, False), (KafkaError._LOG_TRUNCATION, True)]
)
def test_a_position_that_is_gone_says_where_and_how(code: int, is_truncated: bool) -> None:
    bench = Bench(record(1), failed(code, "fetch failed"))
    with pytest.raises(PositionGone, match=r"orders\[0\] cannot be read from 2: fetch failed") as gone:
        bench.offsets(0, 5)
    assert (gone.value.lost.partition, gone.value.lost.offset) == (ORDERS_0, 2)
    assert gone.value.lost.truncated is is_truncated


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, NotAuthorized, "READ and DESCRIBE on the topic"),
        (KafkaError._BAD_MSG, KafkaStreamError, r"reading orders\[0\], at offset 0, failed: it is corrupt"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, TopicNotFound, r"orders\[0\] does not exist on a:1, or not any more"),
        (
            KafkaError._TRANSPORT,
            BrokerUnavailable,
            r"a:1 gave nothing of \[0, 5\) .* for 30 s \(it is corrupt\)",
        ),
    ],
)
def test_what_a_partition_fails_with(code: int, kind: type[KafkaStreamError], says: str) -> None:
    bench = Bench(failed(code, "it is corrupt"))
    bench.topic_error = KafkaError(code) if kind is TopicNotFound else None
    with pytest.raises(kind, match=says):
        bench.offsets(0, 5)


def test_a_topic_that_was_missing_for_a_moment_is_read() -> None:
    bench = Bench(failed(KafkaError.UNKNOWN_TOPIC_OR_PART), *[None] * 20, record(0), end_at(5))
    assert bench.offsets(0, 5) == [0]


def test_who_is_refused_is_not_waited_for() -> None:
    bench = Bench()
    bench.script = iter([bench.hears(KafkaError._AUTHENTICATION)])
    with pytest.raises(NotAuthorized, match="a:1 refused the credentials"):
        bench.offsets(0, 5)
    assert bench.now_s < 10


def test_a_record_that_is_too_large_is_one_after_some_times() -> None:
    bench = Bench()
    bench.script = iter([record(0), *[bench.hears(KafkaError._BAD_MSG, "too large")] * 3])
    with pytest.raises(
        RecordTooLarge, match=r"orders\[0\] cannot be read on from offset 1: .*\(too large\)"
    ) as failure:
        bench.offsets(0, 5)
    assert (failure.value.partition, failure.value.offset) == (ORDERS_0, 1)


def test_what_a_client_has_against_its_brokers_is_no_failure_of_the_partition() -> None:
    """As when a connection breaks while it logs in again; it comes among the records, and the client tries again."""
    again = KafkaError(KafkaError._AUTHENTICATION, "FindCoordinator response error: Local: Authentication failure")
    bench = Bench(Message(error=again), record(0), end_at(1))
    assert bench.offsets(0, 1) == [0]


def test_what_passes_does_not_count_once_records_come() -> None:
    bench = Bench()
    bench.script = iter(
        [*[bench.hears(KafkaError._BAD_MSG)] * 2, record(0), *[bench.hears(KafkaError._BAD_MSG)] * 2, end_at(5)]
    )
    assert bench.offsets(0, 5) == [0]


def test_a_reader_that_fails_is_closed_and_not_used_again() -> None:
    bench = Bench(failed(KafkaError._AUTO_OFFSET_RESET), record(0), end_at(5))
    with pytest.raises(PositionGone):
        bench.offsets(0, 5)
    assert bench.offsets(0, 5) == [0]
    assert len(bench.made) == 2


def test_the_users_own_error_cb_is_told_too() -> None:
    told: list[KafkaError] = []
    bench = Bench(error_cb=told.append)
    bench.script = iter([bench.hears(KafkaError._TRANSPORT), end_at(5)])
    assert bench.offsets(0, 5) == []
    assert [error.code() for error in told] == [KafkaError._TRANSPORT]


def test_settings_that_librdkafka_refuses_are_a_mistake_of_the_users() -> None:
    reader = SliceReader({"bootstrap.servers": "a:1", "fetch.wait.max.ms": "long"}, "orders")
    with pytest.raises(ConfigurationError, match="these Kafka settings were refused"):
        list(reader.read(Slice(OffsetRange(ORDERS_0, 0, 1)), None))


def test_a_reader_commits_nothing_and_begins_where_it_is_told_whatever_is_set() -> None:
    settings = slice_settings({"enable.auto.commit": True, "auto.offset.reset": "earliest"}, "orders")
    assert settings["isolation.level"] == "read_committed"
    assert (settings["enable.auto.commit"], settings["auto.offset.reset"]) == (False, "error")
    assert (settings["enable.partition.eof"], settings["group.id"]) == (True, "orders")
