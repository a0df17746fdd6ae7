"""A state's table in one database, after a look at it: rows read by key, decided on, and written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection

from kafka_stream.errors import ConfigurationError
from kafka_stream.sinks.sql.facts import ColumnFacts, Kind
from kafka_stream.sinks.sql.rows import Key
from kafka_stream.sinks.sql.state.cache import PartitionRows, Row
from kafka_stream.sinks.sql.state.declared import KeyColumns
from kafka_stream.sinks.sql.state.grouping import OfKey
from kafka_stream.sinks.sql.state.keeping import Keeping
from kafka_stream.sinks.sql.state.reading import RowsByKey, looked_at
from kafka_stream.sinks.sql.state.updating import Decision
from kafka_stream.sinks.sql.state.writing import StateWriter
from kafka_stream.sinks.sql.target import Target

Decide = Callable[[OfKey, Sequence[Any] | None], Decision]


class StateTable:
    """The rows of a state. ``names`` are the columns that ``update`` is given.

    Raises:
        ConfigurationError: it is not in the database, or not as it is declared.
    """

    def __init__(self, target: Target, names: Sequence[str], key_columns: KeyColumns, connection: Connection) -> None:
        facts = looked_at(target, connection)
        self._read = RowsByKey(target, names, connection, facts)
        self.forms = self._read.forms
        self._writer = StateWriter(target, connection)
        self._keeping = Keeping(target, names, facts, connection.dialect)
        self._is_alone = key_columns.topic is not None or connection.dialect.name == "sqlite"
        if key_columns.topic is not None:
            column = target.table_columns[target.key[key_columns.topic]]
            found = facts.columns.get(column.name, ColumnFacts())
            if found.kind is not Kind.TEXT:
                raise ConfigurationError(
                    f"{column.name!r} of table {target.name} holds topics, but is compared without case: give it a "
                    "binary collation"
                )

    def settled(
        self, connection: Connection, groups: Sequence[OfKey], decide: Decide, go_on: Callable[[], None]
    ) -> Sequence[Decision]:
        """Decide on each key, with its row locked, and write what was decided; the last decision on each.

        Where others write to the table too, a row that is new must be new when it is written: what somebody else was
        first with is read, and decided on again.
        """
        stored = self._read(connection, [group.key for group in groups], lock=not self._is_alone)
        decisions = {group.form: decide(group, stored.get(group.form)) for group in groups}
        if self._is_alone:
            self._writer.write(connection, decisions.values(), go_on)
            return list(decisions.values())

        def again(new: Sequence[Decision]) -> Sequence[Decision] | None:
            met = self._read(connection, [it.of.key for it in new], lock=True)
            return [decide(it.of, met[it.of.form]) for it in new if it.of.form in met] or None

        new = [it for it in decisions.values() if it.row is not None and it.of.form not in stored]
        anew = self._writer.insert(connection, new, again, go_on) if new else []
        decisions.update((it.of.form, it) for it in anew)
        inserted = {it.of.form for it in new} - {it.of.form for it in anew}
        self._writer.write(connection, [it for it in decisions.values() if it.of.form not in inserted], go_on)
        return list(decisions.values())

    def settled_from(
        self,
        cache: PartitionRows,
        connection: Connection,
        groups: Sequence[OfKey],
        decide: Decide,
        go_on: Callable[[], None],
    ) -> Sequence[Decision]:
        """The same for keys that nobody else writes; rows that are in the cache are not read."""
        stored, missing = cache.known([group.form for group in groups])
        if missing:
            read = self._read(connection, [groups[number].key for number in missing])
            cache.keep({groups[number].form: read.get(groups[number].form) for number in missing})
            stored.update(read)
        decisions = [decide(group, stored.get(group.form)) for group in groups]
        self._writer.write(connection, decisions, go_on)
        self._keep(cache, decisions)
        return decisions

    def _keep(self, cache: PartitionRows, decisions: Iterable[Decision]) -> None:
        """What the rows are now, where that is known without reading them."""
        known: dict[Key, Row] = {}
        unknown: list[Key] = []
        for it in decisions:
            if it.deleted is not None:
                known[it.of.form] = None
            elif it.layout is not None and it.row is not None:
                row = self._keeping.row(it.layout, it.row)
                if row is None:
                    unknown.append(it.of.form)
                else:
                    known[it.of.form] = row
        cache.forget(unknown)
        cache.keep(known)
