"""A stream that stops for a row that the database refuses names its record, whatever was made of it on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_stream import Batch, DirectStream, RecordError
from kafka_stream.errors import ProcessingError
from kafka_stream.sinks.sql import SqlSink
from kafka_stream.testing import MemoryKafka

METADATA = sa.MetaData()
ORDERS = sa.Table("orders", METADATA, sa.Column("id", sa.Integer, sa.CheckConstraint("id <> 17"), primary_key=True))


@pytest.fixture
def url(tmp_path: Path) -> str:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/orders.db")
    METADATA.create_all(engine)
    engine.dispose()
    return f"sqlite:///{tmp_path}/orders.db"


def rows_in(url: str) -> int:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        count = connection.execute(sa.select(sa.func.count()).select_from(ORDERS)).scalar_one()
    engine.dispose()
    return count


def stream(url: str, count: int = 40, **options: Any) -> DirectStream:
    kafka = MemoryKafka({"orders": 1})
    for number in range(count):
        kafka.produce("orders", str(number))
    given: dict[str, Any] = {"name": "s", "topics": ["orders"], "kafka": kafka, "store": url, "assignment": "static"}
    return DirectStream(**(given | options))


def dicts(batch: Batch) -> list[dict[str, Any]]:
    """Rows that do not say what they were made of, of every second record."""
    numbers = [int(message.value() or b"") for message in batch]
    return [{"id": number} for number in numbers if number % 2 == 1]


def write(rows: list[dict[str, Any]], transaction: Any) -> None:
    transaction.connection.execute(ORDERS.insert(), rows)


@pytest.mark.parametrize("sink", [SqlSink(ORDERS, lambda rows: rows), write], ids=["SqlSink", "a function"])
def test_the_record_of_a_refused_row_is_named_after_prepare_has_dropped_others(url: str, sink: Any) -> None:
    with pytest.raises(RecordError, match=r"record orders\[0\]@17: .*CHECK.*nothing of the batch") as raised:
        stream(url, prepare=dicts, sink=sink).run(until="latest")
    assert isinstance(raised.value.__cause__, sa.exc.IntegrityError)
    assert rows_in(url) == 0


def test_rows_that_are_refused_only_together_have_no_record(url: str) -> None:
    def together(batch: Batch, transaction: Any) -> None:
        transaction.connection.execute(ORDERS.insert(), {"id": 100 if len(batch) < 40 else 17})
        transaction.connection.execute(ORDERS.delete())

    with pytest.raises(ProcessingError, match=r"together failed on orders\[0\] \[0, 40\)") as raised:
        stream(url, sink=together).run(until="latest")
    assert not isinstance(raised.value, RecordError)


def test_what_user_code_itself_raises_is_not_tried_again(url: str) -> None:
    calls: list[int] = []

    def broken(batch: Batch, transaction: Any) -> None:
        calls.append(len(batch))
        raise KeyError("price")

    with pytest.raises(ProcessingError, match="KeyError"):
        stream(url, sink=broken).run(until="latest")
    assert calls == [40]
