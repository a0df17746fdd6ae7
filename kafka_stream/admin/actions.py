"""Applying what was planned: who does it, again after a failure, with what a sink wrote ahead discarded first."""

from __future__ import annotations

import getpass
import logging
import socket
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from kafka_stream.admin.refusals import planned_range
from kafka_stream.engine.patience import jitter
from kafka_stream.engine.retry import backoff_s
from kafka_stream.errors import TransientError
from kafka_stream.protocols import Action, ActionKind, AdministeredStore, Change, Decide, RangeSink
from kafka_stream.types import PlanKind, StoredPosition, TopicPartition

logger = logging.getLogger("kafka_stream")

PATIENCE_S = 30.0
"""How long a store that is busy, or away for a moment, is tried again."""

T = TypeVar("T")


def operator() -> str:
    """Who runs this process, as ``user@host``, for the history."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


def new_action(kind: ActionKind, actor: str | None = None) -> Action:
    """An action that was not done yet, by ``operator()`` unless somebody else is named."""
    return Action(uuid.uuid4().hex, kind, operator() if actor is None else actor)


def apply_change(
    store: AdministeredStore,
    stream: str,
    partitions: Collection[TopicPartition],
    action: Action,
    decide: Decide,
    range_sinks: Sequence[RangeSink] = (),
) -> Mapping[TopicPartition, StoredPosition]:
    """Open the store, and have it change what ``decide`` says, once, however often it has to be asked.

    Planned ranges that are moved away from are discarded while nobody else can take the partitions over: a crash in
    between leaves the plan, and so the range is written again.

    Raises:
        CommandRefused, StoreUnavailable, SinkUnavailable: nothing was changed.
    """
    store.open()
    deciding = discarding(decide, range_sinks)
    return patiently(store, lambda: store.change(stream, partitions, action, deciding))


def discarding(decide: Decide, range_sinks: Sequence[RangeSink]) -> Decide:
    """The same decision, after which sinks discard what is planned of the partitions that move."""

    def decided(stored: Mapping[TopicPartition, StoredPosition]) -> Sequence[Change]:
        changes = decide(stored)
        for change in changes:
            before = stored.get(change.topic_partition)
            if before is not None and before.plan_kind is PlanKind.RANGE:
                planned = planned_range(change.topic_partition, before)
                for sink in range_sinks if planned is not None else ():
                    assert planned is not None
                    sink.discard(planned)
        return changes

    return decided


def patiently(store: AdministeredStore, act: Callable[[], T]) -> T:
    """Try again while the store is busy; only one that keeps history knows what it has done before."""
    deadline = time.monotonic() + PATIENCE_S
    failures = 0
    while True:
        try:
            return act()
        except TransientError as error:
            failures += 1
            delay_s = backoff_s(failures, jitter())
            if not store.keeps_history or time.monotonic() + delay_s > deadline:
                raise
            logger.info("%s; trying again in %.1f s", error, delay_s)
            time.sleep(delay_s)


__all__ = ["PATIENCE_S", "apply_change", "discarding", "new_action", "operator", "patiently"]
