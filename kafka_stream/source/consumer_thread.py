"""The one thread that touches the Kafka consumer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from queue import Empty, SimpleQueue
from threading import Thread

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as ClientTopicPartition

from kafka_stream.errors import KafkaStreamError, TopicNotFound
from kafka_stream.protocols import OffsetAt
from kafka_stream.source.backpressure import Turnover
from kafka_stream.source.cluster import Cluster
from kafka_stream.source.inbox import Inbox
from kafka_stream.source.kafka_errors import (
    is_end_of_partition,
    is_missing_topic,
    is_not_started,
    is_passing,
    is_position_gone,
    is_truncation,
    refusal,
)
from kafka_stream.source.lost_brokers import LostBrokers
from kafka_stream.source.membership import is_member
from kafka_stream.source.published_offsets import PublishedOffsets
from kafka_stream.types import TopicPartition

logger = logging.getLogger("kafka_stream.source")

_CONSUME_AT_MOST = 1_000  # while librdkafka's client makes so many objects, no other thread runs
_IDLE_POLL_S = 0.05
_START_POLL_S = 0.002
_HOLD_S = 0.5
_DRAINED, _STARVING = 0.5, 0.1  # of a partition's share of the limits
_MISSING_TOPIC_GRACE_S = 5.0
_WAKE_TIMEOUT_S = 0.5
_METADATA_TIMEOUT_S = 5.0
_NO_OFFSET = -1001
_CLOSE_TIMEOUT_S = 15.0
_PUBLISH_TIMEOUT_S = 5.0

Rebalance = Callable[[Consumer, list[ClientTopicPartition]], None]


@dataclass(frozen=True, slots=True)
class Start:
    """Where one partition is to be read from; ``generation`` tells it from other starts of that partition."""

    offset: int
    leader_epoch: int | None
    generation: int


class ConsumerThread:
    """Polls however long a batch takes, and carries out what the loop asks for between two polls.

    Whatever is assigned is attached to the consumer paused, and read only once a ``Start`` says where.
    """

    def __init__(
        self,
        create: Callable[[Callable[[KafkaError], None]], Consumer],
        topics: Sequence[str],
        inbox: Inbox,
        cluster: Cluster,
        published: PublishedOffsets,
    ) -> None:
        self._create = create
        self._topics = list(topics)
        self._inbox = inbox
        self._cluster = cluster
        self._published = published
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread = Thread(target=self._run, daemon=True)
        self._closing = False
        self._assigned: set[TopicPartition] = set()
        self._attached: set[TopicPartition] = set()  # what librdkafka knows as assigned
        self._halted: set[TopicPartition] = set()  # attached, but librdkafka has stopped fetching after an error
        self._paused: set[TopicPartition] = set()
        self._starts: dict[TopicPartition, Start] = {}
        self._topic_missing_since: float | None = None
        self._full = False
        self._turnover = Turnover(inbox)
        self._lost_brokers = LostBrokers(cluster)
        self.in_group = False
        self.membership: bytes | None = None  # replaced, never changed: any thread may look
        self._consumer = create(self._handle_consumer_error)

    # From the loop's thread -----------------------------------------------------------------------------------------

    def begin(self, name: str) -> None:
        """Start polling."""
        self._thread.name = name
        self._thread.start()

    def subscribe(self) -> None:
        """Join the group."""
        self.in_group = True
        self._commands.put(self._subscribe)

    def rejoin(self) -> None:
        """Leave the group and join it as a new member."""
        self._commands.put(self._rejoin)

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Own these partitions, without a group."""
        wanted = frozenset(partitions)
        self._commands.put(lambda: self._assign(wanted))

    def start(self, starts: Mapping[TopicPartition, Start]) -> None:
        """Read these partitions from there."""
        self._commands.put(lambda: self._starts.update(starts))

    def nudge(self) -> None:
        """There is room in the inbox again."""
        if self._full:
            self._commands.put(_nothing)

    def close(self) -> None:
        """Leave the group and end; gives up waiting after 15 s, or 5 s for published offsets."""
        self._closing = True
        self._commands.put(_nothing)
        self._inbox.interrupt()
        if self._thread.ident is None:
            self._consumer.close()
            return
        self._thread.join(_PUBLISH_TIMEOUT_S)
        if self._thread.is_alive() and not self._published.is_unanswered:
            self._thread.join(_CLOSE_TIMEOUT_S - _PUBLISH_TIMEOUT_S)
        if self._thread.is_alive():
            logger.warning(
                "the consumer did not close within seconds, as its broker does not answer; it is left behind"
            )

    # On the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closing:
                self._step()
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            failure = refusal(reason, self._cluster.servers, "the consumer group or its topics")
            self._fail(failure or KafkaStreamError(f"the Kafka consumer failed: {reason.str()}"), error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the loop must hear of it
            self._fail(KafkaStreamError(f"the consumer thread failed: {error!r}"), error)
        finally:
            try:
                self._close_consumer()
            except Exception:
                logger.exception("the consumer could not be closed")

    def _close_consumer(self) -> None:
        self._published.send(self._consumer, self._assigned)
        self.membership = None
        self._consumer.close()

    def _fail(self, failure: Exception, cause: BaseException) -> None:
        failure.__cause__ = cause
        self._inbox.failed(failure)

    def _step(self) -> None:
        self._run_commands(wait_s=0.0)
        self._start_reading()
        self._check_missing_topic()
        if self._lost_brokers.has(self._consumer, self._topics[0]):
            self._replace_consumer()
        self._resume_drained()
        self._published.send_due(self._consumer, self._assigned)
        if self._turnover.is_slow():
            self._pause_hogs()
        if (room := self._room()) > 0:
            self._full = False
            self._deliver(self._consume(room))
        elif not self._full:
            self._full = True  # and look once more: a take() just before this nudged nobody
        else:
            self._hold()
        self._note_membership()

    def _run_commands(self, wait_s: float) -> None:
        try:
            command = self._commands.get(timeout=wait_s) if wait_s else self._commands.get_nowait()
            while not self._closing:
                command()
                command = self._commands.get_nowait()
        except Empty:
            return

    def _consume(self, at_most: int) -> list[Message]:
        """Wait a little for one message (``poll`` serves rebalances), then take what else is there."""
        first = self._consumer.poll(_START_POLL_S if self._starts else _IDLE_POLL_S)
        if first is None:
            return []
        return [first, *self._consumer.consume(min(at_most, _CONSUME_AT_MOST) - 1, 0)]

    # Records --------------------------------------------------------------------------------------------------------

    def _deliver(self, messages: list[Message]) -> None:
        if any(map(Message.error, messages)):
            # In order: an end of partition counts only after the records before it.
            for failed, group in groupby(messages, _has_failed):
                if failed:
                    for message in group:
                        self._handle_error(message)
                else:
                    self._deliver_records(list(group))
        elif messages:
            self._deliver_records(messages)

    def _deliver_records(self, messages: list[Message]) -> None:
        if len(self._topics) == 1:
            self._deliver_topic(self._topics[0], messages)
            return
        for topic, in_topic in groupby(messages, Message.topic):
            assert topic is not None
            self._deliver_topic(topic, in_topic)

    def _deliver_topic(self, topic: str, messages: Iterable[Message]) -> None:
        for partition, run in groupby(messages, Message.partition):
            assert partition is not None
            self._inbox.add(TopicPartition(topic, partition), list(run))

    def _handle_error(self, message: Message) -> None:
        error, topic, number = message.error(), message.topic(), message.partition()
        assert error is not None
        if topic is None or number is None or number < 0:
            self._handle_consumer_error(error)
            return
        partition = TopicPartition(topic, number)
        if is_end_of_partition(error):
            offset = message.offset()
            assert offset is not None
            self._inbox.advance(partition, offset)
        elif is_position_gone(error):
            self._halted.add(partition)
            if partition not in self._starts:  # else it is from before that start
                self._inbox.position_lost(partition, truncated=is_truncation(error), reason=error.str())
        elif is_missing_topic(error) or is_passing(error):
            self._handle_consumer_error(error)
        else:
            # librdkafka goes on behind what it could not read (a corrupt record batch): we do not.
            position = self._inbox.stop_reading(partition)
            where = f"{partition}, at offset {position}" if position is not None else str(partition)
            failure = refusal(error, self._cluster.servers, f"topic {topic}")
            self._inbox.failed(failure or KafkaStreamError(f"reading {where} failed: {error.str()}"))

    def _handle_consumer_error(self, error: KafkaError) -> None:
        """What concerns no single partition; librdkafka calls it while the consumer polls."""
        self._lost_brokers.heard(error)
        if (refused := refusal(error, self._cluster.servers, "the consumer group or its topics")) is not None:
            self._inbox.failed(refused)
        elif error.fatal():
            self._inbox.failed(KafkaStreamError(f"the Kafka consumer failed for good: {error.str()}"))
        elif not is_missing_topic(error):
            logger.warning("%s", error.str())
        elif self._topic_missing_since is None:
            self._topic_missing_since = time.monotonic()

    def _check_missing_topic(self) -> None:
        """A topic may be missing for a moment, while metadata spreads; one that stays away fails the stream."""
        if self._topic_missing_since is None or time.monotonic() - self._topic_missing_since < _MISSING_TOPIC_GRACE_S:
            return
        self._topic_missing_since = None
        try:
            self._cluster.topics(self._topics)
        except TopicNotFound as error:
            self._inbox.failed(error)
        except KafkaStreamError as error:
            logger.warning("%s", error)

    # Assignments ----------------------------------------------------------------------------------------------------

    def _subscribe(self) -> None:
        on_assign, on_revoke, on_lost = map(self._unless_replaced, (self._on_assign, self._on_revoke, self._on_lost))
        self._consumer.subscribe(self._topics, on_assign=on_assign, on_revoke=on_revoke, on_lost=on_lost)

    def _unless_replaced(self, handle: Rebalance) -> Rebalance:
        """A consumer whose place was taken tells of its assignment once more when it closes."""
        return lambda consumer, partitions: handle(consumer, partitions) if consumer is self._consumer else None

    def _rejoin(self) -> None:
        # A new member: unsubscribing and subscribing again is merged into one step by librdkafka, and nobody leaves.
        self._close_consumer()
        self._begin_anew()
        self._inbox.renew()
        self._subscribe()

    def _replace_consumer(self) -> None:
        """Go on with a new consumer, which finds the brokers; the loop hears that all was lost, and assigned again."""
        logger.warning("the consumer has lost its brokers for good: a new one takes its place")
        # Without a coordinator it takes a session's time to close.
        Thread(target=self._consumer.close, name=f"{self._thread.name}-left", daemon=True).start()
        self.membership = None
        assigned = frozenset(self._assigned)
        self._begin_anew()
        self._inbox.lost(sorted(assigned))
        if self.in_group:
            self._subscribe()
        else:
            self._assign(assigned)

    def _begin_anew(self) -> None:
        for known in (self._assigned, self._attached, self._halted, self._paused, self._starts):
            known.clear()
        self._consumer = self._create(self._handle_consumer_error)

    def _assign(self, wanted: frozenset[TopicPartition]) -> None:
        gone, new = self._assigned - wanted, wanted - self._assigned
        if attached := gone & self._attached:
            self._consumer.incremental_unassign([_client(p) for p in attached])
        self._detach(gone)
        self._inbox.unassigned(gone)
        for topic in sorted({p.topic for p in new} - {p.topic for p in self._attached}):
            # Without it librdkafka may look for the leaders only when its timer fires, once a second.
            with suppress(KafkaException):
                self._consumer.list_topics(topic, timeout=_METADATA_TIMEOUT_S)
        self._assigned |= new
        self._inbox.assigned(sorted(new))

    def _note_membership(self) -> None:
        """Before anybody asks: while this thread polls, the client makes others wait who ask the consumer."""
        if self.in_group:
            metadata: bytes = self._consumer.consumer_group_metadata()
            self.membership = metadata if is_member(metadata) else None

    def _on_assign(self, consumer: Consumer, partitions: list[ClientTopicPartition]) -> None:
        self._note_membership()
        ours = _ours(partitions)
        ends = self._ends(ours)
        attached = [_client(p, ends.get(p, 0)) for p in ours]
        consumer.incremental_assign(attached)
        if attached:
            consumer.pause(attached)
        self._assigned.update(ours)
        self._attached.update(ours)
        self._paused.update(ours)
        self._inbox.assigned(ours)

    def _ends(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Offsets where a fetch that slips in before the pause finds nothing, and is not out of range either.

        They are absolute: a logical one (END) is looked up once more if a seek comes in between, and librdkafka then
        jumps there, over unread records.
        """
        try:
            return self._cluster.offsets(partitions, OffsetAt.LATEST)
        except KafkaStreamError as error:
            logger.warning("%s", error)
            return {}

    def _on_revoke(self, consumer: Consumer, partitions: list[ClientTopicPartition]) -> None:
        self._note_membership()  # what stays ours is committed under the new generation, also while we wait here
        ours = _ours(partitions)
        self._inbox.revoked(ours)
        timeout_s = self._inbox.limits.revoke_timeout_s
        released = self._inbox.wait_released(ours, timeout_s, lambda: self._closing)
        if not released and not self._closing:
            logger.warning("gave up %s before its batch was finished", ", ".join(map(str, ours)))
        self._published.send(consumer, self._assigned)
        self._detach(ours)
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[ClientTopicPartition]) -> None:
        self.membership = None
        ours = _ours(partitions)
        self._inbox.lost(ours)
        self._detach(ours)
        consumer.incremental_unassign(partitions)

    def _detach(self, partitions: Iterable[TopicPartition]) -> None:
        for known in (self._assigned, self._attached, self._halted, self._paused):
            known.difference_update(partitions)
        for partition in partitions:
            self._starts.pop(partition, None)

    # Starting at a position -----------------------------------------------------------------------------------------

    def _start_reading(self) -> None:
        for partition, start in tuple(self._starts.items()):
            if not self._inbox.is_assigned(partition, start.generation):
                del self._starts[partition]
            elif self._position(partition, start):
                del self._starts[partition]
                self._inbox.reading(partition, start.generation)

    def _position(self, partition: TopicPartition, start: Start) -> bool:
        """Bring the consumer to a position; return whether it is there (else try again after the next poll)."""
        at = _client(partition, start.offset)
        if partition not in self._attached or partition in self._halted:
            self._attach(partition, at, paused=start.leader_epoch is not None)
            if start.leader_epoch is None:
                return True
        if start.leader_epoch is not None:
            # Only seek() compares the leader epoch with the log, not an assignment at an absolute offset.
            at = ClientTopicPartition(at.topic, at.partition, at.offset, leader_epoch=start.leader_epoch)
        was_paused = partition in self._paused
        if was_paused:
            self._consumer.resume([at])  # before seek(), which wakes librdkafka's fetcher; resume() does not
        if not self._seek(at):
            if was_paused:
                self._consumer.pause([at])
            return False
        self._paused.discard(partition)
        if was_paused and start.offset == 0:
            self._wake_fetcher(at)
        return True

    def _attach(self, partition: TopicPartition, at: ClientTopicPartition, *, paused: bool) -> None:
        # The flag outlives a reassignment: set before it, nothing is fetched in between, and nothing sleeps paused.
        (self._consumer.pause if paused else self._consumer.resume)([at])
        if partition in self._attached:
            self._consumer.incremental_unassign([at])
        self._consumer.incremental_assign([at])
        if paused:
            self._consumer.pause([at])  # again: the first time there was nothing yet to set the flag on
        self._attached.add(partition)
        self._halted.discard(partition)
        (self._paused.add if paused else self._paused.discard)(partition)

    def _wake_fetcher(self, at: ClientTopicPartition) -> None:
        """A seek to 0 does not wake librdkafka's fetcher, which may sleep for a second; a request does."""
        with suppress(KafkaException):
            self._consumer.get_watermark_offsets(at, timeout=_WAKE_TIMEOUT_S)

    def _seek(self, at: ClientTopicPartition) -> bool:
        try:
            self._consumer.seek(at)
        except KafkaException as error:
            if not is_not_started(error.args[0]):
                raise
            return False
        return True

    # Backpressure ---------------------------------------------------------------------------------------------------

    # Pausing a partition drops what librdkafka has fetched ahead of it, and it is fetched again later. So it is done
    # only where something is gained: where a partition would wait for long behind others in librdkafka's queue.

    def _pause_hogs(self) -> None:
        """Pause what holds more than its share if another partition has nothing."""
        fill = {p: used for p, used in self._inbox.fill().items() if p not in self._paused}
        if any(used < _STARVING for used in fill.values()):
            self._pause(p for p, used in fill.items() if used >= 1.0)
            self._turnover.restart()

    def _room(self) -> int:
        """How many records to let in; what is paused takes nothing from the others' shares."""
        if self._inbox.used() < 1.0 or not self._paused:
            return self._inbox.room()
        others = [used for p, used in self._inbox.fill().items() if p not in self._paused]
        return self._inbox.room(times=2) if sum(others) < len(others) else 0

    def _hold(self) -> None:
        """Wait for a take(); go on polling for rebalances and errors, which may bring a record, twice a second."""
        self._run_commands(wait_s=_HOLD_S)
        if self._inbox.room(times=2) <= 0:
            self._pause(p for p in self._inbox.fill() if p not in self._paused)
        message = self._consumer.poll(0)
        self._deliver([] if message is None else [message])

    def _pause(self, partitions: Iterable[TopicPartition]) -> None:
        if chosen := list(partitions):
            self._consumer.pause([_client(p) for p in chosen])
            self._paused.update(chosen)

    def _resume_drained(self) -> None:
        if not self._paused:
            return
        fill = self._inbox.fill()
        if drained := [p for p in self._paused if p not in self._starts and fill.get(p, 1.0) < _DRAINED]:
            self._consumer.resume([_client(p) for p in drained])
            self._paused.difference_update(drained)


def _nothing() -> None:
    """A command that only ends a wait."""


def _has_failed(message: Message) -> bool:
    return message.error() is not None


def _client(partition: TopicPartition, offset: int = _NO_OFFSET) -> ClientTopicPartition:
    return ClientTopicPartition(partition.topic, partition.partition, offset)


def _ours(partitions: Iterable[ClientTopicPartition]) -> list[TopicPartition]:
    return sorted(TopicPartition(p.topic, p.partition) for p in partitions)


__all__ = ["ConsumerThread", "Start"]
