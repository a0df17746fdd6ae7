"""Clearing what sinks keep, in the transaction that moves offsets: by the sinks themselves, or by the register."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, delete, func, select

from kafka_stream.errors import CommandRefused, StoreUnavailable
from kafka_stream.offset_stores.sql.access import Access
from kafka_stream.offset_stores.sql.state.register import SEEN, WINDOWS, registered, with_others
from kafka_stream.offset_stores.sql.state.users_tables import (
    found_table,
    of_partitions,
    partition_columns,
    table_names,
)
from kafka_stream.offset_stores.sql.tables import Tables
from kafka_stream.protocols import Action, Clearing, StateDescription, is_of_partitions
from kafka_stream.types import Claim, OffsetRange, Owner, PositionState, TopicPartition

Rows = ColumnElement[bool] | None
"""Which of a table's rows; ``None``: all of them."""


@dataclass(frozen=True, slots=True)
class ClearingTransaction:
    """What a sink clears its state through: the transaction of an operator's command (``StatefulTransaction``)."""

    connection: Connection
    claimed: Claim
    tables: Tables
    open_partitions: tuple[TopicPartition, ...]

    @property
    def in_attempt(self) -> bool:
        """Nothing that a sink remembers holds here."""
        return True

    @property
    def is_committed(self) -> bool:
        """Never while a sink has it."""
        return False

    def partitions(self) -> Sequence[TopicPartition]:
        """All partitions of the stream that are open, in order."""
        return self.open_partitions


def clear(
    access: Access,
    connection: Connection,
    stream: str,
    action: Action,
    locked: Collection[TopicPartition],
    clearing: Clearing,
) -> dict[str, int]:
    """How many rows were deleted of each table; see ``StateStore.change_and_clear``.

    Raises:
        CommandRefused, StoreUnavailable: as it does.
    """
    found = with_others(access, connection, stream, registered(access, connection, stream))
    for state in found:
        if state.also_of:
            raise CommandRefused(also_of_others(stream, state.described, state.also_of))
    transaction = _transaction(access, connection, stream, action, clearing)
    of_sinks = {_identity(state): state for sink in clearing.sinks for state in sink.states()}
    of_others = [state.described for state in found if _identity(state.described) not in of_sinks]
    if any(not is_of_partitions(it) for it in (*of_sinks.values(), *of_others)):
        _refuse_overtaken(stream, transaction, locked, access.where)
    cleared: dict[str, int] = {}
    for sink in clearing.sinks:
        _add(cleared, sink.clear(transaction, clearing.partitions))
    for described in of_others:
        _add(cleared, _cleared(access, connection, stream, described, clearing.partitions))
    return cleared


def also_of_others(stream: str, described: StateDescription, others: Collection[str]) -> str:
    """Why a table is not cleared."""
    named = ", ".join(map(repr, sorted(others)))
    return (
        f"table {described.table} is not of stream {stream!r} alone: {named} keeps state in it, too, which is not "
        "to be cleared; nothing was changed: delete this stream's rows by hand"
    )


def count(
    access: Access,
    connection: Connection,
    stream: str,
    described: StateDescription,
    partitions: Collection[TopicPartition] | None,
) -> dict[str, int | None]:
    """How many rows there are of each table, ``None`` of one that is not there."""
    counted: dict[str, int | None] = dict.fromkeys(table_names(described))
    for name, table, rows in _of_users(connection, described, partitions):
        query = select(func.count()).select_from(table)
        counted[name] = connection.execute(query if rows is None else query.where(rows)).scalar_one()
    if described.kind == SEEN:
        seen = access.tables.seen
        rows = _of_stores(seen, stream, described, partitions)
        counted[seen.fullname] = connection.execute(select(func.count()).select_from(seen).where(rows)).scalar_one()
    return counted


def _cleared(
    access: Access,
    connection: Connection,
    stream: str,
    described: StateDescription,
    partitions: Sequence[TopicPartition],
) -> dict[str, int]:
    """By the register: what the code does not know any more, or where the code is not at hand."""
    only = partitions if is_of_partitions(described) else None
    deleted = {}
    for name, table, rows in _of_users(connection, described, only):
        deleting = delete(table) if rows is None else delete(table).where(rows)
        deleted[name] = connection.execute(deleting).rowcount
    tables = access.tables
    # Without a row in the register other windows may begin under their name.
    beside = {SEEN: (tables.watermarks,), WINDOWS: (tables.watermarks, tables.late, tables.states)}
    for table in beside.get(described.kind, ()):
        connection.execute(delete(table).where(_of_stores(table, stream, described, only)))
    if described.kind == SEEN:
        forgetting = delete(tables.seen).where(_of_stores(tables.seen, stream, described, only))
        deleted[tables.seen.fullname] = connection.execute(forgetting).rowcount
    return deleted


def _of_users(
    connection: Connection, described: StateDescription, partitions: Collection[TopicPartition] | None
) -> Iterator[tuple[str, Table, Rows]]:
    """The user's tables that are there, by the name that the sink gave, and which of their rows are meant."""
    for name in table_names(described):
        if (table := found_table(connection, name)) is None:
            continue
        if partitions is None or not is_of_partitions(described):
            yield name, table, None
        else:
            topic, partition = partition_columns(described, table)
            yield name, table, of_partitions((table.c[topic], table.c[partition]), partitions)


def _of_stores(
    table: Table, stream: str, described: StateDescription, partitions: Collection[TopicPartition] | None
) -> ColumnElement[bool]:
    mine = (table.c.stream == stream) & (table.c.state == described.name)
    if partitions is None or not is_of_partitions(described):
        return mine
    return mine & of_partitions((table.c.topic, table.c.partition), partitions)


def _transaction(
    access: Access, connection: Connection, stream: str, action: Action, clearing: Clearing
) -> ClearingTransaction:
    """It claims the partitions that have moved, where they are now."""
    stored = access.read(connection, stream)
    moved = sorted(set(clearing.partitions))
    claim = Claim(
        stream,
        Owner(action.id, action.actor),
        tuple(OffsetRange(tp, stored[tp].next_offset, stored[tp].next_offset) for tp in moved),
        {tp: stored[tp].owner_epoch for tp in moved},
        {},
        {},
    )
    still_open = sorted(tp for tp, position in stored.items() if position.state is PositionState.OPEN)
    return ClearingTransaction(connection, claim, access.tables, tuple(still_open))


def _refuse_overtaken(
    stream: str, transaction: ClearingTransaction, locked: Collection[TopicPartition], where: str
) -> None:
    if beside := sorted(set(transaction.partitions()).difference(locked)):
        raise StoreUnavailable(
            f"nothing was changed: {beside[0]} of stream {stream!r} in {where} was taken over meanwhile, and may be "
            "writing into the state that was to be cleared; try again"
        )


def _identity(described: StateDescription) -> tuple[str, str, str]:
    return described.name, described.kind, "" if described.kind == SEEN else described.table


def _add(cleared: dict[str, int], more: Mapping[str, int]) -> None:
    for table, rows in more.items():
        cleared[table] = cleared.get(table, 0) + rows


__all__ = ["ClearingTransaction", "also_of_others", "clear", "count"]
