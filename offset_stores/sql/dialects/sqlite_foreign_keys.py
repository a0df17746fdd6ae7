"""Deferred foreign keys of SQLite, which can be asked for before the commit only by looking at whole tables."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass
from typing import Self, TypeAlias

_Table: TypeAlias = tuple[str, str]
"""Its database (``main``, ``temp``, an attached one) and its name."""


@dataclass(frozen=True, slots=True)
class Violations:
    """Rows of these tables that refer to nothing; some may have been there before foreign keys were enforced."""

    tables: tuple[_Table, ...]
    rows: Counter[tuple[object, ...]]

    @classmethod
    def found(cls, driver: sqlite3.Connection) -> Self | None:
        """Of all tables with something deferred; ``None`` where nothing is, or foreign keys are not enforced."""
        if not _setting(driver, "foreign_keys"):
            return None
        said = "REFERENCES" if _setting(driver, "defer_foreign_keys") else "DEFERRED"
        tables = tuple(
            (schema, name)
            for _, schema, _ in driver.execute("PRAGMA database_list").fetchall()
            for (name,) in driver.execute(
                f"SELECT name FROM {_quoted(schema)}.sqlite_master WHERE type = 'table' AND instr(upper(sql), ?)",
                (said,),
            ).fetchall()
        )
        return cls(tables, _rows(driver, tables)) if tables else None

    def refuse_more(self, driver: sqlite3.Connection) -> None:
        """Raise what a commit would, if there are others now."""
        more = _rows(driver, self.tables) - self.rows
        if more:
            table, _, parent, *_ = next(iter(more))
            raise sqlite3.IntegrityError(
                f"FOREIGN KEY constraint failed: a row of table {table} refers to no row of {parent}"
            )


def _rows(driver: sqlite3.Connection, tables: tuple[_Table, ...]) -> Counter[tuple[object, ...]]:
    checks = (f"PRAGMA {_quoted(schema)}.foreign_key_check({_quoted(name)})" for schema, name in tables)
    return Counter(row for check in checks for row in driver.execute(check).fetchall())


def _setting(driver: sqlite3.Connection, name: str) -> bool:
    return bool(driver.execute(f"PRAGMA {name}").fetchone()[0])


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


__all__ = ["Violations"]
