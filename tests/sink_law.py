"""The law of ``SqlSink``, as a model: a batch equals its records one by one, for every mode, on every database.

One by one: each change, in the order given, as statements of its own. They are written out here, plainly, in words that
all databases understand; what is in the tables afterwards, or that something was refused, is the outcome.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from kafka_stream.errors import ProcessingError
from kafka_stream.sinks.sql import Delete, SqlSink
from tests.elsewhere import prepared_elsewhere
from tests.sink_tables import Case, Mode

REFUSED = "refused"


@st.composite
def changes(draw: st.DrawFn, case: Case, most_keys: int | None = None) -> list[Any]:
    """Rows of any shape, and deletes."""
    given: list[Any] = []
    for _ in range(draw(st.integers(1, 7))):
        key = [draw(st.sampled_from(case.keys[:most_keys]))]
        if len(case.key) > 1:
            key.append(draw(st.sampled_from(["p", "q", "P"])))
        what = draw(st.sampled_from(["full", "full", "partial", "delete"]))
        if what == "delete":
            given.append(Delete(*key))
            continue
        row = dict(zip(case.key, key, strict=True))
        for name, values in case.others.items():
            if what == "full" or draw(st.booleans()):
                row[name] = draw(values)
        is_tuple = what == "full" and case.sink_key is None
        given.append(tuple(row[it.key] for it in case.table.columns) if is_tuple else row)
    return given


@contextmanager
def undone(connection: sa.Connection) -> Iterator[None]:
    """What happens inside is taken back."""
    with connection.begin() as transaction:
        try:
            yield
        finally:
            transaction.rollback()


@dataclass
class Transaction:
    connection: sa.Connection


def by_sink(connection: sa.Connection, case: Case, sink: SqlSink, stored: list[Any], batches: list[list[Any]]) -> Any:
    """The outcome of the sink, in these batches."""
    return _outcome(connection, case, stored, lambda: _write(sink, batches, connection))


def _write(sink: SqlSink, batches: list[list[Any]], connection: sa.Connection) -> None:
    for batch in batches:
        sink.write(sink.prepare(batch), Transaction(connection))


def by_workers(connection: sa.Connection, case: Case, sink: SqlSink, stored: list[Any], pieces: list[list[Any]]) -> Any:
    """The outcome of the sink, where workers have prepared these pieces, as a driver has it: it may do it over."""
    written: list[Any] = []
    try:
        values = [prepared_elsewhere(sink, piece) for piece in pieces]
    except ProcessingError:
        return by_sink(connection, case, sink, stored, pieces)
    outcome = _outcome(connection, case, stored, lambda: _write_values(sink, values, connection, written))
    if outcome != REFUSED:
        return outcome
    assert all(isinstance(error, ProcessingError | sa.exc.DBAPIError) for error in written), written
    return by_sink(connection, case, sink, stored, pieces)


def _write_values(sink: SqlSink, values: list[Any], connection: sa.Connection, errors: list[Any]) -> None:
    try:
        for value in values:
            sink.write(value, Transaction(connection))
    except Exception as error:
        errors.append(error)
        raise


def one_by_one(connection: sa.Connection, case: Case, mode: Mode, stored: list[Any], given: list[Any]) -> Any:
    """The outcome of the statements of each change."""
    reference = Reference(connection, case, mode)
    return _outcome(connection, case, stored, lambda: reference.apply_all(given))


def _outcome(connection: sa.Connection, case: Case, stored: list[Any], write: Callable[[], Any]) -> Any:
    with undone(connection):
        store(connection, case, stored)
        try:
            write()
        except Exception:
            return REFUSED
        return case.read(connection)


def store(connection: sa.Connection, case: Case, stored: list[Any]) -> None:
    """Rows that are there before, as far as the database takes them, with a child each."""
    reference = Reference(connection, case, "error")
    for row in stored:
        if not isinstance(row, Delete):
            with reference.tried() as taken:
                reference.apply(row)
            if taken and case.children is not None:
                connection.execute(sa.insert(case.children).values(of=reference.mapping(row)["k"]))


@dataclass
class Reference:
    """Applies one change after the other."""

    connection: sa.Connection
    case: Case
    mode: Mode

    def mapping(self, row: Any) -> dict[str, Any]:
        """The row by its columns."""
        return row if isinstance(row, dict) else dict(zip(self.case.table.columns.keys(), row, strict=True))

    def apply_all(self, given: list[Any]) -> None:
        """One change after the other."""
        for change in given:
            self.apply(change)

    def apply(self, change: Any) -> None:
        """One change, by the statements of the mode."""
        if isinstance(change, Delete):
            self.connection.execute(sa.delete(self.case.table).where(self._is(change.key)))
            return
        row = self.mapping(change)
        key = [row[name] for name in self.case.key]
        if self.mode == "error":
            self._insert(row)
        elif self.mode == "ignore":
            self._insert_new(row, key)
        elif self.mode == "merge":
            self._insert_or_merge(row, key)
        elif not self._change(row, key):
            self._insert(row)

    def _insert(self, row: dict[str, Any]) -> None:
        self.connection.execute(sa.insert(self.case.table).values(row))

    def _insert_new(self, row: dict[str, Any], key: Sequence[Any]) -> None:
        try:
            with self.connection.begin_nested():
                self._insert(row)
        except IntegrityError as error:
            if not is_duplicate(error) or (self.case.sink_key is not None and not self._is_there(key)):
                raise

    def _insert_or_merge(self, row: dict[str, Any], key: Sequence[Any]) -> None:
        if self._lacks_values(row) and self._is_there(key):
            self._bind(row)
            self._merge(row, key)
            return
        try:
            with self.connection.begin_nested():
                self._insert(row)
        except IntegrityError as error:
            if not is_duplicate(error) or not self._is_there(key):
                raise
            self._merge(row, key)

    def _bind(self, row: dict[str, Any]) -> None:
        """A value that cannot be sent is refused, also of a column that keeps what it is."""
        columns = self.case.table.c
        self.connection.execute(sa.select(*(sa.bindparam(None, value, columns[n].type) for n, value in row.items())))

    def _lacks_values(self, row: dict[str, Any]) -> bool:
        return any(not it.nullable and not it.primary_key and it.key not in row for it in self.case.table.columns)

    def _merge(self, row: dict[str, Any], key: Sequence[Any]) -> None:
        """The sum of the one column, the greatest of the other, as a plain program has them."""
        old = self.connection.execute(sa.select(self.case.table).where(self._is(key))).one()
        given = {
            name: [it for it in (getattr(old, name), row[name]) if it is not None] for name in ("a", "b") if name in row
        }
        values = {
            name: None if not found else sum(found) if name == "a" else max(found) for name, found in given.items()
        }
        if values:
            self.connection.execute(sa.update(self.case.table).where(self._is(key)).values(values))

    def _change(self, row: dict[str, Any], key: Sequence[Any]) -> bool:
        values = {name: value for name, value in row.items() if name not in self.case.key}
        if not values:
            return self._is_there(key)
        return bool(self.connection.execute(sa.update(self.case.table).where(self._is(key)).values(values)).rowcount)

    def _is_there(self, key: Sequence[Any]) -> bool:
        return bool(self.connection.execute(sa.select(sa.literal(1)).where(self._is(key))).all())

    def _is(self, key: Sequence[Any]) -> Any:
        columns = [self.case.table.c[name] for name in self.case.key]
        return sa.and_(*(it == self._bound(it, value) for it, value in zip(columns, key, strict=True)))

    def _bound(self, column: sa.Column[Any], value: Any) -> Any:
        """The value as the column would keep it; MariaDB would take a text and a number for numbers."""
        is_mysql = self.connection.dialect.name == "mysql"
        if is_mysql and isinstance(column.type, sa.String) and type(value) is int:
            value = str(value)
        bound = sa.bindparam(None, value, column.type)
        if self.connection.dialect.name != "sqlite" and isinstance(column.type, sa.Numeric | sa.DateTime):
            return sa.cast(bound, column.type)
        return bound

    @contextmanager
    def tried(self) -> Iterator[list[bool]]:
        """Undo what is refused; the list is empty then."""
        taken: list[bool] = [True]
        savepoint = self.connection.begin_nested()
        try:
            yield taken
        except Exception:
            taken.clear()
            savepoint.rollback()
        else:
            savepoint.commit()


def is_duplicate(error: IntegrityError) -> bool:
    """Whether a unique constraint refused the row."""
    driver: Any = error.orig
    if getattr(driver, "sqlite_errorname", None) is not None:
        return driver.sqlite_errorname in ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY")
    return getattr(driver, "sqlstate", None) == "23505" or driver.args[0] == 1062


def cut(given: list[Any], places: Sequence[int]) -> list[list[Any]]:
    """The changes in batches that end at these places."""
    ends = sorted({place for place in places if 0 < place < len(given)} | {0, len(given)})
    return [given[start:end] for start, end in itertools.pairwise(ends)]


Example: TypeAlias = tuple[Mode, list[Any], list[Any], list[int], bool]
"""A mode, what is stored, what is given, where its batches end, and whether the sink is a new one."""


def examples(case: Case) -> st.SearchStrategy[Example]:
    """Whatever may happen to a table."""
    modes: st.SearchStrategy[Mode] = st.sampled_from(("error", "ignore", "update", "merge"))
    places, is_new = st.lists(st.integers(1, 6), max_size=2), st.integers(0, 9).map(lambda number: number == 9)
    return modes.flatmap(lambda m: st.tuples(st.just(m), changes(case), changes(case), places, is_new))


def hot(case: Case) -> st.SearchStrategy[Example]:
    """Changes that come again and again to the first keys of a table."""
    modes: st.SearchStrategy[Mode] = st.sampled_from(("ignore", "update", "merge"))
    return st.tuples(modes, changes(case, 2), changes(case, 2), st.just([]), st.just(False))


Way: TypeAlias = Callable[[sa.Connection, Case, SqlSink, list[Any], list[list[Any]]], Any]
"""``by_sink`` or ``by_workers``."""


def check(connection: sa.Connection, case: Case, example: Example, way: Way = by_sink) -> None:
    """The law, for one example."""
    mode, stored, given, places, is_new = example
    expected = one_by_one(connection, case, mode, stored, given)
    sink = case.new_sink(mode) if is_new else case.sink(mode)
    found = way(connection, case, sink, stored, cut(given, places))
    assert found == expected, f"{case.table.name}, {mode}: {stored} and {given}, in batches that end at {places}"
