"""Rows that are merged come to what a plain program makes of them, on PostgreSQL and MariaDB."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_stream.sinks.sql.postgres import writer as postgres_writer
from tests.merge_law import METADATA, Example, check, examples

SETTINGS = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
RANDOM = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")


def _connected(server: Any, **options: Any) -> Iterator[sa.Connection]:
    found = server.create_database()
    engine = sa.create_engine(found.url, **options)
    with engine.connect() as connection:
        with connection.begin():
            METADATA.create_all(connection)
        yield connection
    engine.dispose()
    server.drop_database(found)


@pytest.fixture(scope="module")
def on_postgres(postgres_server: Any) -> Iterator[sa.Connection]:
    yield from _connected(postgres_server)


@pytest.fixture(scope="module")
def on_mariadb(mariadb_server: Any) -> Iterator[sa.Connection]:
    yield from _connected(mariadb_server, isolation_level="READ COMMITTED")


@RANDOM
@SETTINGS
@given(example=examples(), least=st.sampled_from([1, 2, 3, 100]))
def test_on_postgres(on_postgres: sa.Connection, example: Example, least: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres_writer, "_LEAST_ROWS", {"merge": least})
        for case in (example[0],):
            case.known.clear()  # how many rows are worth a statement is asked once
        check(on_postgres, example)


@RANDOM
@SETTINGS
@given(example=examples())
def test_on_mariadb(on_mariadb: sa.Connection, example: Example) -> None:
    check(on_mariadb, example)
