"""Which state a stream's sinks keep: what the store's register says, beside what the application declares."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from kafka_stream.errors import ConfigurationError
from kafka_stream.protocols import (
    OffsetStore,
    Sink,
    StateDescription,
    StatefulSink,
    StateStore,
    StoredState,
    is_of_partitions,
)
from kafka_stream.types import TopicPartition


@dataclass(frozen=True, slots=True)
class KeptState:
    """A sink's state: what the store knows of it, what the application's code says, and the rows of its tables.

    ``stored`` is ``None`` of what only the code knows, before its first batch; ``declared`` is ``None`` without an
    application, and of what its code does not know any more. A table that is not there has ``None`` rows.
    """

    stored: StoredState | None
    declared: StateDescription | None
    rows: Mapping[str, int | None]

    @property
    def described(self) -> StateDescription:
        """As it is stored; as it is declared, where nothing is."""
        if self.stored is not None:
            return self.stored.described
        assert self.declared is not None
        return self.declared

    @property
    def registered_at(self) -> datetime | None:
        """When the sink said so, or has closed windows last."""
        return None if self.stored is None else self.stored.changed_at


def keeping_state(store: OffsetStore) -> StateStore:
    """The store, as commands on state need it.

    Raises:
        ConfigurationError: no state is kept through its transactions.
    """
    if not isinstance(store, StateStore):
        raise ConfigurationError(
            f"no state is kept through {store.describe()}: it is rows of tables, which takes an SQL store (postgresql, "
            "mariadb, sqlite)"
        )
    return store


def stateful(sinks: Sequence[Sink]) -> Sequence[StatefulSink]:
    """Those of an application that keep state, by themselves or by what they hand results on to."""
    return [sink for sink in sinks if isinstance(sink, StatefulSink) and sink.states()]


def known_state(store: OffsetStore, stream: str, sinks: Sequence[Sink] = ()) -> Sequence[KeptState]:
    """All of a stream's, by name, no rows counted. Reads only.

    Nothing where the store is none that state is kept through.
    """
    if not isinstance(store, StateStore):
        return []
    declared = {state.name: state for sink in stateful(sinks) for state in sink.states()}
    stored = {state.described.name: state for state in store.states(stream)}
    return [KeptState(stored.get(name), declared.get(name), {}) for name in sorted({*declared, *stored})]


def kept_state(
    store: OffsetStore, stream: str, sinks: Sequence[Sink] = (), partitions: Collection[TopicPartition] | None = None
) -> Sequence[KeptState]:
    """The same with their rows: those of ``partitions`` alone where that can be told. Reads only."""
    if not isinstance(store, StateStore):
        return []
    return [
        replace(state, rows=store.state_rows(stream, state.described, partitions))
        for state in known_state(store, stream, sinks)
    ]


def table_rows(kept: Sequence[KeptState]) -> dict[str, int]:
    """The rows of each table that is there, once, however many sinks keep theirs in it."""
    return {table: rows for state in kept for table, rows in state.rows.items() if rows is not None}


def missing_tables(kept: Sequence[KeptState]) -> list[str]:
    """The tables that are not there, or are nowhere that this user's sessions look."""
    return sorted({table for state in kept for table, rows in state.rows.items() if rows is None})


def in_words(rows: Mapping[str, int]) -> str:
    """``totals (120 rows) and visits (1 row)``."""
    told = [f"{table} ({count:,} {'row' if count == 1 else 'rows'})" for table, count in sorted(rows.items())]
    return " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)


def of_all_partitions(kept: Sequence[KeptState]) -> Sequence[StateDescription]:
    """Those whose rows cannot be told apart by the partitions that they were made of."""
    return [state.described for state in kept if not is_of_partitions(state.declared or state.described)]


__all__ = [
    "KeptState",
    "in_words",
    "keeping_state",
    "kept_state",
    "known_state",
    "missing_tables",
    "of_all_partitions",
    "stateful",
    "table_rows",
]
