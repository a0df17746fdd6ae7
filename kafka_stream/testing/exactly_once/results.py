"""The results as a bag of values: rows of tables, or whatever a function of the user's finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Engine, Row, Table, delete, func, select

from kafka_stream.errors import ConfigurationError
from kafka_stream.offset_stores.sql.tables import DEFAULT_PREFIX

Results = Counter[Hashable]


def bag_of(found: Iterable[Any]) -> Results:
    """Values as they can be counted: a row is a tuple, a mapping the pairs that it holds."""
    return Counter(_hashable(value) for value in found)


def _hashable(value: Any) -> Hashable:
    if isinstance(value, Row | list | tuple):
        return tuple(_hashable(part) for part in value)
    if isinstance(value, Mapping):
        return tuple(sorted(((str(name), _hashable(part)) for name, part in value.items()), key=lambda it: it[0]))
    return value if isinstance(value, Hashable) else repr(value)


class TableResults:
    """The rows of tables that nobody else writes."""

    def __init__(self, engine: Engine, tables: Sequence[Table]) -> None:
        self._engine = engine
        self._tables = tables

    def read(self) -> Results:
        """All rows; where there are several tables, each with the name of its own."""
        with self._engine.connect() as connection:
            rows = [(table.fullname, row) for table in self._tables for row in connection.execute(select(table))]
        return bag_of(row if len(self._tables) == 1 else (name, *row) for name, row in rows)

    def refuse_rows(self) -> None:
        """What is emptied later is ours.

        Raises:
            ConfigurationError: there are rows already.
        """
        with self._engine.connect() as connection:
            for table in self._all():
                if count := connection.execute(select(func.count()).select_from(table)).scalar_one():
                    raise ConfigurationError(
                        f"table {table.fullname} has {count} row(s), and would be emptied in between: give a database "
                        "of the test's own, or say with expected= what the results have to be"
                    )

    def empty(self) -> None:
        """Delete the rows of all tables that are declared with these."""
        with self._engine.begin() as connection:
            for table in reversed(self._all()):
                connection.execute(delete(table))

    def _all(self) -> Sequence[Table]:
        declared = {it.key: it for table in self._tables for it in table.metadata.sorted_tables}
        return [table for table in declared.values() if not table.name.startswith(DEFAULT_PREFIX)]


def tables_in(results: Any) -> Sequence[Table]:
    """The tables, if that is what was given as results."""
    if isinstance(results, Table):
        return [results]
    if isinstance(results, Sequence) and results and all(isinstance(each, Table) for each in results):
        return list(results)
    return []


def reader_of(results: Any) -> Callable[[], Results]:
    """A function of the user's as a reader.

    Raises:
        ConfigurationError: it is none.
    """
    if not callable(results):
        raise ConfigurationError(
            f"results is a {type(results).__name__}: give the Table (or tables) that the stream writes, or a function "
            "that returns what it finds"
        )
    return lambda: bag_of(results())


__all__ = ["Results", "TableResults", "bag_of", "reader_of", "tables_in"]
