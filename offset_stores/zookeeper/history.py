"""What is remembered of a stream, in znodes of its own: written, looked for, and kept within bounds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from kazoo.protocol.serialization import CheckVersion, Create, Delete

from kafka_stream.errors import StoreUnavailable
from kafka_stream.offset_stores.zookeeper.history_znodes import Name, decoded, encoded, in_order, superfluous
from kafka_stream.offset_stores.zookeeper.operations import ANY_VERSION, Operation
from kafka_stream.offset_stores.zookeeper.positions import Positions
from kafka_stream.offset_stores.zookeeper.requests import in_requests
from kafka_stream.protocols import ActionKind, HistoryEntry


def names(positions: Positions, stream: str) -> list[Name]:
    """What is remembered, in no order, as far as the server that we read from has seen it."""
    (found,) = positions.connection.children([positions.layout.history(stream)])
    return [name for text in found if (name := Name.parsed(text)) is not None]


def remembering(positions: Positions, stream: str, entries: Iterable[HistoryEntry]) -> list[Create]:
    """The operations that remember these, in as many znodes as they need."""
    # Who reads the others reads these: a command with other credentials leaves nothing that the stream cannot see.
    folder = positions.layout.history(stream)
    acl = positions.connection.acl_like(folder)
    return [Create(f"{folder}/{name}", data, acl, 0) for name, data in encoded(entries)]


def record(positions: Positions, stream: str, entries: Sequence[HistoryEntry], keep_for: timedelta) -> None:
    """Remember these, except for what is there from an attempt before, and forget what is old or too much."""
    folder = positions.layout.history(stream)
    if entries:
        positions.connection.create_missing(folder, positions.layout.stream(stream))
    positions.connection.sync()
    known = {f"{folder}/{name}" for name in names(positions, stream)}
    creates = [create for create in remembering(positions, stream, entries) if create.path not in known]
    for request in _requests(positions, stream, creates) if creates else ():
        if not positions.try_multi(request):
            raise StoreUnavailable(f"what was to be remembered in {folder} was changed by somebody else meanwhile")
    forget(positions, stream, datetime.now(UTC) - keep_for)


def forget(positions: Positions, stream: str, before: datetime | None = None) -> None:
    """Remove what is older than this, and what is too much; what somebody else removes meanwhile is left to them."""
    folder = positions.layout.history(stream)
    going = [Delete(f"{folder}/{name}", ANY_VERSION) for name in superfluous(names(positions, stream), before)]
    for request in _requests(positions, stream, going) if going else ():
        if not positions.try_multi(request):
            return


def stopped(found: Iterable[Name]) -> set[str]:
    """The owners that have recorded a stop."""
    return {name.action_id for name in found if name.kind is ActionKind.STOP}


def latest(positions: Positions, stream: str, limit: int, kinds: Collection[ActionKind]) -> list[HistoryEntry]:
    """The entries of the latest actions, newest first, without those that only others may read."""
    positions.connection.sync()
    folder = positions.layout.history(stream)
    actions = in_order(names(positions, stream), kinds)[:limit]
    paths = [f"{folder}/{name}" for parts in actions for name in parts]
    znodes = zip(paths, positions.connection.read_what_we_may(paths), strict=True)
    return [entry for path, found in znodes if found is not None for entry in decoded(found[0], path)]


def _requests(positions: Positions, stream: str, operations: Sequence[Operation]) -> Iterable[list[Operation]]:
    folder = CheckVersion(positions.layout.history(stream), ANY_VERSION)
    return in_requests(operations, folder, positions.connection.max_request_bytes)


__all__ = ["forget", "latest", "names", "record", "remembering", "stopped"]
