"""A shop's handlers, right and wrong, each as a function that builds a stream around it."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from kafka_stream import Batch, DirectStream
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.offset_stores.sql import SqlTransaction
from kafka_stream.sinks.kafka import KafkaSink
from kafka_stream.sinks.sql import SqlSink
from kafka_stream.testing import MemoryKafka

metadata = sa.MetaData()
orders = sa.Table("orders", metadata, sa.Column("id", sa.Integer), sa.Column("amount", sa.Integer))
totals = sa.Table("totals", metadata, sa.Column("customer", sa.Text, primary_key=True), sa.Column("amount", sa.Integer))
ORDERS = [json.dumps({"id": n, "customer": f"c{n % 3}", "amount": n + 1}) for n in range(40)]

Make = Callable[[], DirectStream]


def rows_of(batch: Batch) -> list[dict[str, Any]]:
    return [{"id": order["id"], "amount": order["amount"]} for _, order in batch.decoded(json.loads)]


def stream(sink: Any, prepare: Any = None, **options: Any) -> DirectStream:
    given: dict[str, Any] = {"name": "shop", "topics": ["orders"], "kafka": MemoryKafka(), "store": "sqlite:///none.db"}
    return DirectStream(**given | {"sink": sink, "prepare": prepare} | options)


def writes() -> DirectStream:
    """As it has to be."""

    def write(batch: Batch, transaction: SqlTransaction) -> None:
        transaction.connection.execute(orders.insert(), rows_of(batch))

    return stream(write)


def by_sink() -> DirectStream:
    """The same, by the library's sink."""
    return stream(SqlSink(orders, rows_of))


def adds_up() -> DirectStream:
    """Totals per customer, as they have to be."""
    return stream(_add_up, _amounts)


def _amounts(batch: Batch) -> Counter[str]:
    amounts: Counter[str] = Counter()
    for _, order in batch.decoded(json.loads):
        amounts[order["customer"]] += order["amount"]
    return amounts


def _add_up(amounts: Mapping[str, int], transaction: SqlTransaction) -> None:
    statement = insert(totals)
    sums = {"amount": totals.c.amount + statement.excluded.amount}
    changed = statement.on_conflict_do_update([totals.c.customer], set_=sums)
    transaction.connection.execute(changed, [{"customer": c, "amount": a} for c, a in amounts.items()])


def to_kafka() -> DirectStream:
    """Into a topic, which memory has no transaction for."""
    brokers = {"bootstrap.servers": "127.0.0.1:1"}
    return stream(KafkaSink("out", rows_of), store=KafkaOffsetStore(), kafka=brokers)


# Wrong ones -----------------------------------------------------------------------------------------------------------


def remembers() -> DirectStream:
    """Writes what it has gathered with the batch after: what a process has in memory dies with it."""
    gathered: list[dict[str, Any]] = []

    def write(batch: Batch, transaction: SqlTransaction) -> None:
        gathered.extend(rows_of(batch))
        if len(gathered) >= 3:
            transaction.connection.execute(orders.insert(), gathered)
            gathered.clear()

    return stream(write)


def remembers_totals() -> DirectStream:
    """Adds up in memory, and writes the sums so far: a batch that is run again is added again."""
    so_far: Counter[str] = Counter()

    def write(amounts: Mapping[str, int], transaction: SqlTransaction) -> None:
        so_far.update(amounts)
        statement = insert(totals)
        changed = statement.on_conflict_do_update([totals.c.customer], set_={"amount": statement.excluded.amount})
        transaction.connection.execute(changed, [{"customer": c, "amount": a} for c, a in so_far.items()])

    return stream(write, _amounts)


def commits_itself() -> DirectStream:
    """Ends the transaction that it is given."""

    def write(batch: Batch, transaction: SqlTransaction) -> None:
        transaction.connection.execute(orders.insert(), rows_of(batch))
        transaction.connection.execute(sa.text("COMMIT"))

    return stream(write)


def counts_up() -> DirectStream:
    """Numbers its rows by a counter of the process."""
    numbers = itertools.count()

    def write(batch: Batch, transaction: SqlTransaction) -> None:
        found = [{**row, "amount": next(numbers)} for row in rows_of(batch)]
        transaction.connection.execute(orders.insert(), found)

    return stream(write)


def tells(told: list[int]) -> Make:
    """Tells somebody else beside the transaction, as a call to another service does."""

    def write(batch: Batch, transaction: SqlTransaction) -> None:
        found = rows_of(batch)
        transaction.connection.execute(orders.insert(), found)
        told.extend(row["id"] for row in found)

    return lambda: stream(write)


def tells_in_prepare(told: list[int]) -> Make:
    """The same, where it may happen again at any time."""

    def prepare(batch: Batch) -> list[dict[str, Any]]:
        found = rows_of(batch)
        told.extend(row["id"] for row in found)
        return found

    def write(found: list[dict[str, Any]], transaction: SqlTransaction) -> None:
        transaction.connection.execute(orders.insert(), found)

    return lambda: stream(write, prepare)


def skips() -> DirectStream:
    """Leaves the rest of a batch for later that it has seen the first of, after a failure."""
    seen: set[int] = set()

    def to_rows(batch: Batch) -> Iterator[dict[str, Any]]:
        for row in rows_of(batch):
            if row["id"] not in seen:
                seen.add(row["id"])
                yield row

    return stream(SqlSink(orders, to_rows))
