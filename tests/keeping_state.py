"""Two small sinks that keep state and register it: sums of all partitions, and counts of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from kafka_stream.protocols import StateDescription
from kafka_stream.sinks.sql.stateful.records import records_of
from kafka_stream.sinks.sql.stateful.registry import register
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.sinks.sql.stateful.upsert import upsert
from kafka_stream.types import TopicPartition, Writes

METADATA = sa.MetaData()
TOTALS: Final = sa.Table(
    "totals",
    METADATA,
    sa.Column("page", sa.String(40), primary_key=True),
    sa.Column("total", sa.BigInteger, nullable=False),
    mysql_collate="utf8mb4_bin",
)
COUNTS: Final = sa.Table(
    "counts",
    METADATA,
    sa.Column("topic", sa.String(249), primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("page", sa.String(40), primary_key=True),
    sa.Column("total", sa.BigInteger, nullable=False),
    mysql_collate="utf8mb4_bin",
)


class Counting:
    """Counts records by their key: in ``totals``, or with ``scope="partition"`` in ``counts``."""

    def __init__(self, table: sa.Table = TOTALS) -> None:
        self.table = table
        self.described = StateDescription(
            table.name,
            "state",
            table.fullname,
            tuple(column.name for column in table.primary_key.columns),
            {"scope": "partition" if table is COUNTS else "key"},
        )

    @property
    def writes(self) -> Writes:
        return Writes.THROUGH_TRANSACTION

    @property
    def needs(self) -> str:
        return "sql"

    def describe(self) -> str:
        return f"table {self.table.name}"

    def prepare(self, prepared: Any) -> Any:
        return prepared

    def write(self, prepared: Any, transaction: StatefulTransaction) -> None:
        register(transaction, self.described)
        names = [column.name for column in self.table.primary_key.columns]
        counted: dict[tuple[Any, ...], int] = {}
        for message, _ in records_of(prepared, "a count"):
            told = {
                "topic": message.topic(),
                "partition": message.partition(),
                "page": (message.key() or b"-").decode(),
            }
            key = tuple(told[name] for name in names)
            counted[key] = counted.get(key, 0) + 1
        rows = [{**dict(zip(names, key, strict=True)), "total": total} for key, total in sorted(counted.items())]
        if rows:
            adding = upsert(
                transaction.connection.dialect, self.table, lambda new: {"total": self.table.c.total + new.total}
            )
            transaction.connection.execute(adding, rows)

    def states(self) -> Sequence[StateDescription]:
        return [self.described]

    def clear(self, transaction: StatefulTransaction, partitions: Sequence[TopicPartition]) -> Mapping[str, int]:
        deleting = sa.delete(self.table)
        if self.table is COUNTS:
            mine = [(COUNTS.c.topic == tp.topic) & (COUNTS.c.partition == tp.partition) for tp in partitions]
            deleting = deleting.where(sa.or_(sa.false(), *mine))
        return {self.table.name: transaction.connection.execute(deleting).rowcount}
