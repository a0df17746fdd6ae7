"""The temporary table through which rows are copied that may conflict with others, and in which order they leave it.

Rows come in key order, or leave in it: two writers that take rows in one order do not deadlock. To sort is less work
for the server: rows that are sorted here are all over the memory when they are encoded, which takes half as long again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import literal_column, select, text

from kafka_stream.sinks.sql.facts import ColumnFacts, Kind, TableFacts
from kafka_stream.sinks.sql.target import Target

NAME = "kafka_stream_rows"

_MOST_SORTED_BYTES = 3 * 2**20
"""What the server sorts within the memory that it has for that, unless it was told otherwise (``work_mem``, 4 MB)."""

_SORTED_ALIKE = {
    Kind.BOOLEAN,
    Kind.BYTES,
    Kind.DATE,
    Kind.INTEGER,
    Kind.TEXT,
    Kind.TIMESTAMP,
    Kind.TIMESTAMP_WITH_ZONE,
    Kind.UUID,
}
"""What the server can put in the order that Python has; texts are told to be compared by their characters."""


@dataclass(frozen=True, slots=True)
class Staging:
    """Of rows with these columns, by their quoted names, for a table; ``texts`` are the texts of its key."""

    table: str
    columns: Sequence[str]
    key: Sequence[str]
    texts: Collection[str]

    @classmethod
    def of(
        cls, table: str, columns: Iterable[str], target: Target, facts: TableFacts, quote: Callable[[str], str]
    ) -> Staging:
        """For some columns of a target whose table has this name."""

        def quoted(names: Iterable[str]) -> Sequence[str]:
            return [quote(target.table_columns[name].name) for name in names]

        texts = [name for name in target.key if _kind(target, facts, name) is Kind.TEXT]
        return cls(table, quoted(columns), quoted(target.key), quoted(texts))

    @property
    def target(self) -> str:
        """What rows are copied into, if it is the table itself."""
        return f"{self.table} ({', '.join(self.columns)})"

    def create(self, *, in_order: bool) -> str:
        """The statement that creates it, with the types that the table's columns have now."""
        sorted_texts = () if in_order else self.texts
        columns = ", ".join(f'{it} COLLATE "C" AS {it}' if it in sorted_texts else it for it in self.columns)
        return f"CREATE TEMPORARY TABLE {NAME} ON COMMIT DROP AS SELECT {columns} FROM {self.table} WITH NO DATA"

    def rows(self) -> Any:
        """What is in it, as it came."""
        return select(literal_column(", ".join(self.columns))).select_from(text(f"pg_temp.{NAME}"))

    def sorted(self) -> Any:
        """In the order of keys."""
        return self.rows().order_by(text(", ".join(self.key)))

    def last_of_each_key(self) -> Any:
        """Of each key the row that came last."""
        key = ", ".join(self.key)
        return self.rows().prefix_with(text(f"DISTINCT ON ({key})")).order_by(text(f"{key}, ctid DESC"))


def is_sorted_by_server(target: Target, facts: TableFacts, size_bytes: float) -> bool:
    """Whether it has these rows in Python's order, and memory for it."""
    return size_bytes <= _MOST_SORTED_BYTES and {_kind(target, facts, it) for it in target.key} <= _SORTED_ALIKE


def _kind(target: Target, facts: TableFacts, name: str) -> Kind:
    return facts.columns.get(target.table_columns[name].name, ColumnFacts()).kind
