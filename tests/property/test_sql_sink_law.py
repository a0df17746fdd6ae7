"""A batch equals its records one by one: on SQLite, for all shapes of tables, types of keys, and cuts of batches."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_stream.sinks.sql import sqlite_writer
from tests.sink_law import by_workers, check, examples, hot
from tests.sink_tables import KEYS, Cases

WITHOUT_CASE = lambda: sa.String(20, collation="NOCASE")  # noqa: E731 - a type, made anew for each column


class Lowered(sa.String):
    """A type of a user's own, whose keys are one if their letters are."""

    def bind_processor(self, dialect: sa.Dialect) -> Any:
        return lambda value: value.lower() if isinstance(value, str) else value


LOWERED = lambda: sa.String(20).with_variant(Lowered(20), "sqlite")  # noqa: E731
CASES = Cases()
CASES.add_all(
    {
        **KEYS,
        "lowered": (Lowered, ["a", "A", "b"]),
        "variant": (LOWERED, ["a", "A", "b"]),
        "nocase": (WITHOUT_CASE, ["a", "A", "b", "ab", "AB"]),
    }
)

FOLDED = sorted(
    name for name in CASES.found if name.endswith(("_plain", "_kinds", "_required", "_checked", "_children"))
)
"""Tables in which one change of a key may stand for several."""


@cache
def database() -> sa.Connection:
    """One connection for all examples: a table is empty again after each."""
    engine = sa.create_engine("sqlite://")

    @sa.event.listens_for(engine, "connect")
    def connected(driver: Any, _: Any) -> None:
        driver.isolation_level = None
        driver.execute("PRAGMA foreign_keys = ON")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    connection = engine.connect()
    with connection.begin():
        CASES.metadata.create_all(connection)
    return connection


@pytest.fixture(autouse=True)
def two_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements of many rows, from two rows on."""
    monkeypatch.setattr(sqlite_writer, "_ROWS_AT_ONCE", 2)


@settings(max_examples=2_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_batch_equals_its_records_one_by_one(data: st.DataObject) -> None:
    found = CASES.found[data.draw(st.sampled_from(sorted(CASES.found)))]
    check(database(), found, data.draw(examples(found)))


@settings(max_examples=2_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_changes_that_are_left_out_are_not_missed(data: st.DataObject) -> None:
    found = CASES.found[data.draw(st.sampled_from(FOLDED))]
    check(database(), found, data.draw(hot(found)))


@settings(max_examples=1_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_batch_in_parts_that_workers_prepared_equals_its_records_one_by_one(data: st.DataObject) -> None:
    found = CASES.found[data.draw(st.sampled_from(sorted(CASES.found)))]
    kind = hot if found.table.name in FOLDED and data.draw(st.booleans()) else examples
    check(database(), found, data.draw(kind(found)), by_workers)
