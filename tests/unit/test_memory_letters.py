"""Dead letters in memory pass the contract of those that are kept by servers."""

from __future__ import annotations

import pytest

from kafka_stream.testing.in_place_contract import InPlaceContract
from tests.unit.test_memory_store import MemoryBackend


class TestMemoryLetters(InPlaceContract):
    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend()
