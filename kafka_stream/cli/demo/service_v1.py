"""The demo's service, version 1: it stores orders.

Nothing in it knows about offsets, restarts or kill -9. Rows and offsets commit in one transaction of the database.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, String, Table, insert

from kafka_stream.batch import Batch
from kafka_stream.cli.demo.probe import Probe, leave_with
from kafka_stream.settings import StreamSettings
from kafka_stream.stream import DirectStream

orders = Table(  # no unique key: a repeated order would show
    os.environ.get("ORDERS_TABLE", "orders"),
    MetaData(),
    Column("order_id", BigInteger),
    Column("customer", String(40)),
    Column("cents", BigInteger),
    Column("stored_by", String(40)),
)


@dataclass(frozen=True)
class Order:
    """One order, as version 1 understands it."""

    order_id: int
    customer: str
    cents: int
    stored_by: str = "version 1"


def decode(value: bytes) -> Order:
    """The JSON of an order."""
    found = json.loads(value)
    return Order(found["order_id"], found["customer"], found["cents"])


def write(batch: Batch, transaction: Any) -> None:
    """Store a batch, through the transaction that its offsets commit in."""
    rows = [asdict(order) for _, order in batch.decoded(decode)]
    transaction.connection.execute(insert(orders), rows)


def main() -> None:
    """Run until stopped; name, topics, Kafka and store come from ORDERS_… variables."""
    settings = StreamSettings.from_env(
        "ORDERS_", sink=write, assignment="static", interval_s=0.2, code_version="1", listeners=(Probe(),)
    )
    leave_with(DirectStream(settings))


if __name__ == "__main__":
    main()
