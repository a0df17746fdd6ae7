"""``Merge``: which columns are merged, and how; and what that comes to for one table."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import ClauseElement, Column, ColumnElement, FromClause
from sqlalchemy.sql import visitors
from sqlalchemy.sql.selectable import SelectBase

from kafka_stream.errors import ConfigurationError
from kafka_stream.sinks.sql.merging.aggregates import Add, Aggregate, Computed, Greatest, Latest, Least, OfColumn
from kafka_stream.sinks.sql.target import Target

How: TypeAlias = Aggregate | type[Add] | type[Greatest] | type[Least] | Callable[[Any, Any], Any]
"""An aggregate, or a function of the column's old and new value."""

_CHOICES = "Add, Greatest, Least, Latest(by=…), Computed(…), or a function of the column's old and new value"


class Merge:
    """For ``SqlSink(…, on_conflict=Merge(orders=Add, last_seen=Greatest, name=Latest(by="last_seen")))``.

    Where a row is there with the key of a new one, the columns that are named here are merged, and the others keep what
    the row was inserted with. Each is an aggregate, or a function that makes a SQLAlchemy expression of the column's
    old and new value: ``Merge(total=lambda old, new: old + new * 2)``. Names that are no words of Python go into a
    mapping: ``Merge({"net amount": Add})``.

    Raises:
        ConfigurationError: no column is named, or something is neither an aggregate nor such a function.
    """

    def __init__(self, columns: Mapping[str, How] | None = None, /, **named: How) -> None:
        self.columns: Mapping[str, Aggregate] = {name: _aggregate(name, how) for name, how in _all(columns, named)}
        if not self.columns:
            raise ConfigurationError("Merge() names no column: say what is merged, as in Merge(orders=Add)")

    def __repr__(self) -> str:
        return f"Merge({', '.join(f'{name}={how!r}' for name, how in self.columns.items())})"


def _all(columns: Any, named: Mapping[str, How]) -> list[tuple[str, How]]:
    if columns is not None and not isinstance(columns, Mapping):
        raise ConfigurationError(f"Merge takes columns by name, or a mapping of them, not a {type(columns).__name__}")
    return [*(columns or {}).items(), *named.items()]


def _aggregate(name: str, how: Any) -> Aggregate:
    if isinstance(how, Aggregate):
        return how
    plain: tuple[type[Aggregate], ...] = (Add, Greatest, Least)
    for known in plain:
        if how is known:
            found: Aggregate = known()
            return found
    if inspect.isclass(how) or not callable(how):
        raise ConfigurationError(f"Merge({name}={how!r}) says not how to merge; choose {_CHOICES}")
    _check_arguments(f"Merge({name}=…)", how)
    return OfColumn(how)


def _check_arguments(what: str, function: Callable[..., Any]) -> None:
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as error:
        raise ConfigurationError(
            f"{what} calls its function with (old, new), which it does not take: {error}"
        ) from error
    except ValueError:  # written in C, and it does not say
        return


def is_of(part: Any, rows: FromClause) -> bool:
    """Whether a part of an expression is a column of these."""
    return isinstance(part, Column) and getattr(part, "table", None) is rows


@dataclass(frozen=True)
class Merging:
    """What ``Merge`` comes to for one table.

    ``aggregates`` and ``expressions`` are by the names of columns that mappings use; an expression is of the columns of
    ``old``, the table, and ``new``, an alias of it. ``reads_old`` and ``reads_new`` are the columns that each reads.
    """

    old: FromClause
    new: FromClause
    aggregates: Mapping[str, Aggregate]
    expressions: Mapping[str, ColumnElement[Any]]
    reads_old: Mapping[str, frozenset[str]]
    reads_new: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, merge: Merge, target: Target) -> Merging:
        """What it comes to.

        Raises:
            ConfigurationError: it names a column that is not there, or cannot be merged so.
        """
        checks = _Checks(target)
        aggregates = checks.completed(merge.columns)
        old, new = target.table, target.table.alias("excluded")
        expressions = {name: checks.expression(name, how, old, new) for name, how in aggregates.items()}
        reads_old = {name: checks.read(it, old) for name, it in expressions.items()}
        reads_new = {name: checks.read(it, new) for name, it in expressions.items()}
        for name, read in reads_new.items():
            checks.are_written(name, read)
        return cls(old, new, aggregates, expressions, reads_old, reads_new)


@dataclass(frozen=True)
class _Checks:
    """What can be refused when a sink is built, in one sentence each."""

    target: Target

    def refusal(self, name: str, reason: str) -> ConfigurationError:
        return ConfigurationError(f"Merge({name}=…) of the SqlSink for table {self.target.name}: {reason}")

    def completed(self, columns: Mapping[str, Aggregate]) -> Mapping[str, Aggregate]:
        """With the columns that ``Latest`` goes by."""
        found = dict(columns)
        for name, how in columns.items():
            self._is_column(name)
            if isinstance(how, Latest) and how.by != name:
                self._is_column(name, how.by)
                if not isinstance(kept := found.setdefault(how.by, Greatest()), Greatest):
                    raise self.refusal(
                        name,
                        f"it goes by {how.by!r}, which has to be merged by Greatest then, and not by {kept!r}: "
                        "else the column would say less than what was compared",
                    )
        for name, how in found.items():
            by = self.target.columns[how.by if isinstance(how, Latest) else name]
            order = Greatest() if isinstance(how, Latest) else how
            if (objection := order.objection(by.type)) is not None:
                raise self.refusal(name, f"{objection}, and {by.name!r} is declared as {by.type!r}")
        return found

    def _is_column(self, name: str, column: str | None = None) -> None:
        column = name if column is None else column
        if column in self.target.key:
            raise self.refusal(name, f"{column!r} is of the key, by which rows are the same")
        if column in self.target.columns:
            return
        if column in self.target.table_columns:
            raise self.refusal(name, f"{column!r} is computed by the database")
        names = ", ".join(it for it in self.target.columns if it not in self.target.key)
        raise self.refusal(name, f"{column!r} is no column of the table; those that can be merged are {names}")

    def expression(self, name: str, how: Aggregate, old: FromClause, new: FromClause) -> ColumnElement[Any]:
        if isinstance(how, Computed):
            _check_arguments(f"Merge({name}=Computed(…))", how.function)
        if isinstance(how, Latest):
            how = Latest(self.target.columns[how.by].key)
        try:
            found = how.expression(self.target.columns[name].key, old, new)
        except Exception as error:
            raise self.refusal(name, f"its function fails: {type(error).__name__}: {error}") from error
        if not isinstance(found, ColumnElement):
            if inspect.iscoroutine(found):
                found.close()
            raise self.refusal(name, f"its function gave a {type(found).__name__}, not an expression of SQLAlchemy")
        self._is_of_both(name, found, old, new)
        return found

    def _is_of_both(self, name: str, expression: ClauseElement, old: FromClause, new: FromClause) -> None:
        parts = list(visitors.iterate(expression))
        if any(isinstance(part, SelectBase) for part in parts):
            return  # it reads something else besides
        others = [part for part in parts if isinstance(part, Column) and not (is_of(part, old) or is_of(part, new))]
        if others:
            raise self.refusal(name, f"its function reads {others[0]}, which is neither of the old row nor of the new")

    def read(self, expression: ClauseElement, rows: FromClause) -> frozenset[str]:
        """The columns that it reads of these rows."""
        parts: Iterable[Any] = visitors.iterate(expression)
        keys = {part.key for part in parts if is_of(part, rows)}
        return frozenset(name for name, column in self.target.table_columns.items() if column.key in keys)

    def are_written(self, name: str, read: frozenset[str]) -> None:
        """A new row has only what can be written."""
        for column in read - set(self.target.columns):
            raise self.refusal(name, f"it reads {column!r} of the new row, which is computed by the database")
