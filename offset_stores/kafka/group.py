"""A consumer group from outside: its committed offsets, and whether it has members.

Offsets are read by consumers that never join, rather than by the admin client: in librdkafka (2.16) its requests to a
group's coordinator end the process if the connection breaks at the wrong moment (librdkafka issue 4605), or if the
coordinator has moved or is still loading, and find no coordinator for minutes after all brokers were away (issue 5511).
Only an admin client could ask which offsets there are; here it is asked for those of all partitions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientTopicPartition

from kafka_stream.errors import KafkaStreamError, StoreUnavailable
from kafka_stream.offset_stores.kafka.brokers import Brokers
from kafka_stream.offset_stores.kafka.errors import is_unstable, mapped
from kafka_stream.offset_stores.kafka.metadata import Stored, decode
from kafka_stream.offset_stores.kafka.requests import END_S, REQUEST_TIMEOUT_S, Requests, asked
from kafka_stream.source.kafka_errors import asked_anew, insisting, refusal
from kafka_stream.source.renewed import Renewed
from kafka_stream.types import TopicPartition

# ruff: noqa: SLF001 - librdkafka's own codes begin with an underscore

UNSTABLE_FOR_S = 5.0
_SHORTLY_S = 2.0  # for a coordinator that a client may take for one still: a new client is told of the new one
_FIRST_PATIENCE_S = 0.5
_PATIENT = (KafkaError._TIMED_OUT, KafkaError._WAIT_COORD)

Found = dict[TopicPartition, Stored]
T = TypeVar("T")


class Group:
    """One group's committed offsets. Building it connects to nothing."""

    def __init__(self, brokers: Brokers, group_id: str) -> None:
        self._brokers = brokers
        self._group_id = group_id
        self._nobody: Any = None
        # Only a reader of what is committed waits for offsets that are still in a transaction (KIP-447).
        self._waiting, self._hasty = (
            Renewed(partial(self._reader, isolation)) for isolation in ("read_committed", "read_uncommitted")
        )

    def _reader(self, isolation: str) -> Requests[Consumer]:
        settings = {"group.id": self._group_id, "enable.auto.commit": False, "isolation.level": isolation}
        return Requests(self._brokers.client(Consumer, settings), self._brokers.waits, _close)

    def close(self) -> None:
        """Give the connections back."""
        self._waiting.client.leave()
        self._hasty.client.end(END_S)
        self._waiting.client.end(END_S)

    @property
    def nobody(self) -> Any:
        """The group metadata of a consumer that is no member: what a transaction commits with outside a group.

        Kafka accepts it in a group with members too, so that it fences nobody: the ``transactional.id`` does.
        """
        if self._nobody is None:
            self._nobody = self._asked(self._hasty, _metadata_of_nobody, REQUEST_TIMEOUT_S)
        return self._nobody

    def has_members(self) -> bool:
        """Whether somebody has joined it."""
        return self._brokers.has_members(self._group_id)

    def members(self) -> Sequence[str]:
        """Who they are, as ``client id on host``, as far as it can be learned."""
        return self._brokers.members(self._group_id)

    def partitions_of(self, topics: Iterable[str]) -> Sequence[TopicPartition]:
        """All partitions of those of these topics that exist."""
        found = []
        for topic in sorted(set(topics)):
            listed = self._asked(self._hasty, partial(_topics, topic), REQUEST_TIMEOUT_S)
            found += [TopicPartition(topic, number) for number in sorted(listed[topic].partitions)]
        return found

    def all_partitions(self) -> Sequence[TopicPartition]:
        """Those of every topic that there is: the group's offsets are of some of them."""
        topics = self._asked(self._hasty, partial(_topics, None), REQUEST_TIMEOUT_S)
        return [TopicPartition(name, number) for name, found in sorted(topics.items()) for number in found.partitions]

    def committed(self, partitions: Sequence[TopicPartition]) -> Found:
        """What is committed now, whatever an open transaction may add."""
        return self._read(self._hasty, partitions, REQUEST_TIMEOUT_S)

    def stable(self, partitions: Sequence[TopicPartition]) -> Found:
        """What is committed, once no open transaction can change it.

        Raises:
            StoreUnavailable: a transaction stayed open for longer than a few seconds; it ends by itself in time.
        """
        try:
            return self._read(self._waiting, partitions, UNSTABLE_FOR_S)
        except StoreUnavailable as error:
            self.committed(partitions)  # raises if it is the broker that does not answer
            raise StoreUnavailable(
                f"an open transaction holds committed offsets of group {self._group_id!r} at {self._brokers.where} "
                f"({', '.join(map(str, partitions[:3]))}, …); it ends with its producer, or after its "
                "transaction.timeout.ms"
            ) from error

    def noted(self, partition: TopicPartition) -> tuple[int, str] | None:
        """One partition's offset, and the text that is kept beside it, whoever's it is; read as ``stable`` does."""
        wanted = [ClientTopicPartition(partition.topic, partition.partition)]
        (found,) = self._asked(self._waiting, partial(_committed, wanted), UNSTABLE_FOR_S)
        if found.error is not None:
            raise self._failure(found.error)
        return None if found.offset < 0 else (found.offset, _metadata(found) or "")

    def _read(
        self, reader: Renewed[Requests[Consumer]], partitions: Sequence[TopicPartition], timeout_s: float
    ) -> Found:
        if not partitions:
            return {}
        wanted = [ClientTopicPartition(tp.topic, tp.partition) for tp in partitions]
        found = {}
        for each in self._asked(reader, partial(_committed, wanted), timeout_s):
            tp = TopicPartition(each.topic, each.partition)
            if each.error is not None:  # whatever offset stands beside it: -1001 with an error is not absence
                raise self._failure(each.error)
            if each.offset >= 0:
                found[tp] = decode(tp, each.offset, _epoch(each.leader_epoch), _metadata(each))
        return found

    def _asked(
        self, reader: Renewed[Requests[Consumer]], request: Callable[[float, Consumer], T], timeout_s: float
    ) -> T:
        """Ask again while a coordinator moves, or has not loaded its groups yet; and where none answers, a new client.

        ``request`` is handed its time, in seconds.
        """

        def ask(patience_s: float) -> T:
            question = partial(request, patience_s)
            return insisting(lambda: asked(reader, question, patience_s, self._doing), patience_s)

        try:  # ``asked`` has a new client by then
            return asked_anew(ask, lambda _: None, patiences_s=(min(_SHORTLY_S, timeout_s), timeout_s))
        except KafkaException as error:
            raise self._failure(error.args[0]) from error

    @property
    def _doing(self) -> str:
        return f"reading the committed offsets of group {self._group_id!r}"

    def _failure(self, error: KafkaError) -> KafkaStreamError:
        if is_unstable(error):
            return StoreUnavailable(f"an open transaction holds an offset of group {self._group_id!r}")
        return mapped(error, self._doing, self._brokers.where)


def _topics(topic: str | None, timeout_s: float, client: Consumer) -> Mapping[str, Any]:
    listed = client.list_topics(timeout=timeout_s) if topic is None else client.list_topics(topic, timeout_s)
    found: Mapping[str, Any] = listed.topics
    return found


def _metadata_of_nobody(_: float, client: Consumer) -> Any:
    return client.consumer_group_metadata()


def _committed(
    wanted: list[ClientTopicPartition], timeout_s: float, client: Consumer
) -> Sequence[ClientTopicPartition]:
    """Ask for longer and longer: in between the client is heard, which waits for a coordinator that refuses us."""
    deadline, patience_s = time.monotonic() + timeout_s, _FIRST_PATIENCE_S
    while True:
        heard = client.poll(0)  # it never joins, so this only hears of errors
        if heard is not None and (reason := heard.error()) is not None and refusal(reason, "", "") is not None:
            raise KafkaException(reason)
        left_s = deadline - time.monotonic()
        try:
            return client.committed(wanted, max(0.01, min(patience_s, left_s)))
        except KafkaException as error:
            if error.args[0].code() not in _PATIENT or left_s <= patience_s:
                raise
            patience_s *= 2


def _metadata(committed: ClientTopicPartition) -> str | None:
    """What is kept beside an offset; nothing, where another client has kept what cannot be read.

    Metadata that a Java client has written has no NUL at its end, and confluent-kafka (2.16) reads on until it finds
    one: bytes come out behind it that happen to lie there. What librdkafka has written, ours among it, comes out whole.
    """
    try:
        return committed.metadata
    except UnicodeDecodeError:
        return None


def _close(client: Consumer) -> None:
    with suppress(KafkaException, RuntimeError):
        client.close()


def _epoch(leader_epoch: int | None) -> int | None:
    return leader_epoch if leader_epoch is not None and leader_epoch >= 0 else None


__all__ = ["UNSTABLE_FOR_S", "Found", "Group"]
