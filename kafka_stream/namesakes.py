"""Others of the same name: members of the group whose offsets are elsewhere, owners of the offsets in another group.

A member shows in its ``client.id`` where its offsets are; an owner says in the store which group it is in.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from kafka_stream.errors import ConfigurationError
from kafka_stream.protocols import AdministeredStore, BoundStore, OffsetStore, Source
from kafka_stream.types import Owner

_MARK = "kafka-stream-offsets-"
# Behind it is what a member shows that waits to join by another group protocol.
_MARKED = re.compile(rf"{_MARK}((?:kafka|[0-9a-f]{{8}})(?:-[0-9a-f]{{8}})*)(?:-to-[a-z]+)?")
_MOST_TOPICS = 8  # a client id is part of every log line of the broker


class Namesakes:
    """Refuses to join a group beside members of another store, or to take over from owners of another group."""

    def __init__(self, stream: str, group_id: str, owner: Owner, store: OffsetStore, source: Source) -> None:
        self._stream = stream
        self._group_id = group_id
        self._owner = owner
        self._store = store
        self._source = source
        self._mark: str | None = None
        self._is_looked_for = True

    def refuse(self, topics: Iterable[str] | None) -> None:
        """Before the group is joined, when the stream's start is stored: show who we are, and look who else is there.

        ``topics`` are ``None`` where they come and go.

        Raises:
            ConfigurationError: two would share the records, or take the partitions from each other, for ever.
        """
        self._refuse_owners_of_another_group()
        self._mark = mark_of(self._store, self._stream, topics)
        if self._mark is not None:
            self._source.introduce(self._mark)
            self._refuse_members_of_another_store()

    def look_again(self) -> None:
        """Once, after the first takeover: another one may have looked at the same moment. Raises as ``refuse``."""
        if self._is_looked_for:
            self._is_looked_for = False
            self._refuse_members_of_another_store()

    def _refuse_members_of_another_store(self) -> None:
        if self._mark is not None and (others := members_elsewhere(self._mark, self._source.group_members())):
            raise ConfigurationError(
                f"group {self._group_id!r} has members that keep their offsets elsewhere ({', '.join(others[:3])}) "
                f"than stream {self._stream!r} in {self._store.describe()}, so that each would get a part of the "
                "records: give one of the two another name, or stop the others first (one that was killed leaves the "
                "group when its session times out)"
            )

    def _refuse_owners_of_another_group(self) -> None:
        ours = self._owner.group
        if ours is None or not isinstance(self._store, AdministeredStore):
            return
        owners = {position.owner for position in self._store.positions(self._stream).values()}
        others = {str(owner) for owner in owners if owner is not None and owner.group not in {None, ours}}
        if others and (live := sorted(others & set(self._store.live_owners(self._stream)))):
            raise ConfigurationError(
                f"stream {self._stream!r} in {self._store.describe()} is owned by {live[0]}, and this one is in group "
                f"{ours!r}: two groups would take its partitions from each other for ever; use the same group_id, or "
                "another name; to change the group, stop the other first, and if it was killed, run `kafka-stream "
                "offsets reset --all-topics --to-current --execute`"
            )


def mark_of(store: OffsetStore, stream: str, topics: Iterable[str] | None) -> str | None:
    """Where a stream's offsets are, as a member's ``client.id``: a digest of when each topic was started there.

    No two stores have the same; all who use the store find them, under whatever address. ``None``: it cannot be told.
    Where topics come and go, those are taken that were started first, so that members share some whenever they look.
    """
    if isinstance(store, BoundStore):
        return f"{_MARK}kafka"
    if not isinstance(store, AdministeredStore):
        return None
    starts = {name: marker.started_at for name, marker in store.topics(stream).items() if marker.started_at is not None}
    if topics is None:
        chosen = sorted(starts, key=lambda name: (starts[name], name))
    else:
        chosen = [name for name in sorted(topics) if name in starts]
    digests = [_digest(f"{stream} {name} {starts[name].isoformat()}") for name in chosen[:_MOST_TOPICS]]
    return f"{_MARK}{'-'.join(digests)}" if digests else None


def members_elsewhere(mark: str, members: Sequence[str]) -> list[str]:
    """The members (``client id on host``) whose mark has nothing in common with ours.

    Topics come and go; those who share one share the store. Who shows no mark is of older code, or no stream at all.
    """
    return [member for member in members if (theirs := _digests(member)) and theirs.isdisjoint(_digests(mark))]


def _digests(member: str) -> set[str]:
    marked = _MARKED.fullmatch(member.partition(" on ")[0])
    return set(marked[1].split("-")) if marked else set()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


__all__ = ["Namesakes", "mark_of", "members_elsewhere"]
