"""What is in the tables, read by plain statements, beside what a plain program says has to be there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from integration_tests.results import CommittedRecord
from integration_tests.stateful.program import Rows, expected, records_of

_WINDOW = ("key", "window_start", "window_end", "records", "amount", "largest", "smallest")
_LATE = ("partition", "offset")
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "totals": ("key", "records", "amount", "largest", "smallest", "last_t", "last_id", "doubled"),
    "shared": ("shared", "records", "amount", "doubled"),
    "milestones": ("shared", "records"),
    "chains": ("partition", "key", "records", "digest"),
    "passed": ("id", "t"),
    "tumbling": (*_WINDOW, "doubled"),
    "sliding": _WINDOW,
    "sessions": _WINDOW,
    "closes": ("windows", "key", "window_start", "window_end", "records"),
    "tumbling_late": _LATE,
    "sliding_late": _LATE,
    "sessions_late": _LATE,
}
"""What is compared of each table."""

OF_SINKS: Mapping[str, tuple[str, ...]] = {
    "merge": ("totals",),
    "state": ("shared", "milestones", "chains"),
    "windows": ("tumbling", "sliding", "sessions", "closes", "tumbling_late", "sliding_late", "sessions_late"),
    "duplicates": ("passed",),
}
_SHOWN = 5


class Found:
    """The tables of one database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def count(self, table: str) -> int:
        """How many rows there are."""
        with self._engine.connect() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(sa.table(table))).scalar_one())

    def rows(self, table: str, *columns: str) -> Rows:
        """The rows, each with how often it is there; times in milliseconds."""
        wanted: Any = sa.select(*(sa.column(_quoted(name)) for name in columns)).select_from(sa.table(table))
        with self._engine.connect() as connection:
            return Counter(tuple(map(_plain, row)) for row in connection.execute(wanted))

    def differences(
        self, committed: Iterable[CommittedRecord], sinks: Iterable[str], *, by_both_versions: bool = False
    ) -> dict[str, str]:
        """By table what is missing, and what should not be there; nothing if all is as it has to be.

        A window that version 1 has closed beside version 2 lacks what only version 2 writes.
        """
        committed = list(committed)
        processed = self.rows("processed", "partition", "record_offset", "code_version")
        versions = {(partition, offset): version for partition, offset, version in processed}
        wanted = expected(records_of(committed, versions))
        places = Counter((partition, offset) for partition, offset, *_ in committed)
        found = {"processed": _difference(places, self.rows("processed", "partition", "record_offset"))}
        for table in (table for name in sinks for table in OF_SINKS[name]):
            columns, rows = COLUMNS[table], wanted[table]
            if by_both_versions and table == "tumbling":
                columns, rows = _WINDOW, Counter(row[: len(_WINDOW)] for row in rows)
            found[table] = _difference(rows, self.rows(table, *columns))
        return {table: it for table, it in found.items() if it}


def _quoted(name: str) -> str:
    return sa.sql.quoted_name(name, quote=True)


def _difference(wanted: Rows, found: Rows) -> str:
    missing, more = wanted - found, found - wanted
    if not missing and not more:
        return ""
    shown = [f"missing {list(missing.items())[:_SHOWN]}"] if missing else []
    shown += [f"not expected {list(more.items())[:_SHOWN]}"] if more else []
    return f"{missing.total()} missing, {more.total()} not expected of {wanted.total()}: {'; '.join(shown)}"


def _plain(value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


__all__ = ["OF_SINKS", "Found"]
