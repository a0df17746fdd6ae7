"""Resetting offsets: what the broker has, in a fixed number of requests; the plan; and its execution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from kafka_stream.admin.actions import apply_change, new_action
from kafka_stream.admin.refusals import refuse
from kafka_stream.admin.reset_plan import Log, ResetPlan, Target, ToOffsets, ToTime, plan_reset
from kafka_stream.admin.targets import Selection
from kafka_stream.errors import CommandRefused, ConfigurationError
from kafka_stream.protocols import ActionKind, AdministeredStore, Change, OffsetAt, RangeSink, TopicInfo
from kafka_stream.types import StoredPosition, TopicPartition


class Broker(Protocol):
    """What a reset asks: ``kafka_stream.source.cluster.Cluster``, or one in memory. Each call is one request."""

    def topics(self, names: Sequence[str]) -> Mapping[str, TopicInfo]:
        """These topics as they are now."""

    def offsets(self, partitions: Sequence[TopicPartition], at: OffsetAt) -> Mapping[TopicPartition, int]:
        """The offset of each partition's end."""

    def first_offsets_after(self, partitions: Sequence[TopicPartition], at: datetime) -> Mapping[TopicPartition, int]:
        """Of those that have a record at or after a time, the offset of the first one, committed or not."""


@dataclass(frozen=True, slots=True)
class Reset:
    """A target, and what the broker has of the partitions that are to go there.

    Positions move while a stream runs, so the plan is made anew from what is stored when it is executed.
    """

    stream: str
    target: Target
    logs: Mapping[TopicPartition, Log]

    def plan(self, stored: Mapping[TopicPartition, StoredPosition], range_sinks: Sequence[RangeSink] = ()) -> ResetPlan:
        """What would be done if this is stored; with sinks, planned ranges are discarded rather than refused."""
        return plan_reset(self.target, self.logs, stored, discardable=self.logs if range_sinks else ())


def prepare_reset(
    store: AdministeredStore, stream: str, broker: Broker, target: Target, selections: Sequence[Selection] | None = None
) -> Reset:
    """Ask the broker about the partitions that were selected; changes nothing.

    Without ``selections`` they are those of the target if it names any (a file), else all that have stored offsets.

    Raises:
        CommandRefused: nothing is stored for the stream.
        ConfigurationError, TopicNotFound: a partition or topic does not exist.
        BrokerUnavailable, StoreUnavailable, NotAuthorized.
    """
    stored = store.positions(stream)
    if not stored:
        raise missing(store, stream)
    if selections is None:
        partitions = sorted(target.offsets if isinstance(target, ToOffsets) else stored)
        topics = broker.topics(sorted({tp.topic for tp in partitions}))
    else:
        topics = broker.topics(sorted({selection.topic for selection in selections}))
        partitions = _selected(selections, topics)
    for tp in partitions:
        if tp.partition >= topics[tp.topic].partitions:
            raise ConfigurationError(f"{tp} does not exist: the topic has {topics[tp.topic].partitions} partition(s)")
    return Reset(stream, target, _logs(broker, partitions, topics, target))


def execute_reset(
    store: AdministeredStore, reset: Reset, *, actor: str | None = None, range_sinks: Sequence[RangeSink] = ()
) -> ResetPlan:
    """Move the offsets, also under a running stream, which goes on from there; returns the plan as it was executed.

    All partitions or none. ``range_sinks`` are the application's: they discard what was planned and never committed.

    Raises:
        CommandRefused: some partition must not be moved; nothing was changed.
        StoreUnavailable, SinkUnavailable, NotAuthorized.
    """
    executed: list[ResetPlan] = []

    def decide(stored: Mapping[TopicPartition, StoredPosition]) -> Sequence[Change]:
        plan = reset.plan(stored, range_sinks)
        refuse(reset.stream, store.describe(), [str(partition.refusal) for partition in plan.refused])
        executed.append(plan)
        return plan.changes()

    action = new_action(ActionKind.RESET, actor)
    apply_change(store, reset.stream, list(reset.logs), action, decide, range_sinks)
    return executed[-1]


def missing(store: AdministeredStore, stream: str) -> CommandRefused:
    """The error for a stream that nothing is stored for."""
    return CommandRefused(f"there is no stream {stream!r} in {store.describe()}; look at the name and the store")


def _selected(selections: Sequence[Selection], topics: Mapping[str, TopicInfo]) -> list[TopicPartition]:
    found: set[TopicPartition] = set()
    for selection in selections:
        numbers = selection.partitions
        if numbers is None:
            numbers = tuple(range(topics[selection.topic].partitions))
        found.update(TopicPartition(selection.topic, number) for number in numbers)
    return sorted(found)


def _logs(
    broker: Broker, partitions: Sequence[TopicPartition], topics: Mapping[str, TopicInfo], target: Target
) -> Mapping[TopicPartition, Log]:
    after = broker.first_offsets_after(partitions, target.at) if isinstance(target, ToTime) else {}
    earliest = broker.offsets(partitions, OffsetAt.EARLIEST)
    stable = broker.offsets(partitions, OffsetAt.LATEST)
    end = broker.offsets(partitions, OffsetAt.HIGH_WATERMARK)
    return {tp: Log(earliest[tp], stable[tp], end[tp], after.get(tp), topics[tp.topic].topic_id) for tp in partitions}


__all__ = ["Broker", "Reset", "execute_reset", "missing", "prepare_reset"]
