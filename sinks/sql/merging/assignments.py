"""What is assigned where a row is there: the merged columns, as one database writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import (
    BindParameter,
    ClauseElement,
    Column,
    ColumnElement,
    Dialect,
    String,
    bindparam,
    func,
    literal,
    literal_column,
    select,
    table,
    update,
)
from sqlalchemy import column as named
from sqlalchemy.sql import visitors

from kafka_stream.errors import ConfigurationError
from kafka_stream.sinks.sql.merging.merge import Merging, is_of
from kafka_stream.sinks.sql.target import Target

Assignments: TypeAlias = Sequence[tuple[Column[Any], ColumnElement[Any]]]


_BYTES = {"postgresql": "'\\x{}'::bytea"}


class Assigning:
    """What is assigned to the merged columns, by a database's dialect.

    Values that are written into an expression become part of the statement, so that its parameters are a row's alone.
    """

    def __init__(self, merging: Merging, target: Target, dialect: Dialect) -> None:
        """Raise ``ConfigurationError`` where the database cannot assign all columns at once, and that matters."""
        self._target = target
        self._merging = merging
        self._in_turn = dialect.name in ("mariadb", "mysql")
        order = _order(merging, target, dialect) if self._in_turn else merging.expressions
        self._expressions = {name: _with_literals(merging.expressions[name], dialect) for name in order}
        found = target.table
        self._old = table(found.name, *(named(it.name, it.type) for it in found.columns))

    def of(self, columns: Sequence[str]) -> Assignments:
        """For an INSERT of these columns that meets a row."""
        return [
            (self._target.columns[name], self._put(it, self._in_insert))
            for name, it in self._expressions.items()
            if name in columns
        ]

    def with_parameters(
        self, of: Mapping[str, ColumnElement[Any]], new: Mapping[str, ColumnElement[Any]]
    ) -> Sequence[tuple[str, ColumnElement[Any]]]:
        """For an UPDATE, by name: ``of`` are the columns as they are, ``new`` what stands for those of the new row."""
        keys = {column.key: new[name] for name, column in self._target.columns.items() if name in new}
        old = {column.key: of[name] for name, column in self._target.table_columns.items()}

        def place(column: Column[Any]) -> ColumnElement[Any]:
            return keys[column.key] if is_of(column, self._merging.new) else old[column.key]

        return [(name, self._put(it, place)) for name, it in self._expressions.items() if name in new]

    def _in_insert(self, column: Column[Any]) -> ColumnElement[Any]:
        if is_of(column, self._merging.old):
            return self._old.c[column.name]
        return func.values(named(column.name, column.type), type_=column.type) if self._in_turn else column

    def _put(self, expression: ColumnElement[Any], place: Callable[[Column[Any]], Any]) -> ColumnElement[Any]:
        """The expression with what stands for the columns of both rows."""
        old, new = self._merging.old, self._merging.new
        return _replaced(expression, lambda part: place(part) if is_of(part, old) or is_of(part, new) else None)


def _with_literals(expression: ColumnElement[Any], dialect: Dialect) -> ColumnElement[Any]:
    def written(value: BindParameter[Any]) -> str:
        if isinstance(value.value, bytes):
            return _BYTES.get(dialect.name, "X'{}'").format(value.value.hex())
        return str(value.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))

    is_escaped = "%%" in written(literal("%", String))  # as a literal column is once more

    def replaced(part: Any) -> Any:
        if not isinstance(part, BindParameter):
            return None
        text = written(part)
        return literal_column(text.replace("%%", "%") if is_escaped else text, part.type)

    return _replaced(expression, replaced)


def _replaced(expression: ColumnElement[Any], replace: Callable[[Any], Any]) -> ColumnElement[Any]:
    """The expression with what is given in place of some of its parts, and ``None`` for the others."""
    replacing: Any = visitors.replacement_traverse
    found: ColumnElement[Any] = replacing(expression, {}, lambda part, **_: replace(part))
    return found


def _order(merging: Merging, target: Target, dialect: Dialect) -> Sequence[str]:
    """Each column after all others that read what it was: the database assigns from left to right."""
    left, order = dict(merging.expressions), list[str]()
    while left:
        free = [name for name in left if not any(name in merging.reads_old[other] for other in left if other != name)]
        if not free:
            raise ConfigurationError(
                f"Merge of the SqlSink for table {target.name}: {' and '.join(left)} are made of what the others of "
                f"them were, and {dialect.name} assigns one after the other; keep one of these values in a column of "
                "its own"
            )
        order += free
        for name in free:
            del left[name]
    return order


def changing(
    target: Target,
    schema: str | None,
    names: Sequence[str],
    as_kept: Callable[[Any, ColumnElement[Any]], ColumnElement[Any]],
    assigning: Assigning | None,
) -> ClauseElement:
    """The UPDATE of these columns by key, or with none a look for the row; its parameters are ``v0``, and so on."""
    plain = table(target.table.name, *(named(it.name, it.type) for it in target.table.columns), schema=schema)
    of = {name: plain.c[it.name] for name, it in target.table_columns.items()}
    given = {name: bindparam(f"v{i}", type_=of[name].type) for i, name in enumerate((*names, *target.key))}
    matches = [of[name] == as_kept(of[name], given[name]) for name in target.key]
    changed: list[Any] = [(of[name], given[name]) for name in names]
    if assigning is not None:
        kept = {name: as_kept(of[name], it) for name, it in given.items()}
        changed = [(of[name], it) for name, it in assigning.with_parameters(of, kept)]
    if not changed:
        return select(literal_column("1")).select_from(plain).where(*matches)
    return update(plain).where(*matches).ordered_values(*changed)
