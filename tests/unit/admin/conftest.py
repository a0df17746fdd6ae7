"""The stores that admin commands are tried on, and brokers beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_stream.protocols import AdministeredStore
from tests.admin_fakes import KINDS, Brokers, NewStore, new_stores, started


@pytest.fixture(params=KINDS)
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewStore]:
    with new_stores(request.param, tmp_path) as make:
        yield make


@pytest.fixture
def store(new_store: NewStore) -> AdministeredStore:
    """A stream at 40 in two of three partitions."""
    return started(new_store())


@pytest.fixture
def brokers() -> Brokers:
    return Brokers()
