"""A Kafka and a store in memory."""

from __future__ import annotations

import pytest

from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from tests.simulation import ResultsStore


@pytest.fixture
def kafka() -> MemoryKafka:
    return MemoryKafka({"orders": 2})


@pytest.fixture
def store() -> ResultsStore:
    return ResultsStore(MemoryOffsetStore())
