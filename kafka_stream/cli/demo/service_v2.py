"""The demo's service, version 2: another column, other classes, other functions; the same stream.

It resumes where version 1 stopped, because progress is a few numbers in the database and nothing of version 1's code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel
from sqlalchemy import BigInteger, Column, MetaData, String, Table, insert

from kafka_stream.batch import Batch
from kafka_stream.cli.demo.probe import Probe, leave_with
from kafka_stream.settings import StreamSettings
from kafka_stream.stream import DirectStream

LARGE_CENTS = 40_000

purchases = Table(
    os.environ.get("ORDERS_TABLE", "orders"),
    MetaData(),
    Column("order_id", BigInteger),
    Column("customer", String(40)),
    Column("cents", BigInteger),
    Column("size", String(10)),  # new
    Column("stored_by", String(40)),
)


class Purchase(BaseModel):
    """One order, as version 2 understands it: with a size."""

    order_id: int
    customer: str
    cents: int

    @classmethod
    def parse(cls, value: bytes) -> Self:
        """The JSON of an order."""
        return cls(**json.loads(value))

    def row(self) -> Mapping[str, Any]:
        """Its row in the table."""
        size = "large" if self.cents >= LARGE_CENTS else "small"
        return {**self.model_dump(), "size": size, "stored_by": "version 2"}


def to_rows(batch: Batch) -> list[Mapping[str, Any]]:
    """Version 2 computes its rows ahead of the transaction."""
    return [purchase.row() for _, purchase in batch.decoded(Purchase.parse)]


def store(rows: list[Mapping[str, Any]], transaction: Any) -> None:
    """Store a batch's rows, through the transaction that its offsets commit in."""
    transaction.connection.execute(insert(purchases), rows)


def main() -> None:
    """Run until stopped; name, topics, Kafka and store come from ORDERS_… variables."""
    settings = StreamSettings.from_env(
        "ORDERS_",
        prepare=to_rows,
        sink=store,
        assignment="static",
        interval_s=0.2,
        code_version="2",
        listeners=(Probe(),),
    )
    leave_with(DirectStream(settings))


if __name__ == "__main__":
    main()
