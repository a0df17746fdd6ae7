"""Clicks per page in the last ten minutes, every minute, both ways.

``popular_pages`` gets a row per page and window when the window closes: it is final, and late clicks are elsewhere.
``page_minutes`` has a row per page and minute, to which each batch adds; ``last_ten_minutes`` is a query over it, which
is right at every moment, and changes when a late click comes.
"""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Message
from sqlalchemy import BigInteger, Column, DateTime, MetaData, Select, String, Table, func, select

from kafka_stream import Batch, DirectStream
from kafka_stream.sinks.sql import Add, Count, Merge, Sliding, SqlSink, WindowSink

metadata = MetaData()
popular_pages = Table(
    "popular_pages",
    metadata,
    Column("page", String(80), primary_key=True),
    Column("window_start", DateTime(timezone=True), primary_key=True),
    Column("window_end", DateTime(timezone=True), nullable=False),
    Column("clicks", BigInteger, nullable=False),
)
page_minutes = Table(
    "page_minutes",
    metadata,
    Column("page", String(80), primary_key=True),
    Column("minute", BigInteger, primary_key=True, autoincrement=False),  # since 1970
    Column("clicks", BigInteger, nullable=False),
)


def prepare(batch: Batch) -> list[tuple[Message, dict[str, Any]]]:
    return list(batch.decoded(json.loads))


def time_of(click: dict[str, Any]) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=click["at_ms"])


def to_rows(clicks: list[tuple[Message, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    for _, click in clicks:
        yield {"page": click["page"], "minute": click["at_ms"] // 60_000, "clicks": 1}


def last_ten_minutes(end: datetime) -> Select[Any]:
    """Clicks per page in the ten minutes before a full minute."""
    minute = int(end.timestamp()) // 60
    clicks = func.sum(page_minutes.c.clicks)
    in_time = page_minutes.c.minute >= minute - 10, page_minutes.c.minute < minute
    return select(page_minutes.c.page, clicks).where(*in_time).group_by(page_minutes.c.page)


stream = DirectStream(
    name="sliding_clicks",
    topics=["clicks"],
    kafka={"bootstrap.servers": os.environ.get("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", "localhost:9092")},
    store=os.environ.get("KAFKA_STREAM_STORE", "sqlite:///orders.db"),
    prepare=prepare,
    sink=[
        WindowSink(
            popular_pages,
            Sliding("10 minutes", every="1 minute"),
            key=lambda click: click["page"],
            time=time_of,
            aggregates={"clicks": Count()},
            allowed_lateness="30s",
        ),
        SqlSink(page_minutes, to_rows, on_conflict=Merge(clicks=Add)),
    ],
)
