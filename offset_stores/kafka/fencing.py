"""Making sure that nobody else can commit: before positions are read, and once more when ours are pending."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kafka_stream.claims import closed
from kafka_stream.errors import OwnershipLost, StoreUnavailable, StreamClosed
from kafka_stream.offset_stores.kafka.access import Access
from kafka_stream.offset_stores.kafka.group import Found
from kafka_stream.offset_stores.kafka.metadata import Stored
from kafka_stream.offset_stores.kafka.producer import Fenced, TransactionalProducer
from kafka_stream.offset_stores.kafka.transactional_ids import shards_of
from kafka_stream.types import Owner, PositionState, TopicPartition

_ROUNDS = 5
_IDS_NAMED = 3


def producer_for(access: Access, transactional_id: str) -> TransactionalProducer:
    """A producer that has taken this id over.

    Raises:
        StoreUnavailable: another process did at the same time.
    """
    try:
        return access.producer(transactional_id)
    except Fenced as error:
        raise StoreUnavailable(f"{error} at {access.where}") from error


def ids_to_fence(
    stream: str, own_id: str, wanted: Sequence[TopicPartition], stored: Mapping[TopicPartition, Stored]
) -> set[str]:
    """Pure: the transactional ids, of those in the metadata, whose owners may still commit what we want.

    A static owner's is fenced by nothing else. Sibling shards are left alone: with the same number of shards they own
    other partitions. Members of the group are fenced by its generation; an owner outside the group comes when they
    are gone, and ends what they have left open.
    """
    own_shards = shards_of(stream, own_id)
    found = set()
    for tp, each in stored.items():
        if each.transactional_id is None:
            continue
        shards = shards_of(stream, each.transactional_id)
        is_member = shards is None
        is_sibling = not is_member and shards == own_shards and tp not in wanted
        if not is_sibling and not (is_member and own_shards is None):
            found.add(each.transactional_id)
    return found - {own_id}


def fence_and_read(
    access: Access, stream: str, own_id: str, wanted: Sequence[TopicPartition]
) -> tuple[Found, TransactionalProducer | None]:
    """What is stored once nobody whom a ``transactional.id`` fences can change it.

    Comes with our own producer if we are a static owner: initialising it fences the last one with that id.

    Raises:
        StoreUnavailable: other processes keep taking over.
    """
    is_static = shards_of(stream, own_id) is not None
    group = access.group(stream)
    every = group.partitions_of(tp.topic for tp in wanted)
    fenced: set[str] = set()
    for _ in range(_ROUNDS):
        for each in sorted(ids_to_fence(stream, own_id, wanted, group.committed(every)) - fenced):
            producer_for(access, each)
            fenced.add(each)
        producer = producer_for(access, own_id) if is_static else None
        stable = group.stable(wanted)
        if ids_to_fence(stream, own_id, wanted, stable) <= fenced:
            return stable, producer
    raise StoreUnavailable(f"other processes keep taking over partitions of stream {stream!r} in {access.where}")


def refuse_members(access: Access, stream: str) -> None:
    """A static owner would commit into a group with members as if it had none.

    Raises:
        OwnershipLost: the group has members; it names them.
    """
    group = access.group(stream)
    if not group.has_members():
        return
    members = group.members() or ["somebody on an unknown host"]
    client_id, _, host = members[0].rpartition(" on ")
    raise OwnershipLost(
        f"consumer group {stream!r} has {len(members)} member(s) at {access.where}, which own its partitions "
        f"({', '.join(members[:_IDS_NAMED])}); stop them before a static owner starts",
        other=Owner(client_id, host),
    )


def refuse_closed(stream: str, stored: Mapping[TopicPartition, Stored]) -> None:
    """Raise ``StreamClosed`` if an admin command has closed one of these."""
    for tp, each in sorted(stored.items()):
        if each.position.state is PositionState.CLOSED:
            raise closed(stream, str(tp), each.position.state_reason or ("deleted" if each.deleted else None))


def refuse_expired(
    access: Access, stream: str, wanted: Sequence[TopicPartition], stored: Mapping[TopicPartition, Stored]
) -> None:
    """A partition without an offset is new, unless the stream was started with it: then Kafka has forgotten it.

    Raises:
        StreamClosed: its offset has expired or was deleted, or its topic is closed.
    """
    missing = [tp for tp in wanted if tp not in stored]
    if not missing:
        return
    group = access.group(stream)
    every = group.committed(group.partitions_of(tp.topic for tp in missing))
    topics = {tp.topic for tp in missing}
    refuse_closed(stream, {tp: each for tp, each in every.items() if tp.topic in topics})
    for tp in missing:
        if tp.partition < max((each.started_with for o, each in every.items() if o.topic == tp.topic), default=0):
            raise StreamClosed(
                f"the committed offset of {tp} in group {stream!r} at {access.where} has expired or was deleted, while "
                "those of other partitions are there: commit where it is to go on with Kafka's own tools, or delete "
                "all offsets of its topic to start anew"
            )


__all__ = [
    "fence_and_read",
    "ids_to_fence",
    "producer_for",
    "refuse_closed",
    "refuse_expired",
    "refuse_members",
]
