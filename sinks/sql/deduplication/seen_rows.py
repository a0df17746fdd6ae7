"""The rows of what was seen: noted for keys that are new, read and locked for those that are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, TypeAlias

from sqlalchemy import Connection, Table, bindparam, insert, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from kafka_stream.sinks.sql.deduplication.passing import Hash
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.sinks.sql.stateful.upsert import upsert

SeenRow: TypeAlias = tuple[Hash, str, str, int, int, int]
"""A key, its text, the topic, partition and offset of the record that went on last, and its time."""

_COLUMNS = ("key_hash", "key_text", "topic", "partition", "offset", "time_us")
KEYS_AT_ONCE = 500
"""From 1,000 on MariaDB makes a table of them, and may read all of ours to join it."""
BY_KEY = "FORCE INDEX (PRIMARY)"
"""What MariaDB and MySQL read on their way, they lock: by another index, or by a part of the key, that is too much."""


class SeenRows(Protocol):
    """One sink's rows, in a batch's transaction. What it is given is sorted by key, so that locks are taken so."""

    def note(self, rows: Sequence[SeenRow]) -> Mapping[Hash, int]:
        """Note the keys that are new; of the others, whose rows are locked now, the time that is remembered.

        Of two transactions that meet on a new key one waits for the other's end, and then finds it noted.
        """

    def change(self, rows: Sequence[SeenRow]) -> None:
        """These records of keys that ``note`` has found are to be remembered from now on."""


class StatementRows:
    """In the words of all databases: what is there is read first, and what is new inserted."""

    def __init__(self, transaction: StatefulTransaction, state: str) -> None:
        self._connection: Connection = transaction.connection
        self._table: Table = transaction.tables.seen
        self._fixed = {"stream": transaction.claimed.stream, "state": state, "seen_at": datetime.now(UTC)}

    def note(self, rows: Sequence[SeenRow]) -> Mapping[Hash, int]:
        """As the port says; somebody else may be first with a key between the look and the insert: look again."""
        remembered: dict[Hash, int] = {}
        while True:
            remembered.update(self._locked([row[0] for row in rows]))
            rows = [row for row in rows if row[0] not in remembered]
            if not rows or self._is_inserted(rows):
                return remembered

    def change(self, rows: Sequence[SeenRow]) -> None:
        """As the port says."""
        changed = (*_COLUMNS[1:], "seen_at")
        statement = upsert(self._connection.dialect, self._table, lambda new: {name: new[name] for name in changed})
        self._connection.execute(statement, self._parameters(rows))

    def _locked(self, keys: Sequence[Hash]) -> Iterator[tuple[Hash, int]]:
        table, mine = self._table, (self._fixed["stream"], self._fixed["state"])
        query = select(table.c.key_hash, table.c.time_us).order_by(table.c.key_hash).with_for_update()
        is_mysql = self._connection.dialect.name in ("mysql", "mariadb")
        wanted: Any = bindparam("keys", expanding=True)
        if is_mysql:
            whole_key = tuple_(table.c.stream, table.c.state, table.c.key_hash)
            query = query.where(whole_key.in_(wanted)).with_hint(table, BY_KEY)
        else:  # SQLite would read the whole table for the other one
            query = query.where(table.c.stream == mine[0], table.c.state == mine[1], table.c.key_hash.in_(wanted))
        for begin in range(0, len(keys), KEYS_AT_ONCE):
            chunk = keys[begin : begin + KEYS_AT_ONCE]
            given = [(*mine, key) for key in chunk] if is_mysql else chunk
            for key, time in self._connection.execute(query, {"keys": given}):
                yield bytes(key), time

    def _is_inserted(self, rows: Sequence[SeenRow]) -> bool:
        """Whether all of them were new; else none is inserted."""
        with self._connection.begin_nested() as savepoint:
            result = self._connection.execute(self._inserting(), self._parameters(rows))
            if result.rowcount == len(rows):
                return True
            savepoint.rollback()
        return False

    def _inserting(self) -> Any:
        """Leaves out what is there. Nothing else can be wrong with these rows, so that ``IGNORE`` hides nothing."""
        name = self._connection.dialect.name
        if name in ("mysql", "mariadb"):
            return insert(self._table).prefix_with("IGNORE")
        return (postgresql if name == "postgresql" else sqlite).insert(self._table).on_conflict_do_nothing()

    def _parameters(self, rows: Sequence[SeenRow]) -> list[dict[str, Any]]:
        return [dict(zip(_COLUMNS, row, strict=True)) | self._fixed for row in rows]


__all__ = ["BY_KEY", "KEYS_AT_ONCE", "SeenRow", "SeenRows", "StatementRows"]
