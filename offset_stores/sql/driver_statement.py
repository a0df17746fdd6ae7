"""The few statements that every batch executes, as the driver takes them.

SQLAlchemy compiles a statement once, but handles its parameters and its result anew at each execution, which takes as
long as all that the driver does for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Dialect, TextClause
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.sql.compiler import SQLCompiler


@dataclass(frozen=True, slots=True)
class DriverStatement:
    """A text in the driver's own style of parameters; ``names`` is their order where they go by position."""

    sql: str
    names: tuple[str, ...]
    positional: bool
    converters: Mapping[str, Callable[[Any], Any]]

    @classmethod
    def of(cls, statement: TextClause, dialect: Dialect) -> DriverStatement:
        """Compile a statement."""
        compiled = statement.compile(dialect=dialect)
        assert isinstance(compiled, SQLCompiler)
        names = tuple(compiled.positiontup or ()) if dialect.positional else tuple(compiled.params)
        converters = {
            name: convert
            for name in {*names}
            if (convert := compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect)) is not None
        }
        return cls(compiled.string, names, bool(dialect.positional), converters)

    def execute(self, cursor: DBAPICursor, values: Mapping[str, Any]) -> int:
        """Execute it with those of the values that it names; return the driver's count of rows.

        SQLAlchemy's handlers of events, and its log, do not see it. What the driver raises is not wrapped.
        """
        converted = {name: values[name] for name in self.names}
        for name, convert in self.converters.items():
            converted[name] = convert(converted[name])
        cursor.execute(self.sql, tuple(converted[name] for name in self.names) if self.positional else converted)
        return cursor.rowcount


__all__ = ["DriverStatement"]
