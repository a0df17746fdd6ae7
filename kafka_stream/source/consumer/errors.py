"""What a consumer's errors are to the stream: its end, a partition's stop, or a line in the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from confluent_kafka import KafkaError, KafkaException, Message

from kafka_stream.errors import KafkaStreamError, TopicNotFound
from kafka_stream.source.client_log import CLIENT_LOG, ClientLog
from kafka_stream.source.cluster import Cluster
from kafka_stream.source.consumer.large_responses import LargeResponses
from kafka_stream.source.consumer.partitions import ConsumerPartitions
from kafka_stream.source.inbox import Inbox
from kafka_stream.source.kafka_errors import (
    is_end_of_partition,
    is_missing_topic,
    is_no_broker_left,
    is_not_offered,
    is_passing,
    is_position_gone,
    is_put_out,
    is_refused_by_group,
    is_truncation,
    is_unreadable_response,
    refusal,
    without_cover,
)
from kafka_stream.source.lost_brokers import LostBrokers
from kafka_stream.source.sessions.static_member import is_id_held, is_id_taken, taken
from kafka_stream.types import TopicPartition

logger = logging.getLogger("kafka_stream.source")

_MISSING_TOPIC_GRACE_S = 5.0
_GROUP_OR_TOPICS = "access to the consumer group or its topics"


class ConsumerErrors:
    """Tells the loop of what needs somebody; logs what passes. The consumer thread's alone."""

    def __init__(
        self,
        inbox: Inbox,
        cluster: Cluster,
        topics: Sequence[str],
        lost_brokers: LostBrokers,
        log: ClientLog = CLIENT_LOG,
    ) -> None:
        self._inbox = inbox
        self._cluster = cluster
        self._topics = topics
        self._lost_brokers = lost_brokers
        self._large_responses = LargeResponses(inbox, cluster)
        self._log = log
        self._consumers = 0
        self._topic_missing_since: float | None = None
        self._is_member = False
        self._group_refusal: KafkaError | None = None
        self.ended: KafkaError | None = None
        """What ended this consumer, where a new one may go on: the thread takes it."""

    def joins(self) -> None:
        """From now on the consumer is a member of its group. What it was refused before is told once, and was kept."""
        self._is_member = True
        if (refused := self._group_refusal) is not None:
            self._group_refusal = None
            self.of_consumer(refused)

    def of_next_consumer(self) -> Callable[[KafkaError], None]:
        """Who hears the next consumer, and the earlier ones no more, which may say that it has taken their place."""
        self._consumers += 1
        number = self._consumers
        return lambda error: self.of_consumer(error) if number == self._consumers else None

    def of_consumer(self, error: KafkaError) -> None:
        """What concerns no single partition; librdkafka calls it while the consumer polls.

        A consumer that is no member asks its group for nothing: it is librdkafka that looks for a coordinator, and may
        be refused.
        """
        self._lost_brokers.heard(error)
        error = without_cover(error)
        if error.fatal() and (is_not_offered(error) or is_put_out(error) or is_id_held(error)):
            self.ended = error
            return
        if is_id_taken(error):
            self._inbox.failed(taken(self._cluster.servers, error.str()))
            return
        if is_unreadable_response(error):
            self._large_responses.heard(error)
        if is_refused_by_group(error) and not self._is_member:
            self._group_refusal = error
            return
        if (refused := refusal(error, self._cluster.servers, _GROUP_OR_TOPICS)) is not None:
            self._inbox.failed(refused)
        elif error.fatal():
            self._inbox.failed(KafkaStreamError(f"the Kafka consumer failed for good: {error.str()}"))
        elif not is_missing_topic(error):
            of_all = is_no_broker_left(error)  # which names none, and there may be other clusters
            self._log.fault(f"{self._cluster.servers}: {error.str()}" if of_all else error.str())
        elif self._topic_missing_since is None:
            self._topic_missing_since = time.monotonic()

    def of_message(self, message: Message, partitions: ConsumerPartitions) -> None:
        """What came among the records, in its place."""
        error, topic, number = message.error(), message.topic(), message.partition()
        assert error is not None
        if topic is None or number is None or number < 0:
            self.of_consumer(error)
            return
        partition = TopicPartition(topic, number)
        if is_end_of_partition(error):
            offset = message.offset()
            assert offset is not None
            self._inbox.advance(partition, offset)
        elif is_position_gone(error):
            if partitions.halt(partition):
                self._inbox.position_lost(partition, truncated=is_truncation(error), reason=error.str())
        elif is_missing_topic(error) or is_passing(error):
            self.of_consumer(error)
        else:
            self._stop_partition(partition, error)

    def of_thread(self, error: Exception) -> None:
        """What ended the thread."""
        failure: KafkaStreamError | None
        if isinstance(error, KafkaException):
            reason: KafkaError = error.args[0]
            failure = refusal(reason, self._cluster.servers, _GROUP_OR_TOPICS)
            failure = failure or KafkaStreamError(f"the Kafka consumer failed: {reason.str()}")
        else:
            what = error if isinstance(error, KafkaStreamError) else repr(error)
            failure = KafkaStreamError(f"the consumer thread failed: {what}")
        failure.__cause__ = error
        self._inbox.failed(failure)

    def look_into(self, partitions: ConsumerPartitions) -> None:
        """Ask about what an error alone did not tell."""
        if (too_large := self._large_responses.culprit(partitions)) is not None:
            self._inbox.failed(too_large)
        self._check_missing_topic()

    def _check_missing_topic(self) -> None:
        """A topic may be missing for a moment, while metadata spreads; one that stays away fails the stream."""
        since = self._topic_missing_since
        if since is None or time.monotonic() - since < _MISSING_TOPIC_GRACE_S:
            return
        self._topic_missing_since = None
        try:
            self._cluster.topics(self._topics)
        except TopicNotFound as error:
            self._inbox.failed(error)
        except KafkaStreamError as error:
            logger.warning("%s", error)

    def _stop_partition(self, partition: TopicPartition, error: KafkaError) -> None:
        """As librdkafka would go on behind what it could not read (a corrupt record batch), and we do not."""
        position = self._inbox.stop_reading(partition)
        where = f"{partition}, at offset {position}" if position is not None else str(partition)
        failure = refusal(error, self._cluster.servers, f"access to topic {partition.topic}")
        self._inbox.failed(failure or KafkaStreamError(f"reading {where} failed: {error.str()}"))


__all__ = ["ConsumerErrors"]
