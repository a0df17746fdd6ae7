"""A stream from any store to any other: the target is asked first; what stopped half-way is repeated, or taken back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from kafka_stream.admin.actions import apply_change, new_action, patiently
from kafka_stream.admin.migration_plan import (
    Positions,
    exported,
    lacking,
    migrated_to,
    newest,
    outstanding,
    why_given_back,
    why_not_arrived,
    why_not_migrated,
)
from kafka_stream.admin.refusals import plan_in_the_way, refuse, why_closed
from kafka_stream.admin.reset import missing
from kafka_stream.admin.transfer import Moved, changes_to, why_not_imported
from kafka_stream.errors import CommandRefused, KafkaStreamError
from kafka_stream.protocols import ActionKind, AdministeredStore, Change, RangeSink
from kafka_stream.types import PositionState

_LONGEST_PLACE = 180  # a reason is kept in 255 characters everywhere


def migrate(source: AdministeredStore, target: AdministeredStore, stream: str, *, actor: str | None = None) -> Moved:
    """Copy a stopped stream's positions into another store, and look there whether they arrived.

    The source stays as it is. Done twice it changes nothing.

    Raises:
        CommandRefused: the source has an owner that has not stopped, or outstanding plans, or the target has positions
            of its own; nothing was changed.
        StoreUnavailable, NotAuthorized.
    """
    stored = _stored_elsewhere(source, target, stream)
    if owners := source.live_owners(stream):
        raise CommandRefused(
            f"stream {stream!r} in {source.describe()} is owned by {', '.join(owners[:3])}: stop it first; if it was "
            "killed, or cannot be stopped, fence it, which closes the stream there"
        )
    closed = [why for tp in sorted(stored) if (why := why_closed(tp, stored[tp]))]
    refuse(stream, source.describe(), closed + outstanding(stored))
    refuse(stream, target.describe(), why_not_migrated(stored, target.positions(stream)))
    moved = _copy(target, stream, stored, actor)
    if source.positions(stream) != stored:
        raise KafkaStreamError(
            f"stream {stream!r} was started in {source.describe()} while it was copied: stop it, delete the stream in "
            f"{target.describe()}, and migrate again"
        )
    return moved


def fence_and_migrate(
    source: AdministeredStore, target: AdministeredStore, stream: str, *, actor: str | None = None
) -> Moved:
    """Close the stream in its store for good, naming the target, and then copy its positions there.

    The target is asked first whether it would take them, and if it would not, nothing is closed. A running owner stops
    with ``StreamClosed`` and commits nothing after. May be repeated after a failure or a kill in between, and
    ``take_back`` opens the source again; done twice it changes nothing, also if the stream has gone on in the target.

    Raises:
        CommandRefused: outstanding plans (finish or discard them first), the source is closed for another reason, or
            the target has positions of its own, or live members; nothing was changed.
        TopicNotFound, NotAuthorized, StoreUnavailable: the same.
        KafkaStreamError: it stopped half-way; the message says what to do.
    """
    stored = _stored_elsewhere(source, target, stream)
    there = target.positions(stream)
    id_of_source, id_of_target = id_of(source), id_of(target)
    still_open = {tp for tp, position in stored.items() if position.state is PositionState.OPEN}
    refuse(stream, source.describe(), _closed_otherwise(stored, id_of_target) + outstanding(stored))
    refuse(stream, target.describe(), why_given_back(stored, there, id_of_source))
    if still_open:
        refuse(stream, target.describe(), why_not_migrated(stored, there))
        _ask(target, stream, changes_to(lacking(stored, there)))
        _close(source, stream, target, actor)
    else:
        refuse(stream, target.describe(), why_not_arrived(stored, there))
    try:
        stored = source.positions(stream)
        _refuse_planned(stored)
        return _copy(target, stream, stored, actor)
    except KafkaStreamError as error:
        raise KafkaStreamError(
            f"stream {stream!r} is closed in {source.describe()}, and has not arrived in {target.describe()}: {error}; "
            "run the same command again, or open the stream where it was, with `offsets undo --to` and the target"
        ) from error


def plan_take_back(source: AdministeredStore, target: AdministeredStore, stream: str) -> Positions:
    """Where ``take_back`` would open the stream's partitions again, as things stand; reads only.

    Raises:
        CommandRefused: the source was not closed by a migration to this target.
        StoreUnavailable, NotAuthorized.
    """
    stored = _stored_elsewhere(source, target, stream)
    id_of_target = id_of(target)
    if not any(migrated_to(position) == id_of_target for position in stored.values()):
        raise CommandRefused(
            f"stream {stream!r} in {source.describe()} was not closed by a migration to {target.describe()}, so there "
            "is nothing to take back"
        )
    there = target.positions(stream)
    refuse(stream, source.describe(), _closed_otherwise(stored, id_of_target))
    refuse(stream, target.describe(), outstanding({tp: p for tp, p in there.items() if p.state is PositionState.OPEN}))
    return newest(stored, there, id_of(source))


def take_back(
    source: AdministeredStore,
    target: AdministeredStore,
    stream: str,
    *,
    actor: str | None = None,
    range_sinks: Sequence[RangeSink] = (),
) -> Moved:
    """Open a stream again in the store that ``fence_and_migrate`` has closed it in, wherever that has stopped.

    What has arrived in the target is closed there first, whoever runs it, and comes back from where it is by then; the
    rest goes on from where it was closed. May be repeated after a failure or a kill in between.

    Raises:
        CommandRefused: the source was not closed by a migration to this target, or a plan is outstanding; nothing was
            changed.
        TopicNotFound, NotAuthorized, StoreUnavailable: the same.
        KafkaStreamError: it stopped half-way; do it again.
    """
    wanted = plan_take_back(source, target, stream)
    _refuse_open_plans(source, stream, source.positions(stream), wanted, range_sinks)
    _ask(source, stream, changes_to(exported(wanted)))
    if any(position.state is PositionState.OPEN for position in target.positions(stream).values()):
        _close(target, stream, source, actor)
    try:
        there = target.positions(stream)
        return _opened_again(source, stream, there, actor, range_sinks)
    except KafkaStreamError as error:
        raise KafkaStreamError(
            f"stream {stream!r} is closed in {target.describe()}, and not open again in {source.describe()}: {error}; "
            "run the same command again"
        ) from error


def _opened_again(
    source: AdministeredStore, stream: str, there: Positions, actor: str | None, range_sinks: Sequence[RangeSink]
) -> Moved:
    id_of_source = id_of(source)
    seen: list[Positions] = []

    def decide(found: Positions) -> Sequence[Change]:
        wanted = newest(found, there, id_of_source)
        _refuse_open_plans(source, stream, found, wanted, range_sinks)
        seen.append(found)
        return changes_to(exported(wanted))

    partitions = {*there, *source.positions(stream)}
    after = apply_change(source, stream, partitions, new_action(ActionKind.UNDO, actor), decide, range_sinks)
    return Moved(seen[-1], after)


def _refuse_open_plans(
    source: AdministeredStore, stream: str, stored: Positions, wanted: Positions, range_sinks: Sequence[RangeSink]
) -> None:
    in_the_way = (
        plan_in_the_way(tp, position, wanted[tp].next_offset, discardable=bool(range_sinks))
        for tp, position in sorted(stored.items())
    )
    refuse(stream, source.describe(), [why for why in in_the_way if why])


def _closed_otherwise(stored: Positions, id_of_target: str) -> list[str]:
    return [
        str(why_closed(tp, position))
        for tp, position in sorted(stored.items())
        if position.state is PositionState.CLOSED and migrated_to(position) != id_of_target
    ]


def id_of(store: AdministeredStore) -> str:
    """A store's identity, short enough for a reason that is kept."""
    return hashlib.sha256(store.identity().encode()).hexdigest()[:12]


def _stored_elsewhere(source: AdministeredStore, target: AdministeredStore, stream: str) -> Positions:
    stored = source.positions(stream)
    if source.identity() == target.identity():
        raise CommandRefused(f"stream {stream!r} is in {source.describe()} already; name another store to migrate to")
    if not stored:
        raise missing(source, stream)
    return stored


def _ask(store: AdministeredStore, stream: str, changes: Sequence[Change]) -> None:
    """Whether it would take these; raises what it says if it would not."""
    store.open()
    if changes:
        patiently(store, lambda: store.rehearse(stream, changes))


def _close(store: AdministeredStore, stream: str, goes_to: AdministeredStore, actor: str | None) -> None:
    reason = f"migrated to {goes_to.describe()[:_LONGEST_PLACE]} (store {id_of(goes_to)})"
    action = new_action(ActionKind.CLOSE, actor)
    store.open()
    topics = {tp.topic for tp in store.positions(stream)}
    patiently(store, lambda: store.close_topics(stream, topics, action, reason))


def _refuse_planned(stored: Positions) -> None:
    for tp, position in sorted(stored.items()):
        if position.planned_until is not None:
            raise CommandRefused(
                f"{tp} has got a planned range up to {position.planned_until} meanwhile, which is to be committed "
                "where it was planned"
            )


def _copy(target: AdministeredStore, stream: str, stored: Positions, actor: str | None) -> Moved:
    """Write what the target lacks, or has given away; what is open there is there already, and may have gone on."""
    there = target.positions(stream)
    missing_there = lacking(stored, there)
    if not missing_there:
        return Moved(there, there)

    def decide(found: Positions) -> Sequence[Change]:
        refuse(stream, target.describe(), why_not_imported(missing_there, found, discardable=False))
        refuse(stream, target.describe(), why_not_migrated({tp: stored[tp] for tp in missing_there}, found))
        return changes_to(missing_there)

    action = new_action(ActionKind.MIGRATE, actor)
    apply_change(target, stream, {*missing_there, *there}, action, decide)
    after = target.positions(stream)
    for tp, wanted in sorted(missing_there.items()):
        if tp not in after or after[tp].next_offset != wanted.next_offset:
            raise KafkaStreamError(
                f"{tp} of stream {stream!r} was written to {target.describe()} at offset {wanted.next_offset}, and is "
                f"not there now (found {after.get(tp)}): somebody else has moved it, or the store loses writes"
            )
    return Moved(there, {tp: after[tp] for tp in stored})


__all__ = ["fence_and_migrate", "id_of", "migrate", "plan_take_back", "take_back"]
