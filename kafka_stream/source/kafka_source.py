"""Reading from Kafka: ``KafkaSource``, the only user of confluent-kafka's consumer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message

from kafka_stream.errors import (
    BrokerUnavailable,
    ConfigurationError,
    KafkaStreamError,
    OwnershipLost,
    TopicNotFound,
)
from kafka_stream.librdkafka import ClientSettings, group_protocol_of
from kafka_stream.protocols import Buffered, Look, OffsetAt, OpenTransaction, SourceEvent, TopicInfo, WantedTopics
from kafka_stream.source.client_log import CLIENT_LOG
from kafka_stream.source.cluster import Cluster
from kafka_stream.source.consumer.creation import consumer_settings, new_consumer
from kafka_stream.source.consumer.open_transactions import open_transactions
from kafka_stream.source.consumer_thread import ConsumerThread, Start
from kafka_stream.source.group_protocol import AUTO, WILLING, GroupProtocol
from kafka_stream.source.inbox import Inbox, SourceLimits
from kafka_stream.source.published_offsets import PublishedOffsets
from kafka_stream.source.sessions.group_wait import GroupWait, classic_session_s
from kafka_stream.source.sessions.static_member import INSTANCE_ID, refuse_if_taken
from kafka_stream.source.topic_watch import TopicWatch, look_at
from kafka_stream.types import OffsetRange, TopicPartition

logger = logging.getLogger("kafka_stream.source")

_CLIENT_ID = "client.id"
_NO_MARK = "kafka-stream"
_MOCK_BROKERS = "test.mock.num.brokers"


class KafkaSource:
    """A ``Source`` that reads topics through one librdkafka consumer, which one thread of its own touches.

    Building one connects to nothing. ``config`` are librdkafka settings; its Python callbacks (``error_cb``,
    ``stats_cb``, ``oauth_cb``, ``logger``) are the user's. Nothing is committed to Kafka but what is published, which
    is never read back; what librdkafka logs goes to the logger ``kafka_stream.librdkafka``. ``group_protocol`` is
    ``"classic"``, ``"consumer"`` or ``"auto"``, which a setting that only one of the two has decides; with an
    ``instance_id`` it is a static member (KIP-345).
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        group_id: str,
        topics: Sequence[str],
        limits: SourceLimits,
        group_protocol: str = AUTO,
        *,
        instance_id: str | None = None,
    ) -> None:
        if not topics:
            raise ValueError("a source needs at least one topic")
        self._config = ClientSettings(config)
        self._group_id = group_id
        self._wanted = WantedTopics.of(topics)
        self._followed = self._wanted.named
        self._inbox = Inbox(limits)
        self._published = PublishedOffsets()
        wanted = group_protocol_of(group_protocol, config, instance_id)
        self._protocol = GroupProtocol(wanted, group_id, instance_id=instance_id)
        self._group_wait = GroupWait(group_id, classic_session_s(config))
        self._instance_id, self._is_member = instance_id, False
        self._mark: str | None = None
        self._made_with: tuple[str | None, ...] = ()
        self._cluster: Cluster | None = None
        self._thread: ConsumerThread | None = None
        self._watch: TopicWatch | None = None

    @property
    def group_protocol(self) -> str:
        """The one that its group was joined by, ``"classic"`` before."""
        return self._protocol.current

    def open(self, timeout_s: float, is_stopping: Callable[[], bool] = lambda: False) -> None:
        """Connect and start the consumer's thread; may be called again after a failure.

        Raises:
            BrokerUnavailable: no broker answered within ``timeout_s``, or before the stop.
            NotAuthorized: it refused us.
            ConfigurationError: librdkafka refused a setting, or TLS does not come about.
        """
        assert self._thread is None, "the source is open already"
        if _MOCK_BROKERS in self._config:
            raise ConfigurationError(
                f"{_MOCK_BROKERS} would give this consumer an empty cluster of its own; start the mock cluster in a "
                "producer and name its brokers in bootstrap.servers"
            )
        self._close_cluster()
        self._cluster = cluster = Cluster(self._config, CLIENT_LOG, is_stopping)
        cluster.connect(timeout_s)

        def look(positions: Mapping[TopicPartition, int]) -> Look:
            self._protocol.look(cluster)
            thread = self._thread
            since = None if thread is None else thread.membership.waiting_since
            self._group_wait.look(since, self._protocol.current, cluster)
            return look_at(cluster.matching(self._wanted), positions, partial(cluster.offsets, patience_s=0))

        self._watch = TopicWatch(look, self._inbox.wake, f"kafka-stream-look-{self._group_id}")
        self._begin_consumer()

    def close(self) -> None:
        """Leave the group, if any, and end the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.close()
            self._inbox.void()
        self._close_cluster()

    def _close_cluster(self) -> None:
        if self._cluster is not None:
            self._cluster.close()

    def topics(self) -> Mapping[str, TopicInfo]:
        """The stream's topics as the broker knows them now."""
        return self._opened()[0].matching(self._wanted)

    def offsets(self, partitions: Sequence[TopicPartition], at: OffsetAt | datetime) -> Mapping[TopicPartition, int]:
        """The offset of each partition's end, or of its first record at or after a time (else its latest end)."""
        try:
            return self._opened()[0].offsets(partitions, at, patience_s=0)  # the loop has others to serve, asks again
        except TopicNotFound as error:
            if self._wanted.patterns:  # one that is matched may be deleted at any time: who asks again goes without it
                raise BrokerUnavailable(f"{error} (or just deleted)") from error
            raise

    def ends_before(self, partitions: Sequence[TopicPartition], at: datetime) -> Mapping[TopicPartition, int]:
        """Where the records from before a time end, those of open transactions included."""
        cluster = self._opened()[0]
        ends = cluster.offsets(partitions, OffsetAt.HIGH_WATERMARK)  # first: what comes after it came later
        return {**ends, **cluster.first_offsets_after(partitions, at)}

    def open_transactions(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, OpenTransaction]:
        """The transactions behind whose beginning these partitions' latest ends stay."""
        return open_transactions(self._opened()[0], self._config, partitions)

    def begin_look(self, positions: Mapping[TopicPartition, int]) -> None:
        """Ask for the topics and these partitions' ends, on a thread of its own."""
        assert self._watch is not None, "open() comes first"
        self._watch.begin(positions)

    def look(self) -> Look | None:
        """The answer that has come since the last call."""
        assert self._watch is not None, "open() comes first"
        return self._watch.answer()

    def trouble(self) -> KafkaStreamError | None:
        """What the consumer or the last look ran into."""
        known = [it.trouble for it in (self._thread, self._watch) if it is not None]
        return next((trouble for trouble in known if trouble is not None), None)

    def cluster_id(self) -> str | None:
        """The id of the cluster that is read."""
        return self._opened()[0].cluster_id()

    def group_metadata(self, partitions: Sequence[TopicPartition]) -> object | None:
        """The membership under which these partitions are ours; ``None`` outside a group.

        The consumer's thread captures it all the time. In this order: a partition is marked before the group hears that
        it was given up, so what was captured before it was found unmarked is of a generation in which it was ours.
        """
        thread = self._opened()[1]
        if not thread.membership.in_group:
            return None
        metadata = thread.membership.metadata
        if metadata is None or self._inbox.is_revoking(partitions):
            raise OwnershipLost(
                f"{', '.join(map(str, partitions))} were revoked or lost by this member of {self._group_id!r}: "
                "the batch is dropped"
            )
        return metadata

    def group_members(self) -> Sequence[str]:
        """Who is in the consumer group now, as ``client id on host``; empty without a group."""
        return self._opened()[0].group_members(self._group_id)

    def introduce(self, mark: str) -> None:
        """Show this as the client id, once the group is joined; a client id of the user's stays."""
        self._mark = mark

    def follow(self, topics: Sequence[str]) -> None:
        """Have the group assign partitions of these topics only."""
        self._followed = tuple(topics)
        self._opened()[1].follow(self._followed)

    def subscribe(self) -> None:
        """Join the consumer group; assignments come as events. Raises ``BrokerUnavailable``, ``NotAuthorized``."""
        cluster, thread = self._opened()
        self._protocol.choose(cluster)
        self._is_member = True
        if self._made_with != self._to_make_with():
            thread.close()
            self._inbox.void()
            thread = self._begin_consumer()
        thread.subscribe()

    def rejoin(self) -> None:
        """Leave the group and join it again, by its members' protocol; assignments are void. Raises InstanceIdInUse."""
        cluster, thread = self._opened()
        self._inbox.void()
        refuse_if_taken(cluster, self._group_id, self._instance_id, thread.membership.member_id)
        try:
            self._protocol.choose(cluster)
        except KafkaStreamError as error:
            logger.warning("joining by the %s group protocol again: %s", self._protocol.current, error)
        thread.rejoin()

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Own these partitions without a group."""
        self._opened()[1].assign(partitions)

    def start_reading(self, positions: Mapping[TopicPartition, tuple[int, int | None]]) -> None:
        """Start (or restart) reading assigned partitions at ``(offset, leader_epoch)``."""
        thread = self._opened()[1]
        generations = self._inbox.start({partition: offset for partition, (offset, _) in positions.items()})
        thread.start({p: Start(*positions[p], generation) for p, generation in generations.items()})

    def events(self) -> Sequence[SourceEvent]:
        """What happened since the last call, in order."""
        return self._inbox.events()

    def buffered(self) -> Mapping[TopicPartition, Buffered]:
        """A snapshot of the partitions that have come further than what was taken."""
        return self._inbox.buffered()

    def take(self, ranges: Sequence[OffsetRange]) -> Mapping[TopicPartition, Sequence[Message]]:
        """Remove and return the records of planned ranges."""
        taken = self._inbox.take(ranges)
        if self._thread is not None:
            self._thread.nudge()
        return taken

    def read_on_until(self, untils: Mapping[TopicPartition, int]) -> None:
        """Do not hold these partitions back before they are read up to here."""
        self._inbox.read_on_until(untils)

    def publish_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Have these committed as the group's offsets, for others to look at; on the consumer's thread, soon."""
        self._published.publish(offsets)

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """The loop has finished with revoked or lost partitions."""
        self._inbox.release(partitions)

    def is_revoking(self, partitions: Sequence[TopicPartition]) -> bool:
        """Whether any of these is being, or was, revoked or lost."""
        return self._inbox.is_revoking(partitions)

    def wait(self, timeout_s: float) -> None:
        """Return when there is new data or an event, when ``wake`` was called, or after the timeout."""
        self._inbox.wait(timeout_s)

    def wake(self) -> None:
        """Make ``wait`` return soon; callable from a signal handler."""
        self._inbox.wake()

    def _opened(self) -> tuple[Cluster, ConsumerThread]:
        assert self._cluster is not None and self._thread is not None, "open() comes first"  # noqa: PT018
        return self._cluster, self._thread

    def _begin_consumer(self) -> ConsumerThread:
        assert self._cluster is not None, "open() comes first"
        self._inbox.renew()
        self._thread = thread = ConsumerThread(
            self._create, self._wanted, self._inbox, self._cluster, self._published, self._protocol
        )
        thread.follow(self._followed)
        thread.begin(f"kafka-stream-consumer-{self._group_id}")
        return thread

    def _create(self, on_error: Callable[[KafkaError], None]) -> Consumer:
        self._made_with = protocol, client_id, instance_id = self._to_make_with()
        settings = consumer_settings(self._config, self._group_id, protocol)
        settings |= {k: v for k, v in ((_CLIENT_ID, client_id), (INSTANCE_ID, instance_id)) if v is not None}
        settings["on_commit"] = self._published.answered
        return new_consumer(settings, on_error, Consumer)

    def _to_make_with(self) -> tuple[str, str | None, str | None]:
        """Group protocol, client id, and the id of a static member, which a consumer outside the group has not."""
        return self._protocol.current, self._client_id(), self._instance_id if self._is_member else None

    def _client_id(self) -> str | None:
        """What others see; a client id of the user's stays as it is."""
        if _CLIENT_ID in self._config:
            return None
        return f"{self._mark or _NO_MARK}{WILLING}" if self._protocol.is_waiting else self._mark


__all__ = ["KafkaSource", "SourceLimits"]
