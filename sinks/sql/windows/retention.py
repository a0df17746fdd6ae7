"""What is older than the retention, removed in small steps."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, select

from kafka_stream.sinks.sql.stateful.moments import moment
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.sinks.sql.windows.keyed import is_one_of
from kafka_stream.sinks.sql.windows.tables import END, WindowTables

_ROWS_AT_ONCE = 2_000


@dataclass
class Retention:
    """Removes the rows of windows that ended so long before what is closed.

    ``has_more`` says whether the last step left some; it is a hint, which a new process does without.
    """

    tables: WindowTables
    retention_us: int
    has_more: bool = True

    def step(self, transaction: StatefulTransaction, closed_until_us: int) -> None:
        """Remove some thousand rows at most."""
        until_us = closed_until_us - self.retention_us
        target = self.tables.target
        columns = [target.columns[name] for name in target.key]
        old = select(*columns).where(target.columns[END] <= moment(until_us)).limit(_ROWS_AT_ONCE)
        keys = [tuple(row) for row in transaction.connection.execute(old)]
        if keys:
            names = [column.key for column in columns]
            transaction.connection.execute(delete(target.table).where(is_one_of(target.table, names, keys)))
        self.has_more = len(keys) == _ROWS_AT_ONCE
