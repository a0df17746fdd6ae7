"""The first start of a topic: whoever comes first stores it, as a whole."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from secrets import SystemRandom

from kafka_stream.errors import StoreUnavailable
from kafka_stream.offset_stores.kafka.access import Access
from kafka_stream.offset_stores.kafka.group import Found
from kafka_stream.offset_stores.kafka.metadata import Stored, client_offsets
from kafka_stream.offset_stores.kafka.producer import Fenced, OutcomeUnknown
from kafka_stream.offset_stores.kafka.transactional_ids import of_start
from kafka_stream.types import PositionState, StoredPosition, TopicPartition

logger = logging.getLogger("kafka_stream")

_ATTEMPTS = 20
_LONGEST_DELAY_S = 0.5


def is_started(access: Access, stream: str, topic: str) -> bool:
    """Whether a stream has stored a position of the topic: one of a plain consumer group has yet to be adopted."""
    group = access.group(stream)
    return _is_started(group.committed(group.partitions_of([topic])))


def _is_started(found: Found) -> bool:
    return any(
        not each.deleted and (each.is_ours or each.started_with or each.position.state is PositionState.CLOSED)
        for each in found.values()
    )


def initialise(access: Access, stream: str, topic: str, starts: Mapping[int, int], topic_id: str | None) -> None:
    """Commit the starts of all partitions in one transaction, unless a stream has stored some.

    The offsets of a plain consumer group are adopted: they stay, and only partitions that it never committed get their
    start. From then on a partition without an offset is one that Kafka has forgotten, not a new one. A group that has
    members goes on committing, so that its offsets are left alone: whoever takes such a partition over adopts it.

    All who try share a ``transactional.id``: whoever read before another one came is fenced, and reads again.
    """
    wanted = {TopicPartition(topic, number): offset for number, offset in sorted(starts.items())}
    for _ in range(_ATTEMPTS):
        try:
            return _initialise(access, stream, wanted, topic_id)
        except (Fenced, OutcomeUnknown) as error:
            logger.debug("the start of %r was not stored, and it is tried again: %s", topic, error)
            failure = error
            time.sleep(SystemRandom().uniform(0, _LONGEST_DELAY_S))
    raise StoreUnavailable(
        f"the start of topic {topic!r} could not be stored in {access.where}: {failure}"
    ) from failure


def _initialise(access: Access, stream: str, wanted: Mapping[TopicPartition, int], topic_id: str | None) -> None:
    producer = access.producer(of_start(stream))
    group = access.group(stream)
    every = group.partitions_of(tp.topic for tp in wanted)
    before = group.stable(every)
    if _is_started(before):
        return
    is_live = bool(before) and group.has_members()
    now = access.now()
    starts = started(before, wanted, topic_id, now)
    if is_live:
        access.adopting.update((tp.topic, len(wanted)) for tp in wanted)
        starts = {tp: each for tp, each in starts.items() if tp not in before}
    if not starts:
        return

    def look_again() -> None:
        if before and (group.committed(every) != before or group.has_members() != is_live):
            raise Fenced(f"group {stream!r} has committed offsets, or got or lost members, meanwhile")

    producer.commit_offsets(client_offsets(starts), group.nobody, look_again)
    group.stable(list(starts))  # from here on everybody sees them


def started(before: Found, wanted: Mapping[TopicPartition, int], topic_id: str | None, now: datetime) -> Found:
    """Pure: what a start stores, where that of a plain group, or of a deleted stream, is there before."""
    found: Found = {}
    # A deleted partition that is not among the topic's this time would be a new one, should it come back.
    for tp, start in {**dict.fromkeys(before, 0), **wanted}.items():
        known = before.get(tp)
        if known is not None and not known.deleted:
            position = replace(known.position, topic_id=topic_id, changed_at=now)
        else:
            epoch = 0 if known is None else known.position.owner_epoch + 1
            position = StoredPosition(start, epoch, topic_id=topic_id, changed_at=now)
        found[tp] = replace(known or Stored(position), position=position, started_with=len(wanted), deleted=False)
    return found


__all__ = ["initialise", "is_started", "started"]
