"""A store in SQLite with results beside it, for handlers to write through."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_stream.offset_stores.sql import SqlOffsetStore
from tests.sql_backend import SqlBackend, backend_at, opened_store


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[SqlBackend]:
    with backend_at(f"sqlite:///{tmp_path}/orders.db") as found:
        yield found


@pytest.fixture
def store(backend: SqlBackend) -> Iterator[SqlOffsetStore]:
    with opened_store(backend) as found:
        yield found
