"""Rows that are merged come to what a plain program makes of them, on SQLite, whatever the batches are."""

from __future__ import annotations

from functools import cache

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings

from kafka_stream.sinks.sql import sqlite_writer
from tests.merge_law import METADATA, Example, check, examples


@cache
def database() -> sa.Connection:
    """One connection for all examples: a table is empty again after each."""
    connection = sa.create_engine("sqlite://").connect()
    with connection.begin():
        METADATA.create_all(connection)
    return connection


@pytest.fixture(autouse=True)
def two_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements of many rows, from two rows on."""
    monkeypatch.setattr(sqlite_writer, "_ROWS_AT_ONCE", 2)


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(example=examples())
def test_rows_that_are_merged_equal_those_of_a_plain_program(example: Example) -> None:
    check(database(), example)
