"""The register of sinks that keep state: which there are, for operators, and the row that a sink is locked by."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from sqlalchemy import select

from kafka_stream.protocols import StateDescription
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.sinks.sql.stateful.upsert import upsert


def register(transaction: StatefulTransaction, described: StateDescription) -> None:
    """See to it that the sink has its row in ``states``, and that this says what it is now. May be called again.

    It is a part of the batch's transaction, and says nothing if that is undone: a sink calls it until a transaction
    in which it did is committed.
    """
    table, connection = transaction.tables.states, transaction.connection
    mine = (table.c.stream == transaction.claimed.stream, table.c.state == described.name)
    values = {
        "kind": described.kind,
        "table_name": described.table,
        "details": json.dumps({"key": list(described.key), **described.details}, sort_keys=True),
    }
    kept = [table.c[name] for name in values]
    found = connection.execute(select(*kept).where(*mine)).one_or_none()
    if found is not None and dict(found._mapping) == values:  # noqa: SLF001 - SQLAlchemy's public name for it
        return
    row = {**values, "stream": transaction.claimed.stream, "state": described.name, "changed_at": datetime.now(UTC)}
    changed = [*values, "changed_at"]
    connection.execute(upsert(connection.dialect, table, lambda new: {name: new[name] for name in changed}), [row])


__all__ = ["register"]
