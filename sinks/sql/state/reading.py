"""Rows of many keys in one request: as an array where the database has those, else in lists of values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    DateTime,
    LargeBinary,
    Select,
    Text,
    Uuid,
    any_,
    bindparam,
    cast,
    func,
    select,
    tuple_,
)
from sqlalchemy.types import TypeEngine

from kafka_stream.errors import ConfigurationError
from kafka_stream.sinks.sql.facts import ColumnFacts, Kind, TableFacts
from kafka_stream.sinks.sql.rows import Key, Values
from kafka_stream.sinks.sql.rules import schemas_of
from kafka_stream.sinks.sql.state.key_forms import KeyForms
from kafka_stream.sinks.sql.target import Target
from kafka_stream.sinks.sql.writers import facts_of

_KEYS_AT_ONCE = {"mysql": 1_000, "mariadb": 1_000, "sqlite": 10_000}
"""In a list of values."""

_DIALECTS = ("postgresql", *_KEYS_AT_ONCE)

# An array has no length, and no digits: what a key is compared with must not be cut to those of its column.
_WIDEST: Mapping[Kind, TypeEngine[Any]] = {
    Kind.BYTES: LargeBinary(),
    Kind.INTEGER: BigInteger(),
    Kind.TEXT: Text(),
    Kind.TIMESTAMP: DateTime(),
    Kind.TIMESTAMP_WITH_ZONE: DateTime(timezone=True),
    Kind.UUID: Uuid(),
}


class RowsByKey:
    """Reads rows of one table by their keys, through connections of one dialect, after a look at the table.

    ``names`` are of the columns that are read; those of the key that are not among them come behind.

    Raises:
        ConfigurationError: the table is not there, its key is not unique in the database, or of values that Python
            cannot tell apart as the database does.
    """

    def __init__(self, target: Target, names: Sequence[str], connection: Connection, facts: TableFacts) -> None:
        self.forms = KeyForms(target, facts, connection.dialect)
        if not facts.is_unique([target.table_columns[name].name for name in target.key]):
            raise ConfigurationError(
                f"({', '.join(target.key)}) is the key of table {target.name}, but in the database the table has no "
                "primary key or unique constraint on exactly these columns: add it there, or declare the table as it is"
            )
        of_key = [target.table_columns[name] for name in target.key]
        self._width = len(of_key)
        self._key_of = key_of_read(target, names)
        self._at_once = _KEYS_AT_ONCE.get(connection.dialect.name)
        wanted = select(*(target.table_columns[name] for name in columns_read(target, names)))
        is_one = self._is_in_arrays(of_key, facts) if self._at_once is None else _is_in_list(of_key)
        self._read: Select[Any] = wanted.where(is_one)
        self._lock: Any = self._read.order_by(*of_key)
        if connection.dialect.name != "sqlite":  # where the transaction has the database to itself
            self._lock = self._lock.with_for_update(of=None if self._at_once else target.table)

    @classmethod
    def of(cls, target: Target, names: Sequence[str], connection: Connection) -> RowsByKey:
        """One that looks at the table itself.

        Raises:
            ConfigurationError: as when one is built, or there is no such way on the connection's dialect.
        """
        return cls(target, names, connection, looked_at(target, connection))

    def __call__(
        self, connection: Connection, keys: Sequence[Key], *, lock: bool = False
    ) -> Mapping[Key, Sequence[Any]]:
        """By the form of its key, the columns of each row that is there.

        With ``lock`` nobody else changes these rows before the transaction's end; they are locked in key order.
        """
        statement = self._lock if lock else self._read
        found: list[Sequence[Any]] = []
        at_once = self._at_once or max(len(keys), 1)
        for start in range(0, len(keys), at_once):
            found += connection.execute(statement, self._parameters(keys[start : start + at_once])).all()
        return dict(zip(self.forms.of_rows(list(map(self._key_of, found))), found, strict=True))

    def _parameters(self, keys: Sequence[Any]) -> dict[str, Any]:
        if self._at_once is not None:
            return {"keys": keys}
        columns = [keys] if self._width == 1 else zip(*keys, strict=True)
        return {f"k{number}": list(values) for number, values in enumerate(columns)}

    def _is_in_arrays(self, of_key: Sequence[Any], facts: TableFacts) -> ColumnElement[bool]:
        types = [ARRAY(_widest(it.type, facts.columns.get(it.name, ColumnFacts()))) for it in of_key]
        arrays: list[Any] = [cast(bindparam(f"k{number}", type_=it), it) for number, it in enumerate(types)]
        if len(arrays) == 1:
            is_any: ColumnElement[bool] = of_key[0] == any_(arrays[0])
            return is_any
        keys = (
            func.unnest(*arrays)
            .table_valued(*(f"k{number}" for number in range(len(arrays))), name="keys")
            .render_derived()
        )
        return tuple_(*of_key).in_(select(*keys.c))


def _is_in_list(of_key: Sequence[Any]) -> ColumnElement[bool]:
    wanted: ColumnElement[Any] = of_key[0] if len(of_key) == 1 else tuple_(*of_key)
    return wanted.in_(bindparam("keys", expanding=True))


def _widest(type_: TypeEngine[Any], facts: ColumnFacts) -> TypeEngine[Any]:
    return type_ if facts.kind is Kind.ENUM else _WIDEST.get(facts.kind, type_)


def columns_read(target: Target, names: Sequence[str]) -> Sequence[str]:
    """The columns of a row that is read: those of these names, and of the key."""
    return [*names, *(name for name in target.key if name not in names)]


def key_of_read(target: Target, names: Sequence[str]) -> Callable[[Sequence[Any]], Values]:
    """What takes the key out of a row that was read."""
    places = list(map(columns_read(target, names).index, target.key))
    if len(places) == 1:
        (place,) = places
        return lambda row: (row[place],)
    return itemgetter(*places)


def looked_at(target: Target, connection: Connection) -> TableFacts:
    """What the database says of a table.

    Raises:
        ConfigurationError: the table cannot be read by keys on the connection's dialect.
    """
    dialect = connection.dialect.name
    if dialect not in _DIALECTS:
        *others, last = _DIALECTS
        raise ConfigurationError(
            f"rows of table {target.name} can be read by their keys on {', '.join(others)} and {last}, not on {dialect}"
        )
    schema = target.table.schema
    return facts_of(connection, target, schemas_of(connection).get(schema, schema))
