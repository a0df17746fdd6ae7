"""A batch equals its records one by one: on PostgreSQL and MariaDB, for all shapes of tables and types of keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects.postgresql import CITEXT, TIMESTAMP

from kafka_stream.sinks.sql import mysql_writer
from kafka_stream.sinks.sql.postgres import writer as postgres_writer
from tests import sink_cases
from tests.sink_law import by_sink, by_workers, check, examples, hot, undone
from tests.sink_tables import AT, KEYS, Cases

ZONED = AT.replace(tzinfo=UTC)
SETTINGS = settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
WAYS = st.sampled_from([by_sink, by_workers])
ON_POSTGRES: Mapping[str, Any] = {
    **KEYS,
    "citext": (CITEXT, ["a", "A", "b", "ab", "AB"]),
    "blind": (lambda: sa.Text(collation="blind"), ["a", "A", "b", "ab", "AB"]),
    "second": (lambda: TIMESTAMP(precision=0), [AT, AT + timedelta(seconds=0.3), AT + timedelta(seconds=0.7)]),
    "zoned": (lambda: TIMESTAMP(timezone=True), [ZONED, ZONED.astimezone(timezone(timedelta(hours=3))), AT]),
}
ON_MARIADB: Mapping[str, Any] = {
    **KEYS,
    "bytes": (lambda: sa.VARBINARY(20), [b"a", b"b", b"a\0", bytearray(b"a")]),
    "binary": (lambda: sa.String(20, collation="utf8mb4_bin"), ["a", "A", "b", "a ", "7", 7, "7 pcs"]),
    "nopad": (lambda: sa.String(20, collation="utf8mb4_nopad_bin"), ["a", "A", "b", "a "]),
    "words": (lambda: sa.String(20, collation="utf8mb4_general_ci"), ["ä", "a", "A", "ß", "s", "a "]),
}


@pytest.fixture(scope="module")
def on_postgres(postgres_server: Any) -> Iterator[tuple[sa.Connection, Cases]]:
    found = postgres_server.create_database()
    cases, engine = Cases(), sa.create_engine(found.url)
    cases.add_all(ON_POSTGRES)
    with engine.connect() as connection:
        with connection.begin():
            connection.execute(sa.text("CREATE EXTENSION citext"))
            connection.execute(
                sa.text("CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
            )
            cases.metadata.create_all(connection)
            sink_cases.METADATA.create_all(connection)
        yield connection, cases
    engine.dispose()
    postgres_server.drop_database(found)


@pytest.fixture(scope="module")
def on_mariadb(mariadb_server: Any) -> Iterator[tuple[sa.Connection, Cases]]:
    found = mariadb_server.create_database()
    cases, engine = Cases(), sa.create_engine(found.url, isolation_level="READ COMMITTED")
    cases.add_all(ON_MARIADB)
    with engine.connect() as connection:
        with connection.begin():
            cases.metadata.create_all(connection)
            sink_cases.METADATA.create_all(connection)
        yield connection, cases
    engine.dispose()
    mariadb_server.drop_database(found)


# A client's thread of another test in this process (kazoo's jitter) may draw from the same generator meanwhile.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@SETTINGS
@given(data=st.data())
def test_on_postgres(on_postgres: tuple[sa.Connection, Cases], data: st.DataObject) -> None:
    connection, cases = on_postgres
    found = cases.found[data.draw(st.sampled_from(sorted(cases.found)))]
    with pytest.MonkeyPatch.context() as patch:
        least = data.draw(st.sampled_from([1, 3, 100]))
        patch.setattr(postgres_writer, "_LEAST_ROWS", dict.fromkeys(("error", "ignore", "update", "merge"), least))
        check(connection, found, data.draw(examples(found) | hot(found)), data.draw(WAYS))


@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@SETTINGS
@given(data=st.data())
def test_on_mariadb(on_mariadb: tuple[sa.Connection, Cases], data: st.DataObject) -> None:
    connection, cases = on_mariadb
    found = cases.found[data.draw(st.sampled_from(sorted(cases.found)))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mysql_writer, "_KEYS_AT_ONCE", data.draw(st.sampled_from([2, 1_000])))
        check(connection, found, data.draw(examples(found)), data.draw(WAYS))


@pytest.mark.parametrize("name", sink_cases.CASES)
@pytest.mark.parametrize("which", ["postgres", "mariadb"])
def test_a_batch_comes_to_what_its_records_come_to(name: str, which: str, request: pytest.FixtureRequest) -> None:
    connection, _ = request.getfixturevalue(f"on_{which}")
    with undone(connection):
        assert sink_cases.comes_to(sink_cases.CASES[name], connection) == sink_cases.CASES[name].expected
