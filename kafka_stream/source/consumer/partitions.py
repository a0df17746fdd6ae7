"""The partitions of one consumer: given and taken away, started at a position, paused and resumed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as ClientTopicPartition

from kafka_stream.source.consumer.partition_states import Fetch, PartitionState, PartitionStates, Start
from kafka_stream.source.inbox import Inbox
from kafka_stream.source.kafka_errors import is_not_started
from kafka_stream.types import TopicPartition

_WAKE_TIMEOUT_S = 0.5
_METADATA_TIMEOUT_S = 5.0
_NO_OFFSET = -1001


class ConsumerPartitions:
    """What a consumer does with each partition that is ours: each call changes both, the consumer and the state.

    It begins and ends with its consumer, and is the consumer thread's alone.
    """

    def __init__(self, consumer: Consumer, inbox: Inbox) -> None:
        self._consumer = consumer
        self._inbox = inbox
        self._states = PartitionStates()

    @property
    def owned(self) -> AbstractSet[TopicPartition]:
        """All that are ours."""
        return self._states.partitions

    @property
    def paused(self) -> Collection[TopicPartition]:
        """Those of which nothing is fetched for now."""
        return self._states.paused

    @property
    def are_starting(self) -> bool:
        """Whether any waits for its start."""
        return bool(self._states.starting)

    # Given and taken away -------------------------------------------------------------------------------------------

    def attach_paused(self, offsets: Mapping[TopicPartition, int]) -> None:
        """These are ours, and nothing of them is read before ``start``."""
        attached = [_client(p, offset) for p, offset in offsets.items()]
        self._consumer.incremental_assign(attached)
        if attached:
            self._consumer.pause(attached)
        self._states.add(offsets, Fetch.WAITING)

    def detach(self, partitions: Collection[TopicPartition]) -> None:
        """The group has taken these away."""
        self._states.remove(partitions)
        self._consumer.incremental_unassign([_client(p) for p in partitions])

    def disown(self, partitions: Collection[TopicPartition]) -> None:
        """These are given up without a group."""
        attached = [_client(p) for p in partitions if self._states[p].is_attached]
        self._states.remove(partitions)
        if attached:
            self._consumer.incremental_unassign(attached)

    def own(self, partitions: Collection[TopicPartition]) -> None:
        """These are ours without a group; they are attached at their start."""
        attached_topics = {p.topic for p in self._states.partitions if self._states[p].is_attached}
        for topic in sorted({p.topic for p in partitions} - attached_topics):
            # Without it librdkafka may look for the leaders only when its timer fires, once a second.
            with suppress(KafkaException):
                self._consumer.list_topics(topic, timeout=_METADATA_TIMEOUT_S)
        self._states.add(partitions, Fetch.DETACHED)

    def halt(self, partition: TopicPartition) -> bool:
        """Fetching has stopped after an error; return whether that is news: a start that waits is newer than it."""
        if partition not in self._states:
            return False
        self._states.change([partition], PartitionState.halted)
        return self._states[partition].start is None

    # Starting at a position -----------------------------------------------------------------------------------------

    def start(self, starts: Mapping[TopicPartition, Start]) -> None:
        """Read these partitions from there, if they are still ours."""
        self._states.start(starts)

    def start_reading(self) -> None:
        """Make what starts can be made; what is not ready yet is tried again after the next poll."""
        for partition, start in self._states.starting.items():
            if not self._inbox.is_assigned(partition, start.generation):
                self._states.change([partition], PartitionState.started)
            elif self._position(partition, start):
                self._states.change([partition], PartitionState.started)
                self._inbox.reading(partition, start.generation)

    def _position(self, partition: TopicPartition, start: Start) -> bool:
        """Bring the consumer to a position; return whether it is there."""
        at = _client(partition, start.offset)
        if self._states[partition].must_be_attached:
            if start.leader_epoch is None:
                self._attach(partition, at)
                return True
            self._attach_to_seek(partition, at)
        if start.leader_epoch is not None:
            # Only seek() compares the leader epoch with the log, not an assignment at an absolute offset.
            at = ClientTopicPartition(at.topic, at.partition, at.offset, leader_epoch=start.leader_epoch)
        was_paused = self._states[partition].is_paused
        if was_paused:
            self._consumer.resume([at])  # before seek(), which wakes librdkafka's fetcher; resume() does not
        if not self._seek(at):
            if was_paused:
                self._consumer.pause([at])
            return False
        if was_paused:
            self._states.change([partition], PartitionState.resumed)
            if start.offset == 0:
                self._wake_fetcher(at)
        return True

    def _attach(self, partition: TopicPartition, at: ClientTopicPartition) -> None:
        # The flag outlives a reassignment: set before it, nothing sleeps paused.
        self._consumer.resume([at])
        self._assign_anew(partition, at)
        self._states.change([partition], lambda state: state.attached(Fetch.FLOWING))

    def _attach_to_seek(self, partition: TopicPartition, at: ClientTopicPartition) -> None:
        self._consumer.pause([at])  # nothing is fetched in between, if the flag outlives a reassignment
        self._assign_anew(partition, at)
        self._consumer.pause([at])  # again: the first time there was nothing yet to set the flag on
        self._states.change([partition], lambda state: state.attached(Fetch.WAITING))

    def _assign_anew(self, partition: TopicPartition, at: ClientTopicPartition) -> None:
        if self._states[partition].is_attached:
            self._consumer.incremental_unassign([at])
        self._consumer.incremental_assign([at])

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

    # Held back and let go -------------------------------------------------------------------------------------------

    def hold_back(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch nothing more of these, and drop what librdkafka has fetched ahead of them."""
        if chosen := [p for p in partitions if self._states[p].fetch is Fetch.FLOWING]:
            self._consumer.pause([_client(p) for p in chosen])
            self._states.change(chosen, PartitionState.held_back)

    def let_go(self, partitions: Iterable[TopicPartition]) -> None:
        """Go on with those of these that were held back, and have not been given a new start."""
        if chosen := [p for p in partitions if self._states[p].fetch is Fetch.HELD_BACK]:
            self._consumer.resume([_client(p) for p in chosen])
            self._states.change(chosen, PartitionState.resumed)


def _client(partition: TopicPartition, offset: int = _NO_OFFSET) -> ClientTopicPartition:
    return ClientTopicPartition(partition.topic, partition.partition, offset)


__all__ = ["ConsumerPartitions"]
