"""The topic that a stream's dead letters are in: made, and read from any offset as far as it is committed.

One of its partitions is used, so that what becomes of the letters has one order.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicCollection
from confluent_kafka import TopicPartition as ClientTopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported at run time only
    AdminClient,
    NewTopic,
    OffsetSpec,
)

from kafka_stream.errors import ConfigurationError, KafkaStreamError, NotAuthorized, StoreUnavailable
from kafka_stream.offset_stores.kafka.brokers import Brokers
from kafka_stream.offset_stores.kafka.errors import mapped
from kafka_stream.offset_stores.kafka.requests import END_S, REQUEST_TIMEOUT_S, Requests, asked
from kafka_stream.source.kafka_errors import is_end_of_partition, refusal
from kafka_stream.source.renewed import Renewed

# ruff: noqa: SLF001 - librdkafka's own codes begin with an underscore

PARTITION = 0
_CONFIG = {"cleanup.policy": "delete", "retention.ms": "-1"}
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_POLL_S = 0.1
_AT_ONCE = 500
_UNKNOWN = frozenset({KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART})
_DENIED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})
_MISCONFIGURED = frozenset(
    {
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_PARTITIONS,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.POLICY_VIOLATION,
        KafkaError.TOPIC_EXCEPTION,
    }
)


class LetterTopic:
    """One topic. Building it connects to nothing; the group's name is needed by the client alone."""

    def __init__(self, brokers: Brokers, topic: str, group_id: str) -> None:
        self.topic = topic
        self._brokers = brokers
        self._group_id = group_id
        self.position = 0
        """The offset behind what was read last."""
        self._reader: Renewed[Requests[Consumer]] | None = None

    def close(self) -> None:
        """Give the connections back."""
        if self._reader is not None:
            self._reader.client.end(END_S)
            self._reader = None

    def exists(self) -> bool:
        """Whether there is such a topic."""
        doing = f"looking for topic {self.topic!r}"
        try:
            self._brokers.ask(partial(_described, self.topic), doing)
        except KafkaException as error:
            if error.args[0].code() in _UNKNOWN:
                return False
            if error.args[0].code() == KafkaError.TOPIC_EXCEPTION:  # no topic can have this name
                raise self._not_created(error.args[0]) from error
            raise self._failure(error.args[0], doing) from error
        return True

    def create(self) -> None:
        """Create it unless it is there.

        Raises:
            NotAuthorized, ConfigurationError: the brokers will not have it.
        """
        with suppress(NotAuthorized):  # to create it may be for us, where to look for it is not
            if self.exists():
                return
        try:
            self._brokers.ask(partial(_create, self.topic), f"creating topic {self.topic!r}")
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise self._not_created(error.args[0]) from error

    def _not_created(self, error: KafkaError) -> KafkaStreamError:
        where, code = self._brokers.where, error.code()
        by_hand = "create it beforehand, with one partition, cleanup.policy=delete and retention.ms=-1"
        if code in _DENIED:
            return NotAuthorized(
                f"topic {self.topic!r}, which dead letters go to, could not be created at {where}: grant CREATE on it, "
                f"or {by_hand}"
            )
        if code in _MISCONFIGURED:
            return ConfigurationError(
                f"topic {self.topic!r}, which dead letters go to, could not be created at {where} ({error.str()}): "
                f"name another one in DeadLetters(topic=…), or {by_hand}"
            )
        return self._failure(error, f"creating topic {self.topic!r}")

    def end(self) -> int:
        """The offset behind its last record, that of an open transaction included."""
        doing = f"asking for the end of topic {self.topic!r}"
        try:
            return self._brokers.ask(partial(_end, self.topic), doing)
        except KafkaException as error:
            raise self._failure(error.args[0], doing) from error

    def messages(self, begin: int, until: int, idle_s: float) -> Iterator[Message]:
        """The committed records of a range of offsets, in order, and perhaps some behind it.

        Raises:
            StoreUnavailable: for so long nothing came, though the end was not reached: a transaction is open, most
                likely.
        """
        if self._reader is None or begin != self.position:
            self.close()
            self.position = begin
            self._reader = Renewed(self._assigned)
        is_whole, quiet_since = False, time.monotonic()
        try:
            while self.position < until:
                before = self.position
                yield from self._next()
                if self.position > before:
                    quiet_since = time.monotonic()
                elif time.monotonic() - quiet_since > idle_s:
                    raise self._held_up()
            is_whole = True
        finally:
            if not is_whole:
                self.close()  # what it has given was perhaps not taken

    def _next(self) -> Iterator[Message]:
        for message in self._consumed():
            if (error := message.error()) is None:
                self.position = (message.offset() or 0) + 1
                yield message
            elif is_end_of_partition(error):
                self.position = max(self.position, message.offset() or 0)
            elif (
                refused := refusal(error, self._brokers.where, f"topic {self.topic!r}", topic_rights="READ")
            ) is not None:
                raise refused

    def _held_up(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"topic {self.topic!r} at {self._brokers.where} could not be read beyond offset {self.position}: an open "
            "transaction holds it up, which ends with its producer, or after its transaction.timeout.ms; try again"
        )

    def _consumed(self) -> Sequence[Message]:
        assert self._reader is not None
        doing = f"reading topic {self.topic!r}"
        try:
            return asked(self._reader, _consume, REQUEST_TIMEOUT_S, doing)
        except KafkaException as error:
            raise self._failure(error.args[0], doing) from error

    def _assigned(self) -> Requests[Consumer]:
        settings: dict[str, Any] = {
            "group.id": self._group_id,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
        client = self._brokers.client(Consumer, settings)
        client.assign([ClientTopicPartition(self.topic, PARTITION, self.position)])
        return Requests(client, self._brokers.waits, _close)

    def _failure(self, error: KafkaError, doing: str) -> KafkaStreamError:
        return mapped(error, doing, self._brokers.where, topic=self.topic)


# What the clients are asked, on their threads.


def _described(topic: str, client: AdminClient) -> None:
    client.describe_topics(TopicCollection([topic]), request_timeout=REQUEST_TIMEOUT_S)[topic].result()


def _create(topic: str, client: AdminClient) -> None:
    wanted = NewTopic(topic, num_partitions=1, replication_factor=-1, config=_CONFIG)  # -1: as the brokers have it
    client.create_topics([wanted], request_timeout=REQUEST_TIMEOUT_S)[topic].result()


def _end(topic: str, client: AdminClient) -> int:
    tp = ClientTopicPartition(topic, PARTITION)
    answers = client.list_offsets(
        {tp: _LATEST},
        isolation_level=IsolationLevel.READ_UNCOMMITTED,
        request_timeout=REQUEST_TIMEOUT_S,
    )
    return int(answers[tp].result().offset)


def _consume(client: Consumer) -> Sequence[Message]:
    first = client.poll(_POLL_S)  # returns with the first that there is, which consume() does not
    return [] if first is None else [first, *client.consume(_AT_ONCE, 0)]


def _close(client: Consumer) -> None:
    with suppress(KafkaException, RuntimeError):
        client.close()


__all__ = ["PARTITION", "LetterTopic"]
