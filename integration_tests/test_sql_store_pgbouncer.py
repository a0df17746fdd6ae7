"""``SqlOffsetStore`` behind a PgBouncer that pools by transaction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration_tests.frozen_owners import frozen_owners, take_over_past
from integration_tests.pgbouncer import pgbouncer
from integration_tests.servers import PostgresDatabase
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.testing.store_backend import OLDER, P0, P1, STREAM, commit, next_offsets
from tests.sql_backend import SqlBackend


@pytest.fixture
def pooled_url(postgres: PostgresDatabase, backend: SqlBackend, tmp_path: Path) -> Iterator[str]:
    with pgbouncer(postgres, tmp_path) as url:
        yield url


def test_batches_and_takeovers(pooled_url: str) -> None:
    store = SqlOffsetStore(pooled_url)
    for _ in range(3):
        store.open()
    store.take_over(STREAM, OLDER, [P0, P1], {})
    for number in range(20):  # more often than a driver waits before it prepares a statement
        commit(store, OLDER, {P0: (number, number + 1)})
    assert next_offsets(store) == {P0: 20, P1: 0}
    store.close()


@pytest.mark.parametrize("where", ["after the claim", "mid-COPY", "after the advance"])
def test_a_takeover_past_a_frozen_owner(pooled_url: str, backend: SqlBackend, where: str) -> None:
    store = SqlOffsetStore(pooled_url)
    store.open()
    with frozen_owners(pooled_url) as start:
        take_over_past(start(where), store, backend)
    store.close()
