"""A Kafka and a store in memory; the console script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from tests.command_line import Invoke, in_directory
from tests.simulation import ResultsStore


@pytest.fixture
def kafka() -> MemoryKafka:
    return MemoryKafka({"orders": 2})


@pytest.fixture
def store() -> ResultsStore:
    return ResultsStore(MemoryOffsetStore())


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Invoke]:
    """Run the console script in an empty directory, with nothing set in the environment."""
    with in_directory(tmp_path, capsys, monkeypatch) as run:
        yield run
