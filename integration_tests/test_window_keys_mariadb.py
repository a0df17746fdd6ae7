"""Keys of windows on MariaDB, whose collations take different texts for one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from integration_tests.mariadb_server import MariadbDatabase
from kafka_stream.errors import ConfigurationError, ProcessingError
from kafka_stream.sinks.sql import Count, Session, Sliding, Sum, Tumbling, WindowSink
from kafka_stream.testing import message
from kafka_stream.types import Claim, OffsetRange, Owner, TopicPartition
from tests.window_world import STORED, Transaction

PARTITION = TopicPartition("topic", 0)
MOMENT = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql")


@pytest.fixture
def database(mariadb: MariadbDatabase) -> Iterator[sa.Engine]:
    found = sa.create_engine(mariadb.url)
    for table in STORED:
        table.create(found)
    yield found
    found.dispose()


def windows_of(database: sa.Engine, window: Any, collation: str, *records: tuple[str, int]) -> list[tuple[Any, ...]]:
    """What closes of records of these keys and seconds, each in a batch of its own."""
    metadata = sa.MetaData()
    table = sa.Table(
        "visits",
        metadata,
        sa.Column("page", sa.String(9, collation=collation), primary_key=True),
        sa.Column("window_start", MOMENT, primary_key=True),
        sa.Column("window_end", MOMENT, nullable=False),
        sa.Column("records", sa.Integer, nullable=False),
    )
    sink = WindowSink(table, window, key=lambda page: page, aggregates={"records": Count()})
    metadata.create_all(database)
    claim = Claim("s", Owner("a", "h"), (OffsetRange(PARTITION, 0, 9),), {PARTITION: 1}, {}, {})
    for number, (page, at) in enumerate(records):
        pair = (message("", offset=number, timestamp_ms=at * 1_000), page)
        with database.begin() as connection:
            sink.write(sink.prepare([pair]), Transaction(connection, claim, [PARTITION]))
    with database.connect() as connection:
        query = sa.select(table.c.page, sa.func.minute(table.c.window_end), sa.func.second(table.c.window_end))
        read = connection.execute(query.add_columns(table.c.records).order_by(table.c.window_end))
        return [tuple(row) for row in read]


IN_TURN = [("a", 5), ("A", 15), ("a ", 25), ("b", 300)]


@pytest.mark.parametrize(
    ("window", "closed"),
    [
        (Tumbling("30s"), [("a", 0, 30, 3)]),
        (Sliding("30s", every="10s"), [(10, 1), (20, 2), (30, 3), (40, 2), (50, 1)]),
        (Session("20s"), [("a", 0, 45, 3)]),
    ],
    ids=str,
)
def test_what_the_collation_takes_for_one_key_is_one(database: sa.Engine, window: Any, closed: list[Any]) -> None:
    found = windows_of(database, window, "utf8mb4_general_ci", *IN_TURN)
    assert found == closed or [row[2:] for row in found] == closed


def test_texts_that_only_the_collation_knows_are_refused(database: sa.Engine) -> None:
    with pytest.raises(ProcessingError, match="utf8mb4_nopad_bin"):
        windows_of(database, Tumbling("30s"), "utf8mb4_general_ci", ("é", 5))


def test_a_collation_that_goes_by_bytes_takes_all_texts(database: sa.Engine) -> None:
    records = [("é", 5), ("É", 6), ("é ", 7), ("é", 60)]
    found = windows_of(database, Sliding("20s", every="10s"), "utf8mb4_nopad_bin", *records)
    assert sorted(found) == [(page, 0, end, 1) for page in ("É", "é", "é ") for end in (10, 20)]


def test_a_number_that_the_database_rounds_without_being_told_to_is_refused(database: sa.Engine) -> None:
    metadata = sa.MetaData()
    table = sa.Table(
        "sums",
        metadata,
        sa.Column("window_start", MOMENT, primary_key=True),
        sa.Column("window_end", MOMENT, nullable=False),
        sa.Column("total", sa.Numeric()),
    )
    sink = WindowSink(table, Tumbling("30s"), key=None, aggregates={"total": Sum(float)})
    metadata.create_all(database)
    claim = Claim("s", Owner("a", "h"), (OffsetRange(PARTITION, 0, 9),), {PARTITION: 1}, {}, {})
    prepared = sink.prepare([(message("", timestamp_ms=1), "0.4")])
    with pytest.raises(ConfigurationError, match=r"'total' is declared as .* keeps 0 digits"), database.begin() as it:
        sink.write(prepared, Transaction(it, claim, [PARTITION]))
