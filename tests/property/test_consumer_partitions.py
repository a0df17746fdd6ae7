"""Whatever happens in whatever order: what is known of a consumer's partitions is what the consumer does with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientTopicPartition
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kafka_stream.source.consumer.partition_states import Start
from kafka_stream.source.consumer.partitions import ConsumerPartitions
from kafka_stream.source.inbox import Inbox
from kafka_stream.source.limits import SourceLimits
from kafka_stream.types import TopicPartition

PARTITIONS = [TopicPartition("orders", 0), TopicPartition("orders", 1), TopicPartition("returns", 0)]
some = st.sets(st.sampled_from(PARTITIONS), min_size=1)


class LikeLibrdkafka:
    """A consumer that refuses what librdkafka refuses: assigning twice, unassigning, pausing or seeking what is not."""

    def __init__(self) -> None:
        self.assigned: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()
        self.halted: set[TopicPartition] = set()
        self.not_started: set[TopicPartition] = set()

    def incremental_assign(self, partitions: Sequence[ClientTopicPartition]) -> None:
        for p, at in _ours(partitions).items():
            assert p not in self.assigned
            self.assigned[p] = at

    def incremental_unassign(self, partitions: Sequence[ClientTopicPartition]) -> None:
        for p in _ours(partitions):
            del self.assigned[p]
            self.halted.discard(p)

    def pause(self, partitions: Sequence[ClientTopicPartition]) -> None:
        self.paused.update(_ours(partitions))

    def resume(self, partitions: Sequence[ClientTopicPartition]) -> None:
        self.paused.difference_update(_ours(partitions))

    def seek(self, at: ClientTopicPartition) -> None:
        (partition,) = _ours([at])
        if partition in self.not_started:
            raise KafkaException(KafkaError(KafkaError._STATE))
        assert partition in self.assigned
        assert partition not in self.halted
        self.assigned[partition] = at.offset

    def list_topics(self, *_: Any, **__: Any) -> None:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def get_watermark_offsets(self, *_: Any, **__: Any) -> None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))


def _ours(partitions: Sequence[ClientTopicPartition]) -> dict[TopicPartition, int]:
    return {TopicPartition(p.topic, p.partition): p.offset for p in partitions}


class ConsumersPartitions(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.consumer = LikeLibrdkafka()
        self.inbox = Inbox(SourceLimits())
        self.ours = ConsumerPartitions(cast(Consumer, self.consumer), self.inbox)
        self.owned: set[TopicPartition] = set()
        self.held_back: set[TopicPartition] = set()
        self.started: dict[TopicPartition, int] = {}  # from where
        self.may_be_fetched: set[TopicPartition] = set()

    @rule(partitions=some)
    def the_group_gives(self, partitions: set[TopicPartition]) -> None:
        new = sorted(partitions - self.owned)
        self.ours.attach_paused(dict.fromkeys(new, 100))
        self._given(new)

    @rule(partitions=some)
    def they_are_owned_without_a_group(self, partitions: set[TopicPartition]) -> None:
        new = sorted(partitions - self.owned)
        self.ours.own(new)
        self._given(new)

    def _given(self, new: list[TopicPartition]) -> None:
        self.inbox.assigned(new)
        self.owned.update(new)

    @rule(partitions=some)
    def the_group_takes(self, partitions: set[TopicPartition]) -> None:
        gone = sorted(partitions & self.consumer.assigned.keys())
        self.inbox.lost(gone)
        self.ours.detach(gone)
        self.inbox.release(gone)
        self._gone(gone)

    @rule(partitions=some)
    def they_are_given_up(self, partitions: set[TopicPartition]) -> None:
        gone = sorted(partitions & self.owned)
        self.ours.disown(gone)
        self.inbox.unassigned(gone)
        self._gone(gone)

    def _gone(self, gone: list[TopicPartition]) -> None:
        for p in gone:
            self.owned.discard(p)
            self.held_back.discard(p)
            self.may_be_fetched.discard(p)
            self.started.pop(p, None)

    @rule(partitions=some, offset=st.integers(0, 3), epoch=st.none() | st.just(5), is_late=st.booleans())
    def a_start(self, partitions: set[TopicPartition], offset: int, epoch: int | None, is_late: bool) -> None:
        generations = self.inbox.start(dict.fromkeys(partitions, offset))
        starts = {p: Start(offset, epoch, generation) for p, generation in generations.items()}
        if is_late:  # a newer one overtakes it
            generations = self.inbox.start(dict.fromkeys(partitions, offset + 10))
            self.ours.start(starts)
            starts = {p: Start(offset + 10, epoch, generation) for p, generation in generations.items()}
        self.ours.start(starts)
        for p, start in starts.items():
            self.started[p] = start.offset

    @rule(not_started=st.sets(st.sampled_from(PARTITIONS)))
    def starts_are_made(self, not_started: set[TopicPartition]) -> None:
        waiting = {p for p in self.owned if p in self.started and self.inbox.position(p) is None}
        self.consumer.not_started = not_started
        self.ours.start_reading()
        for p in waiting:
            if self.inbox.position(p) is not None:
                self.held_back.discard(p)
                self.may_be_fetched.add(p)
                assert self.consumer.assigned[p] == self.started[p]
                assert p not in self.consumer.paused
            else:
                assert p in not_started
        if not waiting & not_started:
            assert not self.ours.are_starting

    @rule(partitions=some)
    def an_error_stops_them(self, partitions: set[TopicPartition]) -> None:
        for p in partitions:
            was_read = self.inbox.position(p) is not None
            if p in self.consumer.assigned:
                self.consumer.halted.add(p)
            if self.ours.halt(p) and was_read:
                self.inbox.stop_reading(p)
                self.started.pop(p)
                self.held_back.discard(p)

    @rule(partitions=some)
    def they_are_held_back(self, partitions: set[TopicPartition]) -> None:
        chosen = [p for p in partitions if self.inbox.position(p) is not None]
        self.ours.hold_back(chosen)
        self.held_back.update(chosen)

    @rule(partitions=some)
    def they_are_let_go(self, partitions: set[TopicPartition]) -> None:
        self.ours.let_go(partitions & self.owned)
        self.held_back.difference_update(p for p in partitions if self.inbox.position(p) is not None)

    @invariant()
    def the_consumer_does_what_is_known_of_it(self) -> None:
        assert self.ours.owned == self.owned
        assert self.consumer.assigned.keys() <= self.owned
        assert set(self.ours.paused) == {
            p for p in self.consumer.assigned if p in self.consumer.paused and p not in self.consumer.halted
        }
        assert self.consumer.assigned.keys() - self.consumer.halted - self.consumer.paused <= self.may_be_fetched
        read = {p for p in PARTITIONS if self.inbox.position(p) is not None}
        assert read <= self.consumer.assigned.keys() - self.consumer.halted
        assert read & self.consumer.paused == read & self.held_back


TestConsumersPartitions = ConsumersPartitions.TestCase
