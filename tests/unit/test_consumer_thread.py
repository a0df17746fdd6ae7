"""What the consumer's thread makes of what a consumer reports, with a consumer that says what it is told to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from kafka_stream.errors import KafkaStreamError, NotAuthorized, TopicNotFound
from kafka_stream.librdkafka import CLASSIC
from kafka_stream.protocols import Assigned, Failed, PositionLost, SourceEvent, WantedTopics
from kafka_stream.source.client_log import CLIENT_LOG
from kafka_stream.source.cluster import Cluster
from kafka_stream.source.consumer_thread import ConsumerThread, Start
from kafka_stream.source.group_protocol import GroupProtocol
from kafka_stream.source.inbox import Inbox, SourceLimits
from kafka_stream.source.published_offsets import PublishedOffsets
from kafka_stream.testing import message
from kafka_stream.types import TopicPartition

P0, P1 = TopicPartition("orders", 0), TopicPartition("orders", 1)
SECONDS = 30.0
REFUSED_BY_GROUP = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED, "no")


def failure(code: int, partition: int = 0, offset: int = 0, *, reason: str | None = None) -> Message:
    return Message(topic="orders", partition=partition, offset=offset, error=KafkaError(code, reason))


class ScriptedConsumer:
    """Gives out messages, and remembers what was asked of it."""

    def __init__(self) -> None:
        self.script: deque[Message | Exception] = deque()
        self.calls: list[str] = []
        self.on_error: Callable[[KafkaError], None] = lambda _: None
        self.failing_seeks = 0

    def poll(self, timeout: float) -> Message | None:
        if not self.script:
            return None
        one = self.script.popleft()
        if isinstance(one, Exception):
            raise one
        return one

    def consume(self, count: int, timeout: float) -> list[Message]:
        taken: list[Message] = []
        while len(taken) < count and self.script and isinstance(self.script[0], Message):
            taken.append(cast("Message", self.script.popleft()))
        return taken

    def seek(self, at: Any) -> None:
        if self.failing_seeks:
            self.failing_seeks -= 1
            raise KafkaException(KafkaError(KafkaError._STATE))
        self.calls.append(f"seek {at.partition} to {at.offset} in {at.leader_epoch}")

    def consumer_group_metadata(self) -> bytes:
        return b"CGMDv2:\xff\xff\xff\xffgroup\0\0\0"

    def close(self) -> None:
        self.calls.append("close")

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(partitions: Any = (), **_: Any) -> None:
            numbers = [p.partition for p in partitions] if isinstance(partitions, list) else []
            self.calls.append(f"{name} {numbers}" if numbers else name)

        return call


class MissingTopics:
    """A cluster that has no topic."""

    servers = "127.0.0.1:9092"

    def topics(self, names: list[str]) -> None:
        raise TopicNotFound(f"topic {names[0]!r} does not exist")


@pytest.fixture
def consumer() -> ScriptedConsumer:
    return ScriptedConsumer()


@pytest.fixture
def inbox() -> Inbox:
    return Inbox(SourceLimits(max_buffered_records=10))


@pytest.fixture
def thread(consumer: ScriptedConsumer, inbox: Inbox) -> Iterator[ConsumerThread]:
    CLIENT_LOG.recovered()  # what other tests have logged is told again

    def create(on_error: Callable[[KafkaError], None]) -> Consumer:
        consumer.on_error = on_error
        return cast("Consumer", consumer)

    thread = ConsumerThread(
        create,
        WantedTopics.of(["orders"]),
        inbox,
        cast("Cluster", MissingTopics()),
        PublishedOffsets(),
        GroupProtocol(CLASSIC, "group"),
    )
    thread.begin("test")
    yield thread
    thread.close()
    assert consumer.calls[-1] == "close"


def next_events(inbox: Inbox) -> list[SourceEvent]:
    """The next events; a test that gets none fails."""
    for _ in range(int(SECONDS / 0.1)):
        if events := list(inbox.events()):
            return events
        inbox.wait(0.1)
    raise AssertionError("no event came")


def read_from(thread: ConsumerThread, inbox: Inbox, offset: int, leader_epoch: int | None = None) -> None:
    """Assign both partitions and start to read the first."""
    thread.assign([P0, P1])
    assert next_events(inbox) == [Assigned((P0, P1))]
    start(thread, inbox, offset, leader_epoch)


def start(thread: ConsumerThread, inbox: Inbox, offset: int, leader_epoch: int | None = None) -> None:
    generations = inbox.start({P0: offset})
    thread.start({P0: Start(offset, leader_epoch, generations[P0])})


def wait_for(inbox: Inbox, condition: Callable[[], object]) -> None:
    for _ in range(int(SECONDS / 0.1)):
        if condition():
            return
        inbox.wait(0.1)
    raise AssertionError("it did not come to that")


def test_a_record_batch_that_cannot_be_read_stops_its_partition(
    thread: ConsumerThread, consumer: ScriptedConsumer, inbox: Inbox
) -> None:
    read_from(thread, inbox, 5)
    wait_for(inbox, lambda: inbox.position(P0) == 5)
    corrupt = failure(KafkaError._BAD_MSG, offset=6, reason="CRC mismatch")
    behind_it = message("c", topic="orders", offset=9)
    consumer.script.extend([message("a", topic="orders", offset=5), corrupt, behind_it])
    (event,) = next_events(inbox)
    assert isinstance(event, Failed)
    assert str(event.error) == "reading orders[0], at offset 6 failed: CRC mismatch"
    wait_for(inbox, lambda: not consumer.script)
    assert inbox.buffered()[P0].position == 6


def test_the_end_of_a_partition_counts_after_the_records_before_it(
    thread: ConsumerThread, consumer: ScriptedConsumer, inbox: Inbox
) -> None:
    read_from(thread, inbox, 0)
    wait_for(inbox, lambda: inbox.position(P0) == 0)
    consumer.script.extend(
        [
            message("a", topic="orders", offset=0),
            failure(KafkaError._PARTITION_EOF, offset=4),
            message("b", topic="orders", offset=4),
        ]
    )
    wait_for(inbox, lambda: inbox.position(P0) == 5)
    assert inbox.buffered()[P0].records == 2


@pytest.mark.parametrize(
    "code", [KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._MAX_POLL_EXCEEDED]
)
def test_what_passes_by_itself_is_logged_and_reading_goes_on(
    thread: ConsumerThread, consumer: ScriptedConsumer, inbox: Inbox, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    read_from(thread, inbox, 0)
    wait_for(inbox, lambda: inbox.position(P0) == 0)
    consumer.on_error(KafkaError(code, "it went away"))
    consumer.script.extend([failure(code), message("a", topic="orders", offset=0)])
    wait_for(inbox, lambda: inbox.position(P0) == 1)
    assert inbox.events() == []
    assert "it went away" in caplog.text


def test_a_group_that_refuses_is_nothing_to_who_does_not_join_it(
    thread: ConsumerThread, consumer: ScriptedConsumer, inbox: Inbox
) -> None:
    """Librdkafka looks for its coordinator all the same, and may hear of it before or after the last record."""
    read_from(thread, inbox, 0)
    wait_for(inbox, lambda: inbox.position(P0) == 0)
    consumer.on_error(REFUSED_BY_GROUP)
    consumer.script.append(message("a", topic="orders", offset=0))
    wait_for(inbox, lambda: inbox.position(P0) == 1)
    assert inbox.events() == []


def test_a_group_that_refuses_a_member_ends_it(
    thread: ConsumerThread, consumer: ScriptedConsumer, inbox: Inbox
) -> None:
    """Also one that did so before it was joined: a client tells of it once."""
    consumer.on_error(REFUSED_BY_GROUP)
    thread.subscribe()
    early = next_events(inbox)
    consumer.on_error(REFUSED_BY_GROUP)
    for (event,) in (early, next_events(inbox)):
        assert isinstance(event, Failed) and isinstance(event.error, NotAuthorized)
        assert "READ on the consumer group" in str(event.error)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (KafkaError(KafkaError._AUTHENTICATION, "no"), NotAuthorized, "refused the credentials"),
        (KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "no"), NotAuthorized, "refused access to"),
        (KafkaError(KafkaError._FATAL, "worn out", fatal=True), KafkaStreamError, "failed for good: worn out"),
    ],
)
def test_what_needs_somebody_is_reported(
    thread: ConsumerThread,
    consumer: ScriptedConsumer,
    inbox: Inbox,
    error: KafkaError,
    kind: type[Exception],
    text: str,
) -> None:
    consumer.on_error(error)
    callback_events = next_events(inbox)
    consumer.script.append(Message(error=error))
    for (event,) in (callback_events, next_events(inbox)):
        assert isinstance(event, Failed)
        assert isinstance(event.error, kind)
        assert text in str(event.error)


def test_a_consumer_that_raises_ends_the_thread_with_its_cause(
    thread: ConsumerThread, consumer: ScriptedConsumer, inbox: Inbox
) -> None:
    cause = KafkaException(KafkaError(KafkaError._FATAL, "worn out"))
    consumer.script.append(cause)
    (event,) = next_events(inbox)
    assert isinstance(event, Failed)
    assert str(event.error) == "the Kafka consumer failed: worn out"
    assert event.error.__cause__ is cause


def test_a_position_is_sought_until_the_consumer_is_ready(
    thread: ConsumerThread, consumer: ScriptedConsumer, inbox: Inbox
) -> None:
    consumer.failing_seeks = 3
    read_from(thread, inbox, 7, leader_epoch=2)
    wait_for(inbox, lambda: inbox.position(P0) == 7)
    attached = ["pause [0]", "incremental_assign [0]", "pause [0]"]
    waiting = 3 * ["resume [0]", "pause [0]"]
    assert consumer.calls[-len(attached + waiting) - 2 :] == [*attached, *waiting, "resume [0]", "seek 0 to 7 in 2"]


def test_after_a_lost_position_the_partition_is_attached_anew(
    thread: ConsumerThread, consumer: ScriptedConsumer, inbox: Inbox
) -> None:
    read_from(thread, inbox, 7)
    wait_for(inbox, lambda: inbox.position(P0) == 7)
    consumer.script.append(failure(KafkaError._AUTO_OFFSET_RESET, offset=7, reason="out of range"))
    assert next_events(inbox) == [PositionLost(P0, 7, truncated=False, reason="out of range")]
    consumer.calls.clear()
    start(thread, inbox, 9)
    wait_for(inbox, lambda: inbox.position(P0) == 9)
    assert consumer.calls == ["resume [0]", "incremental_unassign [0]", "incremental_assign [0]"]


def test_truncation_is_told_from_retention(thread: ConsumerThread, consumer: ScriptedConsumer, inbox: Inbox) -> None:
    reason = f"gone: {KafkaError(KafkaError._LOG_TRUNCATION).str()} (broker 1)"
    for error in (
        failure(KafkaError._AUTO_OFFSET_RESET, reason=reason),
        failure(KafkaError._LOG_TRUNCATION, reason="whatever"),
    ):
        thread.assign([])
        read_from(thread, inbox, 7)
        wait_for(inbox, lambda: inbox.position(P0) == 7)
        consumer.script.append(error)
        (event,) = next_events(inbox)
        assert isinstance(event, PositionLost)
        assert event.truncated


def test_a_topic_that_stays_missing_is_reported_after_a_while(
    thread: ConsumerThread, consumer: ScriptedConsumer, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_stream.source.consumer.errors._MISSING_TOPIC_GRACE_S", 0.0)
    consumer.script.append(Message(error=KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "not there")))
    (event,) = next_events(inbox)
    assert isinstance(event, Failed)
    assert isinstance(event.error, TopicNotFound)
