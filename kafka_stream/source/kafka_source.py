"""Reading from Kafka: ``KafkaSource``, the only user of confluent-kafka's consumer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message

from kafka_stream.errors import ConfigurationError, KafkaStreamError, OwnershipLost
from kafka_stream.librdkafka import ClientSettings
from kafka_stream.protocols import Buffered, Look, OffsetAt, SourceEvent, TopicInfo
from kafka_stream.source.client_log import CLIENT_LOG
from kafka_stream.source.cluster import Cluster
from kafka_stream.source.connection import soon_again
from kafka_stream.source.consumer_thread import ConsumerThread, Start
from kafka_stream.source.inbox import Inbox, SourceLimits
from kafka_stream.source.kafka_errors import settings_accepted
from kafka_stream.source.published_offsets import PublishedOffsets
from kafka_stream.source.topic_watch import TopicWatch, look_at
from kafka_stream.types import OffsetRange, TopicPartition

_DEFAULTS: Mapping[str, Any] = {
    "isolation.level": "read_committed",
    # With librdkafka's own second of backoff its queue runs empty, and reading takes three times as long.
    "fetch.queue.backoff.ms": 2,
    # Of the whole consumer; with one response on its way per broker they bound librdkafka's memory.
    "queued.min.messages": 50_000,
    "queued.max.messages.kbytes": 32_768,
    "fetch.max.bytes": 16 * 2**20,
    # A partition that is resumed or moved waits for the request that is under way.
    "fetch.wait.max.ms": 100,
    "topic.metadata.refresh.interval.ms": 30_000,
}
_FORCED: Mapping[str, Any] = {
    "allow.auto.create.topics": False,
    "auto.offset.reset": "error",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
}
_CLIENT_ID = "client.id"
_MOCK_BROKERS = "test.mock.num.brokers"


def consumer_settings(config: Mapping[str, Any], group_id: str) -> dict[str, Any]:
    """The user's librdkafka settings, with what the guarantee rests on, and defaults that read fast."""
    settings = {**_DEFAULTS, **soon_again(config), **config, **_FORCED, "group.id": group_id}
    if settings.get("group.protocol", "classic") == "classic":
        settings["partition.assignment.strategy"] = "cooperative-sticky"
    return settings


def new_consumer(
    settings: Mapping[str, Any], on_error: Callable[[KafkaError], None], make: Callable[[dict[str, Any]], Consumer]
) -> Consumer:
    """A consumer whose errors are told to ``on_error``, and then to the user's ``error_cb``, if there is one.

    Raises:
        ConfigurationError: librdkafka has refused a setting.
    """
    users = settings.get("error_cb")

    def tell_both(error: KafkaError) -> None:
        on_error(error)
        if users is not None:
            users(error)

    with settings_accepted():
        return make({"logger": CLIENT_LOG, **settings, "error_cb": tell_both})


class KafkaSource:
    """A ``Source`` that reads topics through one librdkafka consumer, which one thread of its own touches.

    Building one connects to nothing. ``config`` are librdkafka settings; its Python callbacks (``error_cb``,
    ``stats_cb``, ``oauth_cb``, ``logger``) are the user's. Nothing is committed to Kafka but what is published, which
    is never read back; what librdkafka logs goes to the logger ``kafka_stream.librdkafka``.
    """

    def __init__(self, config: Mapping[str, Any], group_id: str, topics: Sequence[str], limits: SourceLimits) -> None:
        if not topics:
            raise ValueError("a source needs at least one topic")
        self._config = ClientSettings(config)
        self._group_id = group_id
        self._topics = tuple(topics)
        self._inbox = Inbox(limits)
        self._published = PublishedOffsets()
        self._mark: str | None = None
        self._cluster: Cluster | None = None
        self._thread: ConsumerThread | None = None
        self._watch: TopicWatch | None = None

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
        topics = self._topics
        self._watch = TopicWatch(
            lambda positions: look_at(cluster.topics(topics), positions, partial(cluster.offsets, patience_s=0)),
            self._inbox.wake,
            f"kafka-stream-look-{self._group_id}",
        )
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
        return self._opened()[0].topics(self._topics)

    def offsets(self, partitions: Sequence[TopicPartition], at: OffsetAt | datetime) -> Mapping[TopicPartition, int]:
        """The offset of each partition's end, or of its first record at or after a time (else its latest end)."""
        return self._opened()[0].offsets(partitions, at, patience_s=0)  # the loop has others to serve, and asks again

    def ends_before(self, partitions: Sequence[TopicPartition], at: datetime) -> Mapping[TopicPartition, int]:
        """Where the records from before a time end, those of open transactions included."""
        cluster = self._opened()[0]
        ends = cluster.offsets(partitions, OffsetAt.HIGH_WATERMARK)  # first: what comes after it came later
        return {**ends, **cluster.first_offsets_after(partitions, at)}

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
        """Show this as the client id, which takes a new consumer; a client id of the user's stays."""
        if _CLIENT_ID in self._config or self._mark == mark:
            return
        self._mark = mark
        self._opened()[1].close()
        self._inbox.void()
        self._begin_consumer()

    def subscribe(self) -> None:
        """Join the consumer group; assignments come as events."""
        self._opened()[1].subscribe()

    def rejoin(self) -> None:
        """Leave the group and join it again; all assignments are void."""
        thread = self._opened()[1]
        self._inbox.void()
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
        assert self._cluster is not None, "open() comes first"
        assert self._thread is not None, "open() comes first"
        return self._cluster, self._thread

    def _begin_consumer(self) -> None:
        assert self._cluster is not None, "open() comes first"
        self._inbox.renew()
        self._thread = ConsumerThread(self._create, self._topics, self._inbox, self._cluster, self._published)
        self._thread.begin(f"kafka-stream-consumer-{self._group_id}")

    def _create(self, on_error: Callable[[KafkaError], None]) -> Consumer:
        settings = consumer_settings(self._config, self._group_id)
        if self._mark is not None:
            settings.setdefault(_CLIENT_ID, self._mark)
        settings["on_commit"] = self._published.answered
        return new_consumer(settings, on_error, Consumer)


__all__ = ["KafkaSource", "SourceLimits", "consumer_settings", "new_consumer"]
