"""One consumer that reads one partition, from any offset to any other: by position, never by counting records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from threading import Thread
from typing import Any, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as ClientTopicPartition

from kafka_stream.errors import BrokerUnavailable, KafkaStreamError, RecordTooLarge, TopicNotFound
from kafka_stream.protocols import PositionLost
from kafka_stream.protocols.executors import PositionGone, Slice, WhileWaiting
from kafka_stream.source.buffer import count_before, offset_after
from kafka_stream.source.connection import servers_of
from kafka_stream.source.consumer.creation import consumer_settings, new_consumer
from kafka_stream.source.kafka_errors import (
    is_end_of_partition,
    is_missing_topic,
    is_not_started,
    is_passing,
    is_position_gone,
    is_refused_by_group,
    is_truncation,
    is_unreadable_response,
    refusal,
)
from kafka_stream.source.security.logins import tls_refusal
from kafka_stream.types import TopicPartition

_SLICES: Mapping[str, Any] = {
    # What is fetched and not read is fetched in vain, unless the next slice goes on here; a response counts as it
    # comes, compressed.
    "fetch.message.max.bytes": 2**18,
    "queued.min.messages": 5_000,
    "queued.max.messages.kbytes": 4_096,
}
_CONSUME_AT_MOST = 2_000
_POLL_S = 0.1
_START_POLL_S = 0.002
_PATIENCE_S = 30.0
_MISSING_TOPIC_GRACE_S = 5.0
_METADATA_TIMEOUT_S = 5.0
_TIMES_TOO_LARGE = 3

MakeConsumer: TypeAlias = Callable[[dict[str, Any]], Consumer]


def look_at_nothing() -> None:
    """For who waits for as long as it takes."""


def slice_settings(kafka: Mapping[str, Any], group_id: str) -> dict[str, Any]:
    """The stream's settings for a consumer of slices: in no group, and with little fetched ahead.

    ``group_id`` is named to the broker, which wants one, but is not joined.
    """
    return {**consumer_settings(kafka, group_id), **_SLICES}


class PartitionReader:
    """Reads slices of a partition, one after the other; once it has raised, it is of no use but to be closed.

    ``position`` is up to where it has handed everything out: a slice that begins there goes on with what was fetched.
    """

    def __init__(
        self, settings: Mapping[str, Any], make: MakeConsumer = Consumer, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._servers = servers_of(settings)
        self._clock = clock
        self._failure: KafkaStreamError | None = None
        self._passing: str | None = None
        self._too_large = 0
        self._missing_since: float | None = None
        self._consumer = new_consumer(settings, self._hear, make)
        self._topics: set[str] = set()
        self.partition: TopicPartition | None = None
        self.position = -1
        self._ahead: Sequence[Message] = ()
        self._reported = -1

    def start(self, part: Slice, look: WhileWaiting = look_at_nothing) -> None:
        """Read from where a slice begins, whatever was read before.

        The leader epoch, where it is known, is compared with the log (KIP-320): who does not have it raises later.

        Raises:
            BrokerUnavailable, NotAuthorized, ConfigurationError, PositionGone.
        """
        self.partition = partition = part.range.topic_partition
        self.position = self._reported = part.range.from_offset
        self._ahead = ()
        self._learn(partition.topic)
        at = ClientTopicPartition(partition.topic, partition.partition, self.position)
        if part.leader_epoch is None or not at.offset:  # before the first record there is none to compare
            self._consumer.assign([at])
        else:
            self._assign_to_seek(at)
            self._seek(ClientTopicPartition(at.topic, at.partition, at.offset, leader_epoch=part.leader_epoch), look)

    def records(self, until: int, look: WhileWaiting = look_at_nothing) -> Iterator[Sequence[Message]]:
        """What lies between the position and ``until``, in order; ends when there cannot be any more.

        That is when a record at or behind ``until`` is there, or the partition's end is reported there: markers,
        aborted records and compaction leave holes.

        Raises:
            PositionGone: the broker does not have it any more.
            BrokerUnavailable: nothing came for 30 s.
            NotAuthorized, TopicNotFound, RecordTooLarge, KafkaStreamError: it cannot be read on.
        """
        while True:
            taken = self._take(until)
            if taken:
                yield taken
            if self._ahead or self._reported >= until:
                break
            self._fetch(until, look)
        self.position = until

    def close(self) -> None:
        """Let the consumer go, aside: one whose broker does not answer takes its time."""
        Thread(target=self._consumer.close, name="kafka-stream-slice-reader-closing", daemon=True).start()

    # To the position --------------------------------------------------------------------------------------------------

    def _learn(self, topic: str) -> None:
        """Have the topic's leaders known: librdkafka may look for them only when its timer fires, once a second."""
        if topic not in self._topics:
            self._look_up(topic)

    def _look_up(self, topic: str) -> None:
        """Ask for the topic, which is missing if the broker says so: a fetch from it would only give nothing."""
        assert self.partition is not None
        self._topics.discard(topic)
        try:
            found = self._consumer.list_topics(topic, timeout=_METADATA_TIMEOUT_S).topics[topic]
        except KafkaException as error:
            self._hear(error.args[0])
            return
        if found.error is not None:
            self._hear(found.error)
        elif self.partition.partition not in found.partitions:
            self._miss()
        else:
            self._topics.add(topic)
            self._missing_since = None

    def _assign_to_seek(self, at: ClientTopicPartition) -> None:
        """Nothing is fetched before the seek: what is out of range without an epoch may be a truncation with it."""
        with suppress(KafkaException):  # not this consumer's yet
            self._consumer.pause([at])
        self._consumer.assign([at])
        self._consumer.pause([at])  # again: where it was not assigned, there was nothing yet to set the flag on

    def _seek(self, at: ClientTopicPartition, look: WhileWaiting) -> None:
        """Only this compares the leader epoch with the log, not an assignment at an offset."""
        deadline = self._clock() + _PATIENCE_S
        while not self._seeks(at):
            message = self._consumer.poll(_START_POLL_S)
            if message is not None and (error := message.error()) is not None and not is_end_of_partition(error):
                self._deliver_error(message, error)
            look()
            self._check(deadline, "to begin reading")
        self._reported = self.position

    def _seeks(self, at: ClientTopicPartition) -> bool:
        self._consumer.resume([at])  # before seek(), which wakes librdkafka's fetcher; resume() does not
        try:
            self._consumer.seek(at)
        except KafkaException as error:
            if not is_not_started(error.args[0]):
                raise
            self._consumer.pause([at])
            return False
        return True

    # From there -------------------------------------------------------------------------------------------------------

    def _take(self, until: int) -> Sequence[Message]:
        count = count_before(self._ahead, until, len(self._ahead))
        taken, self._ahead = self._ahead[:count], self._ahead[count:]
        if taken:
            self.position = offset_after(taken[-1])
        return taken

    def _fetch(self, until: int, look: WhileWaiting) -> None:
        """Wait until something has come."""
        deadline = self._clock() + _PATIENCE_S
        while not self._deliver(self._consume()):
            look()
            self._check(deadline, f"of [{self._reported}, {until})")

    def _consume(self) -> list[Message]:
        """Wait a little for one, then take what else is there."""
        first = self._consumer.poll(_POLL_S)
        return [] if first is None else [first, *self._consumer.consume(_CONSUME_AT_MOST, 0)]

    def _deliver(self, messages: list[Message]) -> bool:
        """Keep what came, in order, and return whether reading has come further by it."""
        before = self._reported
        for failed, group in groupby(messages, _has_failed):
            if failed:
                for message in group:
                    error = message.error()
                    assert error is not None
                    self._deliver_error(message, error)
            else:
                self._ahead = [*self._ahead, *group]
                self._reported = offset_after(self._ahead[-1])
        if self._reported == before:
            return False
        self._passing, self._too_large, self._missing_since = None, 0, None
        return True

    def _deliver_error(self, message: Message, error: KafkaError) -> None:
        assert self.partition is not None
        if is_end_of_partition(error):
            self._reported = max(self._reported, message.offset() or 0)
        elif is_position_gone(error):
            lost = PositionLost(self.partition, self._reported, is_truncation(error), error.str())
            raise PositionGone(f"{self.partition} cannot be read from {self._reported}: {error.str()}", lost=lost)
        else:  # what a client has against its brokers comes here, too, and names no partition
            self._hear(error, of_partition=message.topic() is not None)

    # What goes wrong --------------------------------------------------------------------------------------------------

    def _hear(self, error: KafkaError, *, of_partition: bool = False) -> None:
        """Keep what an error means; librdkafka tells of some while the consumer polls."""
        if is_refused_by_group(error):
            return  # which is not asked for anything: librdkafka looks for its coordinator by itself
        what = f"access to topic {self.partition.topic}" if self.partition is not None else "access to the topic"
        if (refused := refusal(error, self._servers, what) or tls_refusal(error, self._servers)) is not None:
            self._failure = refused
        elif is_missing_topic(error):
            self._miss()
        elif is_unreadable_response(error) and not of_partition:
            self._heard_too_large(error)
        elif error.fatal() or (of_partition and not is_passing(error)):
            self._failure = KafkaStreamError(
                f"reading {self.partition}, at offset {self._reported}, failed: {error.str()}"
            )
        else:
            self._passing = error.str()

    def _miss(self) -> None:
        """It may be missing for a moment, while metadata spreads."""
        if self._missing_since is None:
            self._missing_since = self._clock()

    def _heard_too_large(self, error: KafkaError) -> None:
        self._too_large += 1
        if self._too_large >= _TIMES_TOO_LARGE and self.partition is not None:
            self._failure = RecordTooLarge(
                f"{self.partition} cannot be read on from offset {self._reported}: the next record there is too "
                f"large for this client ({error.str()}); set receive.message.max.bytes to more than the size of that "
                "response",
                partition=self.partition,
                offset=self._reported,
            )

    def _check(self, deadline: float, what: str) -> None:
        """Raise what keeps the partition from being read, or what it means that nothing came for so long."""
        now = self._clock()
        is_missing = self._missing_since is not None and now - self._missing_since > _MISSING_TOPIC_GRACE_S
        if self._failure is None and (is_missing or now >= deadline):
            assert self.partition is not None
            self._look_up(self.partition.topic)
            is_missing = self._missing_since is not None
        if self._failure is not None:
            raise self._failure
        if is_missing:
            raise TopicNotFound(f"{self.partition} does not exist on {self._servers}, or not any more")
        if now >= deadline:
            raise BrokerUnavailable(
                f"{self._servers} gave nothing {what} of {self.partition} for {_PATIENCE_S:.0f} s"
                f"{f' ({self._passing})' if self._passing else ''}; it is read again"
            )


def _has_failed(message: Message) -> bool:
    return message.error() is not None


__all__ = ["MakeConsumer", "PartitionReader", "look_at_nothing", "slice_settings"]
