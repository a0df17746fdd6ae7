"""Rows of other tables for a batch's records: read by their keys in one request, inside the batch's transaction."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from math import inf
from typing import Any, Protocol, TypeAlias
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Dialect

from kafka_stream.errors import ConfigurationError, ProcessingError
from kafka_stream.sinks.sql.rules import schemas_of
from kafka_stream.sinks.sql.state.key_forms import in_order
from kafka_stream.sinks.sql.state.reading import RowsByKey
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.sinks.sql.target import Target


class LookupTransaction(Protocol):
    """What a look-up needs of a transaction."""

    @property
    def connection(self) -> Connection:
        """The connection, inside its transaction."""


_READERS: WeakKeyDictionary[Dialect, dict[Any, RowsByKey]] = WeakKeyDictionary()


def lookup(
    table: Any,
    keys: Iterable[Any],
    transaction: LookupTransaction,
    *,
    key: Sequence[str] | None = None,
    lock: bool = False,
) -> dict[Any, Mapping[str, Any]]:
    """The rows of these keys, by key, in one request: as they are for the batch's transaction at this moment.

    A key is a value, or a tuple in the order of the primary key (or of the unique columns named by ``key``); one
    without a row, and one that is ``None`` or has a ``None`` in it, is not in what is returned. On PostgreSQL and
    MariaDB others may change the rows between this and the commit, unless ``lock`` is set: then they wait until it.

    Example:
        A stream of orders, joined with a table of products::

            def write(orders, transaction):
                products = lookup(product_table, {order["product"] for _, order in orders}, transaction)

    Raises:
        ConfigurationError: ``table`` is none, is not in the database, or has no such key.
        ProcessingError: a key is of another type than the table's.
    """
    return _rows(_target_of(table, key), _distinct(keys), transaction.connection, lock=lock)


class CachedLookup:
    """``lookup`` for small tables that change seldom: a row that was read is not read again for ``max_age_s`` seconds.

    **What it gives is as old as that**: a change of the table is seen up to ``max_age_s`` later, by each process at
    another time, and a batch that is repeated may see another row than it saw the first time. So it is for what may be
    a little old, such as names and exchange rates of the day; where each record must meet the row of its moment, use
    ``lookup``. Keys without a row are remembered as such. Up to ``most_rows`` keys are kept. What was read by a
    transaction that is then rolled back is forgotten with it, and while parts of a batch are tried nothing is kept.

    Raises:
        ConfigurationError: ``table`` is no table, has no such key, or a number is none.
    """

    def __init__(
        self,
        table: Any,
        max_age_s: float,
        *,
        key: Sequence[str] | None = None,
        most_rows: int = 100_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target = _target_of(table, key)
        if not max_age_s > 0:
            raise ConfigurationError(f"max_age_s={max_age_s!r} of a CachedLookup is not above 0; use lookup")
        if most_rows < 1:
            raise ConfigurationError(f"most_rows={most_rows!r} of a CachedLookup is not above 0; use lookup")
        self._max_age_s = max_age_s
        self._most_rows = most_rows
        self._clock = clock
        self._remembered = _Remembered()

    def __call__(self, keys: Iterable[Any], transaction: StatefulTransaction) -> dict[Any, Mapping[str, Any]]:
        """The rows of these keys, by key; as ``lookup`` gives them, now or up to ``max_age_s`` ago.

        Raises:
            ConfigurationError: the table is not in the database.
            ProcessingError: a key is of another type than the table's.
        """
        remembered, now = self._remembered, self._clock()
        remembered.begin(transaction)
        given: dict[Any, Mapping[str, Any]] = {}
        missing: list[Any] = []
        for key in _distinct(keys):
            read_at, row = remembered.get(key)
            if now - read_at >= self._max_age_s:
                missing.append(key)
            elif row is not None:
                given[key] = dict(row)
        if missing:
            found = _rows(self._target, missing, transaction.connection, lock=False)
            remembered.put({key: (now, found.get(key)) for key in missing}, self._most_rows)
            given.update((key, dict(row)) for key, row in found.items())
        return given


_Read: TypeAlias = tuple[float, Mapping[str, Any] | None]
_NEVER: _Read = (-inf, None)


class _Remembered(threading.local):
    """By key when it was read, and what; each thread has its own, since each has a transaction of its own."""

    def __init__(self) -> None:
        self._committed: dict[Any, _Read] = {}
        self._pending: dict[Any, _Read] = {}
        self._transaction: StatefulTransaction | None = None

    def begin(self, transaction: StatefulTransaction) -> None:
        """What another transaction has read is taken over if it was committed, and otherwise forgotten."""
        if transaction is self._transaction:
            return
        if self._transaction is not None and self._transaction.is_committed:
            for key, read in self._pending.items():
                self._committed.pop(key, None)
                self._committed[key] = read
        self._pending = {}
        self._transaction = None if transaction.in_attempt else transaction

    def get(self, key: Any) -> _Read:
        """When it was read, and what was."""
        return self._pending.get(key) or self._committed.get(key, _NEVER)

    def put(self, reads: Mapping[Any, _Read], most_rows: int) -> None:
        """Remember these, and not more of all than so many; the oldest go first."""
        self._pending.update(reads)
        if (too_many := len(self._committed) + len(self._pending) - most_rows) > 0:
            for key in list(islice(self._committed, too_many)):
                del self._committed[key]


def _target_of(table: Any, key: Sequence[str] | None) -> Target:
    target = Target.of(table, key, "look-up")
    if not target.key:
        raise ConfigurationError(
            f"rows of table {target.name} cannot be looked up: it has no primary key; name key=(…)"
        )
    return target


def _distinct(keys: Iterable[Any]) -> list[Any]:
    """Each key once, without those that no row can have."""
    if isinstance(keys, str | bytes):
        raise ProcessingError(f"a look-up is given several keys, in a list or a set, not a {type(keys).__name__}")
    return [key for key in dict.fromkeys(keys) if key is not None and not (isinstance(key, tuple) and None in key)]


def _rows(target: Target, keys: list[Any], connection: Connection, *, lock: bool) -> dict[Any, Mapping[str, Any]]:
    if not keys:
        return {}
    names = tuple(target.table_columns)
    reader = _reader_of(target, names, connection)
    if (forms := reader.forms.of(keys)) is None:
        why = next(filter(None, map(reader.forms.why_not, keys)), None)
        raise ProcessingError(f"rows of table {target.name} cannot be looked up: {why}")
    numbers = in_order(forms)
    found = reader(connection, [keys[number] for number in numbers], lock=lock)
    return {
        key: dict(zip(names, found[form], strict=False)) for key, form in zip(keys, forms, strict=True) if form in found
    }


def _reader_of(target: Target, names: tuple[str, ...], connection: Connection) -> RowsByKey:
    """What reads this table through such connections; it looks at the table once."""
    schemas = frozenset(schemas_of(connection).items())
    of_dialect = _READERS.setdefault(connection.dialect, {})
    known = (target.table, names, target.key, schemas)
    if (reader := of_dialect.get(known)) is None:
        reader = of_dialect[known] = RowsByKey.of(target, names, connection)
    return reader
