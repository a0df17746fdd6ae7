"""A hundred records in memory, and where they and their dead letters go."""

from __future__ import annotations

import pytest

from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from tests.fragile_streams import a_hundred


@pytest.fixture
def kafka() -> MemoryKafka:
    return a_hundred()


@pytest.fixture
def store() -> MemoryOffsetStore:
    return MemoryOffsetStore()
