"""The first start of a topic: whoever comes first stores it, as a whole."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping
from dataclasses import replace

from kafka_stream.errors import StoreUnavailable
from kafka_stream.offset_stores.kafka.access import Access
from kafka_stream.offset_stores.kafka.metadata import Stored, client_offsets
from kafka_stream.offset_stores.kafka.producer import Fenced, OutcomeUnknown
from kafka_stream.offset_stores.kafka.transactional_ids import of_start
from kafka_stream.types import StoredPosition, TopicPartition

logger = logging.getLogger("kafka_stream")

_ATTEMPTS = 20
_LONGEST_DELAY_S = 0.5


def is_started(access: Access, stream: str, topic: str) -> bool:
    """Whether some partition of the topic has an offset in the group: a plain consumer group's counts too."""
    group = access.group(stream)
    return any(not stored.deleted for stored in group.committed(group.partitions_of([topic])).values())


def initialise(access: Access, stream: str, topic: str, starts: Mapping[int, int], topic_id: str | None) -> None:
    """Commit the starts of all partitions in one transaction, unless some are there.

    All who try share a ``transactional.id``: whoever read before another one came is fenced, and reads again.
    """
    wanted = {TopicPartition(topic, number): offset for number, offset in sorted(starts.items())}
    for _ in range(_ATTEMPTS):
        try:
            return _initialise(access, stream, wanted, topic_id)
        except (Fenced, OutcomeUnknown) as error:
            logger.debug("the start of %r was not stored, and it is tried again: %s", topic, error)
            failure = error
            time.sleep(random.uniform(0, _LONGEST_DELAY_S))  # noqa: S311 - jitter, not a secret
    raise StoreUnavailable(
        f"the start of topic {topic!r} could not be stored in {access.where}: {failure}"
    ) from failure


def _initialise(access: Access, stream: str, wanted: Mapping[TopicPartition, int], topic_id: str | None) -> None:
    producer = access.producer(of_start(stream))
    group = access.group(stream)
    before = group.stable(group.partitions_of(tp.topic for tp in wanted))
    if any(not stored.deleted for stored in before.values()):
        return
    starts = {}
    # A deleted partition that is not among the topic's this time would be a new one, should it come back.
    for tp, offset in {**dict.fromkeys(before, 0), **wanted}.items():
        epoch = before[tp].position.owner_epoch + 1 if tp in before else 0
        position = StoredPosition(offset, epoch, topic_id=topic_id, changed_at=access.now())
        found = before.get(tp, Stored(position))
        starts[tp] = replace(found, position=position, started_with=len(wanted), deleted=False)
    producer.commit_offsets(client_offsets(starts), group.nobody, lambda: None)
    group.stable(list(starts))  # from here on everybody sees them


__all__ = ["initialise", "is_started"]
