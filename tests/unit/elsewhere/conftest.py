"""A topic, a table, and what builds streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_stream import DirectStream
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.sinks.sql import SqlSink
from kafka_stream.testing import MemoryKafka
from tests.unit.elsewhere.world import PARTITIONS, RECORDS, TABLE, given, prepared


@pytest.fixture
def kafka() -> MemoryKafka:
    kafka = MemoryKafka({"orders": PARTITIONS})
    for number in range(RECORDS):
        kafka.produce("orders", f"v{number}", key=f"k{number % 7}", partition=number % PARTITIONS)
    return kafka


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'results.db'}")
    TABLE.create(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def stream_of(kafka: MemoryKafka, engine: sa.Engine) -> Callable[..., DirectStream]:
    def build(executor: Any, **settings: Any) -> DirectStream:
        defaults: dict[str, Any] = {
            "name": "orders",
            "topics": ["orders"],
            "kafka": kafka,
            "store": SqlOffsetStore(str(engine.url)),
            "prepare": prepared,
            "sink": SqlSink(TABLE, given),
            "assignment": "static",
            "max_records_per_batch": 60,
        }
        return DirectStream(**{**defaults, "executor": executor, **settings})

    return build
