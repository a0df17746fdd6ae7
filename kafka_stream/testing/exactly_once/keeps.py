"""Where offsets and results are: in memory, in a SQLite file of the test's own, or where the user says."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from sqlalchemy import Engine, Table

from kafka_stream.errors import ConfigurationError
from kafka_stream.plugins import store_from_url
from kafka_stream.protocols import OffsetStore
from kafka_stream.stream import DirectStream
from kafka_stream.testing.exactly_once.results import Results, TableResults, bag_of, reader_of, tables_in
from kafka_stream.testing.memory.store import MemoryOffsetStore


class Keep(Protocol):
    """One place for offsets and results."""

    @property
    def store(self) -> OffsetStore | str:
        """What a stream takes as ``store``; as text, other processes can take it too."""

    def for_run(self) -> OffsetStore | str:
        """The same for a run in this process."""

    def results(self) -> Results:
        """What is there now."""

    def empty(self) -> None:
        """Remove the results of a rehearsal."""

    def close(self) -> None:
        """Forget it."""


class InMemory:
    """A ``MemoryOffsetStore``; its ``rows`` are the results, unless a function finds others."""

    def __init__(self, results: Any) -> None:
        self.store = MemoryOffsetStore()
        self._read: Callable[[], Results] = lambda: bag_of(self.store.rows)
        if results is not None:
            self._read = reader_of(results)

    def for_run(self) -> MemoryOffsetStore:
        """What it is shows nowhere else."""
        return self.store

    def results(self) -> Results:
        """See ``Keep``."""
        return self._read()

    def empty(self) -> None:
        """Nobody asks for it: the next one is new."""

    def close(self) -> None:
        """Nothing is left."""


@runtime_checkable
class _WithEngine(Protocol):
    """A store in a database that SQLAlchemy reaches."""

    @property
    def engine(self) -> Engine:
        """By which engine."""


class InTables:
    """A database with tables that hold the results; ``store`` is its URL, or a store of the user's."""

    def __init__(self, store: OffsetStore | str, tables: Sequence[Table]) -> None:
        self.store = store
        self._found = store_from_url(store) if isinstance(store, str) else store
        if not isinstance(self._found, _WithEngine):
            raise ConfigurationError(
                f"results is a table, and the offsets are in {self._found.describe()}: give the store of the database "
                "that has the table, or results= as a function"
            )
        self._engine = self._found.engine
        self._tables = TableResults(self._engine, tables)

    def for_run(self) -> OffsetStore:
        """Which store serves the URL is known: to look among all that is installed takes most of a short run."""
        serving: Callable[[str], OffsetStore] = type(self._found)
        return serving(self.store) if isinstance(self.store, str) else self.store

    def results(self) -> Results:
        """See ``Keep``."""
        return self._tables.read()

    def refuse_rows(self) -> None:
        """Raises ``ConfigurationError`` where there is something that is not ours."""
        self._tables.refuse_rows()

    def empty(self) -> None:
        """See ``Keep``."""
        self._tables.empty()

    def close(self) -> None:
        """Dispose what is ours."""
        if isinstance(self.store, str):
            self._engine.dispose()


class InSqliteFile(InTables):
    """A SQLite file in a folder of its own, with the tables in it; both are removed at the end."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._stack = ExitStack()
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        super().__init__(f"sqlite:///{Path(folder) / 'results.db'}", tables)
        self._stack.callback(super().close)
        for table in tables:
            table.metadata.create_all(self._engine)

    def close(self) -> None:
        """See ``Keep``."""
        self._stack.close()


class Given:
    """The user's store, and a function that finds the results."""

    def __init__(self, store: OffsetStore | str, results: Any) -> None:
        self.store = store
        self.results = reader_of(results)

    def for_run(self) -> OffsetStore | str:
        """As it was given."""
        return self.store

    def empty(self) -> None:
        """Nobody asks for it: what the results have to be was said."""

    def close(self) -> None:
        """It is the user's."""


def tables_of(stream: DirectStream, results: Any) -> Sequence[Table]:
    """The tables that were given as results; if nothing was, those that the stream's sinks write."""
    if results is not None:
        return tables_in(results)
    found = [getattr(sink, "table", None) for sink in stream.sinks]
    return tables_in(found)


def keep_of(stream: DirectStream, results: Any, store: OffsetStore | str | None) -> Keep:
    """A place for one run, by what the user gave; without a ``store``, in memory or in a SQLite file.

    Raises:
        ConfigurationError: it does not follow where the results are.
    """
    tables = tables_of(stream, results)
    if store is not None:
        return _given(store, results, tables)
    if any(sink.needs not in (None, "sql") for sink in stream.sinks):
        raise ConfigurationError(
            f"stream {stream.name!r} writes to {stream.sinks[0].describe()}, for which memory has no place: give "
            "kafka= and store= of a test's own servers, and results= as a function"
        )
    if tables:
        return InSqliteFile(tables)
    if stream.store.capabilities.transaction == "sql" and results is None:
        raise ConfigurationError(
            f"stream {stream.name!r} writes with a function, so nobody knows into which tables: give results= as the "
            "sqlalchemy Table (or tables) that it writes"
        )
    return InMemory(results)


def _given(store: OffsetStore | str, results: Any, tables: Sequence[Table]) -> Keep:
    if isinstance(store, MemoryOffsetStore) and results is None:
        return Given(store, lambda: store.rows)
    return InTables(store, tables) if tables else Given(store, results)


__all__ = ["InTables", "Keep", "keep_of"]
