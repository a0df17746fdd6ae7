"""Whose a ``transactional.id`` is: a fence is a producer that takes an id over from an older one (KIP-98)."""

from __future__ import annotations

import re

from kafka_stream.types import Owner

# A stream's name has no colon, so that the ids of two streams cannot be mixed up.


def of_start(stream: str) -> str:
    """Of whoever stores a topic's first start."""
    return f"{stream}:start"


def of_letters(stream: str) -> str:
    """Of whoever changes what has become of a stream's dead letters."""
    return f"{stream}:dead-letters"


def of_shard(stream: str, shard: str) -> str:
    """Of a static owner, the same at each start; ``shard`` is ``"static:i/n"``, or ``"static"``: shard 0 of 1."""
    return f"{stream}:static:0/1" if shard == "static" else f"{stream}:{shard}"


def of_member(stream: str, owner: Owner) -> str:
    """Of a member of the consumer group: one of its own, since the group's generation is what fences it."""
    return f"{stream}:member:{owner.id}"


def shards_of(stream: str, transactional_id: str) -> int | None:
    """How many shards there were when a static owner used this id; ``None`` if it is no static owner's."""
    found = re.fullmatch(re.escape(stream) + r":static:\d+/(\d+)", transactional_id)
    return int(found[1]) if found else None


__all__ = ["of_letters", "of_member", "of_shard", "of_start", "shards_of"]
