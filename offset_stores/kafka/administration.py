"""What operators' commands do to a stream's committed offsets: each in one transaction that no owner overtakes.

The producer's ``transactional.id`` is that of a first start, so that of two commands, or a command and a first start,
or an owner that the metadata does not name yet and takes over, one fences the other. Owners that it names are kept out
in three steps: they are fenced; what they would commit next is pending in our transaction, so that whoever takes over,
or looks whether it still owns a partition, waits for its end; and they are fenced once more, since one of them may have
come back in between.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from secrets import SystemRandom

from kafka_stream.errors import CommandRefused, KafkaStreamError, SchemaMismatch, StoreUnavailable, TopicNotFound
from kafka_stream.offset_stores.kafka.access import Access
from kafka_stream.offset_stores.kafka.group import Found
from kafka_stream.offset_stores.kafka.metadata import LONGEST_TEXT, MARKS, Stored, client_offsets
from kafka_stream.offset_stores.kafka.producer import Fenced, OutcomeUnknown, TransactionalProducer
from kafka_stream.offset_stores.kafka.transactional_ids import of_start, shards_of
from kafka_stream.protocols import Action, Change, Decide, TopicState, TopicStatus
from kafka_stream.types import PositionState, StoredPosition, TopicPartition

logger = logging.getLogger("kafka_stream")

_ATTEMPTS = 20
_LONGEST_DELAY_S = 0.2
_MEMBERS_NAMED = 3
_GROUPS_AT_ONCE = 8

Rewrite = Callable[[Found], Found]
"""From what is stored to what of it is to be stored instead."""


def streams(access: Access) -> list[str]:
    """The groups in whose offsets' metadata a stream has left its mark, sorted; plain consumer groups are left out.

    One that a stream has never run under is none yet, although a stream of its name would go on from its offsets.
    """
    names = access.brokers.group_ids()
    with ThreadPoolExecutor(_GROUPS_AT_ONCE) as threads:
        found = zip(names, threads.map(partial(_is_stream, access), names), strict=True)
        return [name for name, is_one in found if is_one]


def _is_stream(access: Access, group_id: str) -> bool:
    try:
        with access.looking_at(group_id) as group:
            return any(each.is_ours for each in group.committed(group.all_partitions()).values())
    except SchemaMismatch:  # a later version's
        return True
    except KafkaStreamError as error:
        logger.warning("group %r could not be looked at, and is left out: %s", group_id, error)
        return False


def topics(access: Access, stream: str) -> dict[str, TopicStatus]:
    """Each topic's state, as its partitions have it: all are closed, or none."""
    by_topic: dict[str, list[Stored]] = {}
    for tp, each in sorted(access.stored(stream).items()):
        by_topic.setdefault(tp.topic, []).append(each)
    return {topic: _status(found) for topic, found in by_topic.items()}


def live_owners(access: Access, stream: str) -> list[str]:
    """The group's members; without any, the stored static owners, of whom nobody knows whether they have stopped."""
    if members := _members(access, stream):
        return sorted(members)
    owners = {
        each.position.owner
        for each in access.stored(stream).values()
        if each.transactional_id is not None and shards_of(stream, each.transactional_id) is not None
    }
    return sorted(str(owner) for owner in owners if owner is not None)


def change(
    access: Access, stream: str, partitions: Collection[TopicPartition], action: Action, decide: Decide
) -> Mapping[TopicPartition, StoredPosition]:
    """Fence, decide and move; see ``AdministeredStore``."""
    wanted = sorted(set(partitions))
    every = access.group(stream).partitions_of(tp.topic for tp in wanted)

    def rewrite(found: Found) -> Found:
        changes = decide({tp: found[tp].position for tp in wanted if tp in found})
        refuse_missing(access, changes, every)
        return moved(found, changes, access.now())

    _Command(access, stream, every, frozenset(wanted), action).run(rewrite)
    stored = access.group(stream).stable([tp for tp in every if tp in set(wanted)])
    return {tp: each.position for tp, each in sorted(stored.items())}


def close_topics(access: Access, stream: str, names: Collection[str], action: Action, reason: str | None) -> None:
    """Mark what is stored of these topics as closed, or deleted; see ``AdministeredStore``."""
    every = access.group(stream).partitions_of(names)

    def rewrite(found: Found) -> Found:
        return closed(found, reason, access.now())

    _Command(access, stream, every, frozenset(every), action).run(rewrite)


def refuse_missing(access: Access, changes: Collection[Change], every: Collection[TopicPartition]) -> None:
    """Raise ``TopicNotFound`` if a change is of a partition that does not exist."""
    for tp in sorted({each.topic_partition for each in changes} - set(every)):
        raise TopicNotFound(
            f"{tp} does not exist at {access.where}, and Kafka keeps no offset of what does not; look at the name, and "
            "whether this principal may DESCRIBE the topic"
        )


def refuse_live_group(access: Access, stream: str) -> None:
    """Raise ``CommandRefused`` if the stream's group has members; it names them."""
    if members := _members(access, stream):
        raise CommandRefused(
            f"stream {stream!r} in {access.where} was left as it is: its group has {len(members)} live "
            f"member(s), which hold its partitions ({', '.join(members[:_MEMBERS_NAMED])}), and the offsets of a "
            "live group cannot be altered; stop them first"
        )


def moved(found: Mapping[TopicPartition, Stored], changes: Collection[Change], now: datetime) -> Found:
    """Pure: what is stored after these changes, with what was closed of their topics, which begins anew at 0.

    The ``transactional_id`` stays: its producer was fenced, but whoever takes over next has to fence it again.
    """
    new: Found = {}
    for each in changes:
        before = found.get(each.topic_partition)
        epoch = max(before.position.owner_epoch + 1 if before else 1, each.at_least_epoch)
        position = StoredPosition(
            each.next_offset, epoch, leader_epoch=each.leader_epoch, topic_id=each.topic_id, changed_at=now
        )
        new[each.topic_partition] = replace(before or Stored(position), position=position, deleted=False)
    topic_ids = {each.topic_partition.topic: each.topic_id for each in changes}
    for tp, stored in found.items():
        if tp not in new and tp.topic in topic_ids and stored.position.state is PositionState.CLOSED:
            epoch = stored.position.owner_epoch + 1
            position = StoredPosition(0, epoch, topic_id=topic_ids[tp.topic], changed_at=now)
            new[tp] = replace(stored, position=position, deleted=False)
    return _with_starts(new, {**found, **new})


def closed(found: Mapping[TopicPartition, Stored], reason: str | None, now: datetime) -> Found:
    """Pure: the same positions, closed for that reason, or as deleted without one. What is deleted stays so."""
    new: Found = {}
    for tp, stored in found.items():
        position = stored.position
        if stored.deleted or (position.state is PositionState.CLOSED and reason is not None):
            continue
        new[tp] = replace(
            stored,
            deleted=reason is None,
            position=replace(
                position,
                owner=None,
                owner_epoch=position.owner_epoch + 1,
                state=PositionState.CLOSED,
                state_reason=None if reason is None else reason[:LONGEST_TEXT],
                changed_at=now,
            ),
        )
    return new


def _with_starts(new: Found, every: Mapping[TopicPartition, Stored]) -> Found:
    """Where a stream is first stored by a command: its partitions up to the first gap have offsets from now on."""
    starts: dict[str, int] = {}
    for topic in {tp.topic for tp in new}:
        known = max((each.started_with for tp, each in every.items() if tp.topic == topic), default=0)
        unbroken = 0
        while TopicPartition(topic, unbroken) in every:
            unbroken += 1
        starts[topic] = known or unbroken
    return {tp: replace(stored, started_with=starts[tp.topic]) for tp, stored in new.items()}


def _status(found: Sequence[Stored]) -> TopicStatus:
    state, reason = TopicState.OPEN, None
    for each in found:
        if each.deleted:
            state = TopicState.DELETED
        elif each.position.state is PositionState.CLOSED:
            state, reason = TopicState.CLOSED, each.position.state_reason
    return TopicStatus(state, reason, found[0].position.topic_id)


def _members(access: Access, stream: str) -> Sequence[str]:
    group = access.group(stream)
    return (group.members() or ["somebody on an unknown host"]) if group.has_members() else ()


class _Overtaken(Exception):
    """Somebody has committed since it was read."""


@dataclass(frozen=True, slots=True)
class _Command:
    """A rewriting of a stream's offsets. ``every`` are all partitions of its topics, ``wanted`` those to decide on."""

    access: Access
    stream: str
    every: Sequence[TopicPartition]
    wanted: frozenset[TopicPartition]
    action: Action

    def run(self, rewrite: Rewrite) -> None:
        """All or none. It is tried again as long as nothing can have been committed.

        Raises:
            CommandRefused: the group has members.
            StoreUnavailable: others kept coming in between, or whether it took effect is unknown; the message says.
        """
        for _ in range(_ATTEMPTS):
            self._refuse_members()
            try:
                return self._attempt(rewrite)
            except (_Overtaken, Fenced) as error:
                logger.debug("offsets of %r were not changed, and it is tried again: %s", self.stream, error)
                failure = error
                time.sleep(SystemRandom().uniform(0, _LONGEST_DELAY_S))
        raise StoreUnavailable(
            f"nothing was changed: others keep committing offsets of stream {self.stream!r} in {self.access.where} "
            f"({failure}); try again"
        ) from failure

    def _attempt(self, rewrite: Rewrite) -> None:
        group = self.access.group(self.stream)
        producer = self.access.producer(of_start(self.stream))
        self._fence()
        before = group.stable(self.every)
        producer.begin()
        try:
            self._put(producer, self._held(before))
            self._refuse_members()
            self._refuse_changed(before, self._fence())
            mark = secrets.token_hex(4)
            new = {tp: each.marked(mark) for tp, each in rewrite(before).items()}
            if new:
                self._put(producer, {**self._held(before), **new})
                if new.keys() - self._held(before).keys():  # which nobody had to wait for until now
                    self._refuse_members()
                    self._refuse_changed(before, self._fence(), new)
                self._commit(producer, before, new, mark)
        finally:
            producer.abort()
        group.stable(list(new))  # from here on everybody sees them

    def _held(self, found: Mapping[TopicPartition, Stored]) -> Found:
        """What is decided on, and what is closed, since it may be opened."""
        return {
            tp: each for tp, each in found.items() if tp in self.wanted or each.position.state is PositionState.CLOSED
        }

    def _put(self, producer: TransactionalProducer, stored: Mapping[TopicPartition, Stored]) -> None:
        if stored:
            producer.send_offsets(client_offsets(stored), self.access.group(self.stream).nobody)

    def _fence(self) -> Found:
        """What is committed once no owner that the metadata names can commit it otherwise."""
        fenced: set[str] = set()
        while True:
            found = self.access.group(self.stream).committed(self.every)
            named = {each.transactional_id for each in self._held(found).values()}
            ids = {each for each in named if each is not None} - fenced
            if not ids:
                return found
            for each in sorted(ids):
                self.access.producer(each)
            fenced |= ids

    def _refuse_changed(self, before: Found, after: Found, more: Collection[TopicPartition] = frozenset()) -> None:
        for tp in {*self._held(before), *self._held(after), *more}:
            if before.get(tp) != after.get(tp):
                raise _Overtaken(f"{tp} was at {before.get(tp)}, and is at {after.get(tp)}")

    def _refuse_members(self) -> None:
        refuse_live_group(self.access, self.stream)

    def _commit(self, producer: TransactionalProducer, before: Found, new: Found, mark: str) -> None:
        try:
            producer.commit()
        except OutcomeUnknown as error:
            self.access.producer(of_start(self.stream))  # ends what was under way
            took_effect = outcome(before, self.access.group(self.stream).stable(list(new)), mark)
            if took_effect is None:
                raise StoreUnavailable(
                    f"whether the {self.action.kind} of stream {self.stream!r} in {self.access.where} took effect is "
                    f"unknown, and its offsets have moved since ({error}); look at them before it is done again"
                ) from error
            if not took_effect:
                raise _Overtaken(str(error)) from error


def outcome(before: Found, after: Found, mark: str) -> bool | None:
    """Pure: whether the command with this mark took effect; ``None`` if too much has happened since to tell.

    All that it changed was changed at once, so that one partition tells.
    """
    if any(mark in stored.marks for stored in after.values()):
        return True
    for tp, stored in after.items():
        earlier = before[tp].marks if tp in before else ()
        reaches_back = earlier[0] in stored.marks if earlier else len(stored.marks) < MARKS
        if stored == before.get(tp) or (stored.is_ours and reaches_back):
            return False
    return None if after else False


__all__ = [
    "change",
    "close_topics",
    "closed",
    "live_owners",
    "moved",
    "outcome",
    "refuse_live_group",
    "refuse_missing",
    "streams",
    "topics",
]
