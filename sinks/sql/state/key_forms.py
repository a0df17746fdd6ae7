"""Keys of records and keys of rows, in a form in which they are equal exactly if the database takes them for one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Dialect

from kafka_stream.errors import ConfigurationError, ProcessingError
from kafka_stream.sinks.sql.facts import TableFacts
from kafka_stream.sinks.sql.keys import comparison, incomparable
from kafka_stream.sinks.sql.rows import Key, Values
from kafka_stream.sinks.sql.target import Target


class KeyForms:
    """The forms of a table's keys; a key is a bare value if it is of one column, otherwise a tuple.

    Raises:
        ConfigurationError: Python cannot tell the values of a column of the key apart as the database does.
    """

    def __init__(self, target: Target, facts: TableFacts, dialect: Dialect) -> None:
        if not facts.is_table:
            raise ConfigurationError(
                f"table {target.name} is not in the database (or is a view): create it there, by "
                "metadata.create_all(engine) or a migration"
            )
        if (name := incomparable(target, facts, dialect)) is not None:
            raise ConfigurationError(
                f"{name!r}, of the key of table {target.name}, is of a type whose values Python cannot tell apart as "
                f"{dialect.name} does ({_shown_type(target, name, dialect)}): make it an integer, a text (with a "
                "binary collation, if any), bytes, a UUID, a boolean, a date or a time with microseconds"
            )
        self._target = target
        self._compare = comparison(target, facts, dialect)
        self._width = len(target.key)

    def of(self, keys: Sequence[Key]) -> Sequence[Key] | None:
        """The form of each key; ``None`` if some have none."""
        return self._compare(keys)

    def of_one(self, key: Key) -> Key | None:
        """The form of a key; ``None`` if it has none."""
        found = self._compare([key])
        return None if found is None else found[0]

    def why_not(self, key: Any) -> str | None:
        """Why a record's key has no form; ``None`` if it has one."""
        if self._width > 1 and not (isinstance(key, tuple) and len(key) == self._width):
            return f"its key is a {_shown(key)}, where the key is ({', '.join(self._target.key)})"
        if self._compare([key]) is not None:
            return None
        kinds = ", ".join(map(_shown, key)) if isinstance(key, tuple) else _shown(key)
        return (
            f"its key ({kinds}) is of another type than the key ({', '.join(self._target.key)}) of table "
            f"{self._target.name}, or the database compares it in a way that Python cannot follow"
        )

    def of_rows(self, rows: Iterable[Values]) -> Sequence[Key]:
        """The form of the key of each row, as the database gave it.

        Raises:
            ProcessingError: some have none.
        """
        whole = [tuple(map(_as_asked, key)) for key in rows]
        found = self._compare([key for (key,) in whole] if self._width == 1 else whole)
        if found is None:
            raise ProcessingError(
                f"table {self._target.name} has a row whose key the database takes for that of a record, and Python "
                "does not: give the columns of the key a binary collation"
            )
        return found


def in_order(forms: Sequence[Key]) -> Sequence[int]:
    """The numbers of these in their order; members of enumerations, which have none, go by their text."""
    try:
        return sorted(range(len(forms)), key=forms.__getitem__)  # type: ignore[arg-type]
    except TypeError:
        return sorted(range(len(forms)), key=lambda number: repr(forms[number]))


def _as_asked(value: Any) -> Any:
    """A time as records have it: with an offset, not with a zone."""
    return value.astimezone(dt.UTC) if isinstance(value, dt.datetime) and value.tzinfo is not None else value


def _shown(value: Any) -> str:
    return type(value).__name__


def _shown_type(target: Target, name: str, dialect: Dialect) -> str:
    return target.table_columns[name].type.compile(dialect)
