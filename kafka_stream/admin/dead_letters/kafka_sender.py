"""``KafkaSender``: a replay's records and its cursor, an offset of the group ``<group_id>.replay``, together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as ClientTopicPartition

from kafka_stream.admin.dead_letters.sending import Cursor, Record
from kafka_stream.errors import CommandRefused, CommitOutcomeUnknown, StoreUnavailable
from kafka_stream.offset_stores.kafka.access import Access
from kafka_stream.offset_stores.kafka.errors import is_fenced
from kafka_stream.offset_stores.kafka.producer import Fenced, OutcomeUnknown, TransactionalProducer
from kafka_stream.offset_stores.kafka.requests import END_S
from kafka_stream.offset_stores.kafka.settings import merged_config
from kafka_stream.source.cluster import Cluster
from kafka_stream.types import TopicPartition

_ABANDONED = " abandoned"
_LARGEST_RECORD = 100_000_000  # the topic had taken it, so the client does not object


def replay_group(group_id: str) -> str:
    """The group that keeps a stream's replay cursor, which is its transactional id, too."""
    return f"{group_id}.replay"


class KafkaSender:
    """Sends to the brokers of ``cluster``, reached by ``kafka``, librdkafka's settings. Connects when it takes over.

    A second sender of the same group fences the first one (KIP-98): the transactional id is stable.
    """

    def __init__(self, cluster: Cluster, kafka: Mapping[str, Any], group_id: str) -> None:
        self._cluster = cluster
        self._group_id = replay_group(group_id)
        config = {"message.max.bytes": _LARGEST_RECORD, **merged_config({}, kafka)}
        self._access = Access(config, f"group {self._group_id!r} at {cluster.servers}", lambda: datetime.now(UTC))
        self._producer: TransactionalProducer | None = None

    def partitions(self, topics: Collection[str]) -> Mapping[str, int]:
        """See ``Sender``."""
        return {name: info.partitions for name, info in self._cluster.topics(sorted(topics)).items()}

    def take_over(self, at: TopicPartition) -> Cursor | None:
        """See ``Sender``."""
        self._let_go()
        try:
            self._producer = self._access.producer(self._group_id)
        except Fenced as error:
            raise self._overtaken() from error
        found = self._access.group(self._group_id).noted(at)
        return None if found is None else _cursor(*found)

    def send(
        self, records: Sequence[Record], cursor: Cursor, at: TopicPartition, before_commit: Callable[[], None]
    ) -> None:
        """See ``Sender``."""
        producer = self._producer
        assert producer is not None
        try:
            self._send(producer, records, cursor, at, before_commit)
        except Fenced as error:
            if producer.age_s < producer.timeout_s:
                raise self._overtaken() from error
            raise StoreUnavailable(f"nothing was committed at {self._access.where}: {error}") from error
        except OutcomeUnknown as error:
            cause = error.__cause__
            fenced = isinstance(cause, KafkaException) and is_fenced(cause.args[0])
            if fenced and producer.age_s < producer.timeout_s:
                raise self._overtaken() from error
            raise CommitOutcomeUnknown(
                f"a part of the replay may have been sent at {self._access.where}: {error}"
            ) from error

    def _send(
        self,
        producer: TransactionalProducer,
        records: Sequence[Record],
        cursor: Cursor,
        at: TopicPartition,
        before_commit: Callable[[], None],
    ) -> None:
        nobody = self._access.group(self._group_id).nobody

        def write() -> None:
            for each in records:
                sent = each.payload
                headers = list(sent.headers)
                producer.produce(each.topic, sent.value, sent.key, headers, each.partition, sent.timestamp_ms or 0)
            producer.flush()

        producer.commit_offsets([_offset(cursor, at)], nobody, before_commit, write)

    def close(self) -> None:
        """See ``Sender``."""
        self._let_go()
        self._access.close()
        self._cluster.close()

    def _let_go(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.end(END_S)

    def _overtaken(self) -> CommandRefused:
        return CommandRefused(
            f"another command has taken over the replays of {self._access.where}, and goes on where this one stopped: "
            "wait for it, then look again"
        )


def _offset(cursor: Cursor, at: TopicPartition) -> ClientTopicPartition:
    text = f"{cursor.replay_id}{_ABANDONED if cursor.abandoned else ''}"
    return ClientTopicPartition(at.topic, at.partition, cursor.sent, text)


def _cursor(sent: int, text: str) -> Cursor:
    return Cursor(text.removesuffix(_ABANDONED), sent, text.endswith(_ABANDONED))


__all__ = ["KafkaSender", "replay_group"]
