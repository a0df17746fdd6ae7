"""The rows of what was seen, on PostgreSQL: arrays, and one statement where all keys are new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kafka_stream.sinks.sql.deduplication.passing import Hash
from kafka_stream.sinks.sql.deduplication.seen_rows import SeenRow
from kafka_stream.sinks.sql.postgres.copying import cursor_of
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction

if TYPE_CHECKING:
    import psycopg

_GIVEN = """
given AS MATERIALIZED (
    SELECT key_hash, key_text, (%(topics)s::text[])[place] AS topic, "partition", "offset", time_us
    FROM unnest(%(key_hash)b::bytea[], %(key_text)b::text[], %(place)b::int4[], %(partition)b::int4[],
                %(offset)b::int8[], %(time_us)b::int8[])
        AS row(key_hash, key_text, place, "partition", "offset", time_us)
)"""

_NOTE = """
WITH {given}, noted AS (
    INSERT INTO {seen} (stream, state, key_hash, key_text, topic, "partition", "offset", time_us, seen_at)
    SELECT %(stream)s, %(state)s, key_hash, key_text, topic, "partition", "offset", time_us, %(now)s
    FROM given ORDER BY key_hash
    ON CONFLICT (stream, state, key_hash) DO NOTHING
    RETURNING key_hash
)
SELECT key_hash FROM given EXCEPT SELECT key_hash FROM noted"""

# An INSERT looks a key up in the index of all of it, whatever the planner thinks. A SELECT takes the other index while
# nothing is known of the table: all rows of the stream, for each key. What is not there any more is inserted as NEVER.
_LOCK = """
INSERT INTO {seen} AS seen (stream, state, key_hash, key_text, topic, "partition", "offset", time_us, seen_at)
SELECT %(stream)s, %(state)s, wanted.key_hash, '', '', 0, 0, %(never)s, %(now)s
FROM unnest(%(keys)b::bytea[]) AS wanted(key_hash) ORDER BY wanted.key_hash
ON CONFLICT (stream, state, key_hash) DO UPDATE SET time_us = seen.time_us
RETURNING key_hash, time_us"""
_NEVER = -(2**63)

_CHANGE = """
WITH {given}
INSERT INTO {seen} (stream, state, key_hash, key_text, topic, "partition", "offset", time_us, seen_at)
SELECT %(stream)s, %(state)s, key_hash, key_text, topic, "partition", "offset", time_us, %(now)s
FROM given ORDER BY key_hash
ON CONFLICT (stream, state, key_hash) DO UPDATE
SET key_text = EXCLUDED.key_text, topic = EXCLUDED.topic, "partition" = EXCLUDED."partition",
    "offset" = EXCLUDED."offset", time_us = EXCLUDED.time_us, seen_at = EXCLUDED.seen_at"""


class PostgresRows:
    """Inserts first, and asks only for the keys that were there. See ``SeenRows``."""

    def __init__(self, transaction: StatefulTransaction, driver: psycopg.Connection[Any], state: str) -> None:
        self._connection = connection = transaction.connection
        self._driver = driver
        self._names = {"seen": connection.dialect.identifier_preparer.format_table(transaction.tables.seen)}
        self._fixed = {"stream": transaction.claimed.stream, "state": state, "now": datetime.now(UTC)}

    def note(self, rows: Sequence[SeenRow]) -> Mapping[Hash, int]:
        """As the port says. A key that was there may be forgotten by somebody before it is locked: then it is new."""
        found = sorted(key for (key,) in self._run(_NOTE, **self._given(rows)))
        if not found:
            return {}
        locked = dict(self._run(_LOCK, keys=found, never=_NEVER))
        if forgotten := [row for row in rows if locked.get(row[0]) == _NEVER]:
            self.change(forgotten)
        return {key: time for key, time in locked.items() if time != _NEVER}

    def change(self, rows: Sequence[SeenRow]) -> None:
        """As the port says."""
        self._run(_CHANGE, **self._given(rows))

    def _given(self, rows: Sequence[SeenRow]) -> dict[str, Any]:
        key_hash, key_text, topic, partition, offset, time_us = map(list, zip(*rows, strict=True))
        topics = sorted(set(topic))
        places = {name: place for place, name in enumerate(topics, start=1)}
        return {
            "key_hash": key_hash,
            "key_text": key_text,
            "topics": topics,
            "place": [places[name] for name in topic],
            "partition": partition,
            "offset": offset,
            "time_us": time_us,
        }

    def _run(self, statement: str, **parameters: Any) -> list[Any]:
        with cursor_of(self._connection, self._driver) as cursor:
            sql: Any = statement.format(given=_GIVEN, **self._names)
            cursor.execute(sql, {**self._fixed, **parameters}, prepare=False, binary=True)
            return cursor.fetchall() if cursor.description is not None else []


__all__ = ["PostgresRows"]
