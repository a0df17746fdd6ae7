"""The table that results go to, and what is in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from confluent_kafka import Message
from sqlalchemy.engine import make_url

METADATA = sa.MetaData()
RESULTS = sa.Table(
    "results",
    METADATA,
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("record_offset", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("key", sa.LargeBinary),
    sa.Column("value", sa.LargeBinary),
)


INSERT = "INSERT INTO results VALUES (%s, %s, %s, %s)"
"""A row, as psycopg takes it."""


def conninfo(database: str) -> str:
    """The URL as psycopg takes it."""
    return make_url(database).set(drivername="postgresql").render_as_string(hide_password=False)


def rows(messages: Iterable[Message]) -> Sequence[Any]:
    """The records as they are."""
    return [(m.partition(), m.offset(), m.key(), m.value()) for m in messages]


def row_mappings(messages: Iterable[Message]) -> Sequence[dict[str, Any]]:
    """The same, as a plain handler hands them to SQLAlchemy."""
    return [
        {"partition": m.partition(), "record_offset": m.offset(), "key": m.key(), "value": m.value()} for m in messages
    ]


def create(database: str) -> None:
    """Create the table."""
    engine = sa.create_engine(database)
    METADATA.create_all(engine)
    engine.dispose()


def found(database: str) -> Mapping[str, int]:
    """How many rows there are, and two sums over them."""
    engine = sa.create_engine(database)
    c = RESULTS.c
    with engine.connect() as connection:
        row = connection.execute(
            sa.select(sa.func.count(), sa.func.sum(c.record_offset), sa.func.sum(sa.func.length(c.value)))
        ).one()
    engine.dispose()
    return dict(zip(("records", "offsets", "value_bytes"), (int(value or 0) for value in row), strict=True))
