"""The one thread that touches the Kafka consumer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import copy_context
from itertools import groupby
from queue import Empty, SimpleQueue
from threading import Thread

from confluent_kafka import Consumer, KafkaError, Message

from kafka_stream.errors import KafkaStreamError, TransientError
from kafka_stream.protocols import WantedTopics
from kafka_stream.source.backpressure import Backpressure
from kafka_stream.source.cluster import Cluster
from kafka_stream.source.consumer.errors import ConsumerErrors
from kafka_stream.source.consumer.partition_states import Start
from kafka_stream.source.consumer.partitions import ConsumerPartitions
from kafka_stream.source.consumer.rebalancing import Rebalancing
from kafka_stream.source.group_protocol import GroupProtocol
from kafka_stream.source.inbox import Inbox
from kafka_stream.source.lost_brokers import LostBrokers
from kafka_stream.source.membership import Membership
from kafka_stream.source.published_offsets import PublishedOffsets
from kafka_stream.types import TopicPartition

logger = logging.getLogger("kafka_stream.source")

_CONSUME_AT_MOST = 1_000  # while librdkafka's client makes so many objects, no other thread runs
_IDLE_POLL_S = 0.05
_START_POLL_S = 0.002
_HOLD_S = 0.5
_CLOSE_TIMEOUT_S = 15.0
_PUBLISH_TIMEOUT_S = 5.0


class ConsumerThread:
    """Polls however long a batch takes, and carries out what the loop asks for between two polls.

    Whatever is assigned is attached to the consumer paused, and read only once a ``Start`` says where.
    """

    def __init__(
        self,
        create: Callable[[Callable[[KafkaError], None]], Consumer],
        wanted: WantedTopics,
        inbox: Inbox,
        cluster: Cluster,
        published: PublishedOffsets,
        protocol: GroupProtocol,
    ) -> None:
        self._create = create
        self._followed: Sequence[str] = wanted.named
        self._only_topic = wanted.named[0] if len(wanted.named) == 1 and not wanted.patterns else None
        self._inbox, self._cluster = inbox, cluster
        self._published = published
        self._protocol = protocol
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread = Thread(target=copy_context().run, args=(self._run,), daemon=True)
        self._closing = self._full = self._has_joined = False
        self._lost_brokers = LostBrokers(cluster)
        self._errors = ConsumerErrors(inbox, cluster, wanted.named, self._lost_brokers)
        self.membership = Membership()
        self._begin_anew()

    @property
    def trouble(self) -> KafkaStreamError | None:
        """What keeps the consumer from reading, as far as it is known; from any thread."""
        return self._lost_brokers.trouble

    # From the loop's thread -----------------------------------------------------------------------------------------

    def begin(self, name: str) -> None:
        """Start polling."""
        self._thread.name = name
        self._thread.start()

    def follow(self, topics: Sequence[str]) -> None:
        """Subscribe to these, now or when the group is joined."""
        self._commands.put(lambda: self._follow(topics))

    def subscribe(self) -> None:
        """Join the group."""
        self.membership.in_group = True
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
        self._commands.put(lambda: self._partitions.start(starts))

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
        except Exception as error:  # noqa: BLE001 - whatever it is, the loop must hear of it
            self._errors.of_thread(error)
        finally:
            try:
                self._close_consumer()
            except Exception:
                logger.exception("the consumer could not be closed")

    def _step(self) -> None:
        self._run_commands(wait_s=0.0)
        self._partitions.start_reading()
        self._errors.look_into(self._partitions)
        if self._errors.ended is not None:
            self._go_on_after(self._errors.ended)
        elif self._protocol.is_due:
            self._migrate()
        elif self._lost_brokers.has(self._consumer, next(iter(self._followed), None)):
            logger.warning("the consumer has lost its brokers for good: a new one takes its place")
            self._replace_consumer()
        self._published.send_due(self._consumer, self._partitions.owned)
        self._backpressure.relieve()
        if (room := self._backpressure.room()) > 0:
            self._full = False
            self._deliver(self._consume(room))
        elif not self._full:
            self._full = True  # and look once more: a take() just before this nudged nobody
        else:
            self._hold()
        self.membership.note(self._consumer)

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
        first = self._consumer.poll(_START_POLL_S if self._partitions.are_starting else _IDLE_POLL_S)
        if first is None:
            return []
        return [first, *self._consumer.consume(min(at_most, _CONSUME_AT_MOST) - 1, 0)]

    def _hold(self) -> None:
        """Wait for a take(); go on polling for rebalances and errors, which may bring a record, twice a second."""
        self._run_commands(wait_s=_HOLD_S)
        self._backpressure.hold_back_all()
        message = self._consumer.poll(0)
        self._deliver([] if message is None else [message])

    # Records --------------------------------------------------------------------------------------------------------

    def _deliver(self, messages: list[Message]) -> None:
        if any(map(Message.error, messages)):
            # In order: an end of partition counts only after the records before it.
            for failed, group in groupby(messages, _has_failed):
                if failed:
                    for message in group:
                        self._errors.of_message(message, self._partitions)
                else:
                    self._deliver_records(list(group))
        elif messages:
            self._deliver_records(messages)

    def _deliver_records(self, messages: list[Message]) -> None:
        if self._only_topic is not None:
            self._deliver_topic(self._only_topic, messages)
            return
        for topic, in_topic in groupby(messages, Message.topic):
            assert topic is not None
            self._deliver_topic(topic, in_topic)

    def _deliver_topic(self, topic: str, messages: Iterable[Message]) -> None:
        for partition, run in groupby(messages, Message.partition):
            assert partition is not None
            self._inbox.add(TopicPartition(topic, partition), list(run))

    # The consumer and its partitions --------------------------------------------------------------------------------

    def _begin_anew(self) -> None:
        """A new consumer, which has no partitions yet."""
        self._consumer = self._created()
        self._partitions = ConsumerPartitions(self._consumer, self._inbox)
        self._backpressure = Backpressure(self._inbox, self._partitions)
        self._rebalancing = Rebalancing(
            self._partitions, self._inbox, self._cluster, self._published, self.membership, lambda: self._closing
        )

    def _created(self) -> Consumer:
        heard = self._errors.of_next_consumer()
        while True:
            try:
                return self._create(heard)
            except TransientError as error:  # for want of a token; who takes another one's place waits for it
                if self._thread.ident is None or self._closing:
                    raise
                logger.warning("%s; trying again", error)

    def _close_consumer(self) -> None:
        self._published.send(self._consumer, self._partitions.owned)
        self.membership.forget()
        self._consumer.close()

    def _follow(self, topics: Sequence[str]) -> None:
        self._followed = topics
        if self._has_joined:
            self._rebalancing.subscribe(self._consumer, topics)

    def _subscribe(self) -> None:
        self._has_joined = True
        self._errors.joins()
        self.membership.joins()
        self._rebalancing.subscribe(self._consumer, self._followed)

    def _rejoin(self) -> None:
        self._close_consumer()  # unsubscribing and subscribing again is one step to librdkafka, and nobody leaves
        self._begin_anew()
        self._inbox.renew()
        self._subscribe()

    def _go_on_after(self, ended: KafkaError) -> None:
        """The group, or its brokers, do not have this consumer any more, or never had one of its kind."""
        self._errors.ended = None
        try:
            self._protocol.ended(ended, self._cluster)
        except KafkaStreamError as error:
            self._inbox.failed(error)
            self._closing = True
            return
        self._replace_consumer()

    def _migrate(self) -> None:
        """Leave the group, as its other members do, and join it by the other protocol."""
        self._close_consumer()  # what is given up is finished first
        self._protocol.migrate(self._cluster, lambda: self._closing)
        self._begin_anew()
        self._subscribe()

    def _replace_consumer(self) -> None:
        """Go on with a new consumer; the loop hears that all was lost, and assigned again."""
        self._rebalancing.replaced()
        # Without a coordinator it takes a session's time to close.
        Thread(target=self._consumer.close, name=f"{self._thread.name}-left", daemon=True).start()
        self.membership.forget()
        owned = frozenset(self._partitions.owned)
        self._begin_anew()
        self._inbox.lost(sorted(owned))
        if self.membership.in_group:
            self._subscribe()
        else:
            self._assign(owned)

    def _assign(self, wanted: frozenset[TopicPartition]) -> None:
        gone, new = self._partitions.owned - wanted, wanted - self._partitions.owned
        self._partitions.disown(gone)
        self._inbox.unassigned(gone)
        self._partitions.own(new)
        self._inbox.assigned(sorted(new))


def _nothing() -> None:
    """A command that only ends a wait."""


def _has_failed(message: Message) -> bool:
    return message.error() is not None


__all__ = ["ConsumerThread", "Start"]
