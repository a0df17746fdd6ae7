"""The queries as streams: what prepares a batch, and the sinks, whose tables are the answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from confluent_kafka import Message

from kafka_stream import Batch
from kafka_stream.sinks.sql import Count, Max, Session, Sliding, SqlSink, Sum, Tumbling, WindowSink, lookup
from tests.nexmark.generator import DISORDER_MS, Event
from tests.nexmark.references import (
    ARRIVAL_SIZE_MS,
    HIGHEST_SIZE_MS,
    HOT_SIZE_MS,
    HOT_STEP_MS,
    NEW_USERS_SIZE_MS,
    SESSION_GAP_MS,
    WANTED,
)

Pairs: TypeAlias = Sequence[tuple[Message, Event]]
LATENESS: Final = timedelta(milliseconds=DISORDER_MS)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Query:
    """A query: its stream, and how its answer is read. Build one anew for each database: it has tables of its own."""

    prepare: Callable[[Batch], Any]
    sink: Any
    metadata: sa.MetaData
    answer: Sequence[sa.Column[Any]]


def time_of(event: Event) -> datetime:
    """Its event time."""
    return _EPOCH + timedelta(milliseconds=event["at"])


def milliseconds(at: datetime) -> int:
    """Since 1970; SQLite keeps no zone."""
    return (at.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)


def only(*kinds: str) -> Callable[[Batch], Pairs]:
    """The events of these kinds, each with its record."""

    def prepare(batch: Batch) -> Pairs:
        return [pair for pair in batch.decoded(json.loads) if pair[1]["kind"] in kinds]

    return prepare


def length(milliseconds: int) -> timedelta:
    """As sinks take it."""
    return timedelta(milliseconds=milliseconds)


def table(metadata: sa.MetaData, name: str, *columns: Any) -> sa.Table:
    """With what makes no difference to a query: columns are integers unless they say something else."""
    made = [it if isinstance(it, sa.Column) else sa.Column(it, sa.BigInteger, nullable=False) for it in columns]
    return sa.Table(name, metadata, *made)


def key(name: str) -> sa.Column[Any]:
    """A number that is of the primary key."""
    return sa.Column(name, sa.BigInteger, primary_key=True, autoincrement=False)


def window() -> tuple[sa.Column[Any], sa.Column[Any]]:
    """What every table of windows has."""
    moment = sa.DateTime(timezone=True)
    return sa.Column("window_start", moment, primary_key=True), sa.Column("window_end", moment, nullable=False)


def insert(transaction: Any, into: sa.Table, rows: Iterable[Mapping[str, Any]]) -> None:
    """What ``on_close`` does with what it has found."""
    if found := list(rows):
        transaction.connection.execute(into.insert(), found)


def query_1() -> Query:
    """Currency conversion."""
    metadata = sa.MetaData()
    euros = table(metadata, "euros", "auction", "bidder", "price", "at")

    def rows(bids: Pairs) -> list[Any]:
        return [(bid["auction"], bid["bidder"], bid["price"] * 89 // 100, bid["at"]) for _, bid in bids]

    return Query(only("bid"), SqlSink(euros, rows), metadata, list(euros.columns))


def query_2() -> Query:
    """Selection."""
    metadata = sa.MetaData()
    wanted = table(metadata, "wanted", "auction", "price")

    def rows(bids: Pairs) -> list[Any]:
        return [(bid["auction"], bid["price"]) for _, bid in bids if bid["auction"] % WANTED == 0]

    return Query(only("bid"), SqlSink(wanted, rows), metadata, list(wanted.columns))


def query_5() -> Query:
    """Hot items: a sliding count per auction; of all that close together, ``on_close`` keeps the most."""
    metadata = sa.MetaData()
    counts = table(metadata, "bids_per_auction", key("auction"), *window(), "bids")
    hot = table(metadata, "hot_items", sa.Column("window_start", sa.DateTime(timezone=True)), "auction", "bids")

    def keep_the_most(rows: Sequence[Mapping[str, Any]], transaction: Any) -> None:
        for _, closed in groupby(rows, lambda row: row["window_end"]):
            of_window = list(closed)
            most = max(row["bids"] for row in of_window)
            insert(
                transaction,
                hot,
                [{it.name: row[it.name] for it in hot.columns} for row in of_window if row["bids"] == most],
            )

    sink = WindowSink(
        counts,
        Sliding(length(HOT_SIZE_MS), every=length(HOT_STEP_MS)),
        key=lambda bid: bid["auction"],
        time=time_of,
        aggregates={"bids": Count()},
        allowed_lateness=LATENESS,
        on_close=keep_the_most,
    )
    return Query(only("bid"), sink, metadata, [hot.c.window_start, hot.c.auction, hot.c.bids])


def query_7() -> Query:
    """Highest bid: the highest price per window, and whose bids those were, looked up among all bids."""
    metadata = sa.MetaData()
    bids = table(metadata, "bids", "auction", "bidder", "price", "at")
    prices = table(metadata, "highest_prices", *window(), "price")
    highest = table(
        metadata, "highest_bids", sa.Column("window_start", sa.DateTime(timezone=True)), "auction", "bidder", "price"
    )

    def look_up(rows: Sequence[Mapping[str, Any]], transaction: Any) -> None:
        for row in rows:
            between = bids.c.at >= milliseconds(row["window_start"]), bids.c.at < milliseconds(row["window_end"])
            found = sa.select(bids.c.auction, bids.c.bidder, bids.c.price).where(*between, bids.c.price == row["price"])
            whose = transaction.connection.execute(found.distinct()).mappings().all()
            insert(transaction, highest, [{"window_start": row["window_start"], **it} for it in whose])

    def rows(given: Pairs) -> list[Any]:
        return [(bid["auction"], bid["bidder"], bid["price"], bid["at"]) for _, bid in given]

    windows = WindowSink(
        prices,
        Tumbling(length(HIGHEST_SIZE_MS)),
        key=None,
        time=time_of,
        aggregates={"price": Max("price")},
        allowed_lateness=LATENESS,
        on_close=look_up,
    )
    columns = [highest.c.window_start, highest.c.auction, highest.c.bidder, highest.c.price]
    return Query(only("bid"), [SqlSink(bids, rows), windows], metadata, columns)


def query_8() -> Query:
    """New users: auctions per seller and window; when it closes, those sellers are looked up among the persons.

    The windows are of persons and auctions, so that none closes before the persons of its time are there.
    """
    metadata = sa.MetaData()
    persons = table(metadata, "persons", key("id"), sa.Column("name", sa.String(20)), "at")
    opened = table(metadata, "opened", key("person"), *window(), "auctions")
    new_users = table(
        metadata,
        "new_users",
        "id",
        sa.Column("name", sa.String(20)),
        sa.Column("window_start", sa.DateTime(timezone=True)),
    )

    def rows(given: Pairs) -> list[Any]:
        return [(it["id"], it["name"], it["at"]) for _, it in given if it["kind"] == "person"]

    def look_up(closed: Sequence[Mapping[str, Any]], transaction: Any) -> None:
        for start, of_window in groupby(closed, lambda row: row["window_start"]):
            sellers = [row["person"] for row in of_window if row["auctions"]]
            found = lookup(persons, sellers, transaction).values()
            new = [it for it in found if 0 <= it["at"] - milliseconds(start) < NEW_USERS_SIZE_MS]
            insert(transaction, new_users, [{"id": it["id"], "name": it["name"], "window_start": start} for it in new])

    windows = WindowSink(
        opened,
        Tumbling(length(NEW_USERS_SIZE_MS)),
        key=lambda it: it["seller"] if it["kind"] == "auction" else it["id"],
        time=time_of,
        aggregates={"auctions": Sum(lambda it: int(it["kind"] == "auction"))},
        allowed_lateness=LATENESS,
        on_close=look_up,
    )
    sinks = [SqlSink(persons, rows, on_conflict="ignore"), windows]
    return Query(only("person", "auction"), sinks, metadata, list(new_users.columns))


def query_11() -> Query:
    """User sessions."""
    metadata = sa.MetaData()
    sessions = table(metadata, "user_sessions", key("bidder"), *window(), "bids")
    sink = WindowSink(
        sessions,
        Session(length(SESSION_GAP_MS)),
        key=lambda bid: bid["bidder"],
        time=time_of,
        aggregates={"bids": Count()},
        allowed_lateness=LATENESS,
    )
    return Query(only("bid"), sink, metadata, list(sessions.columns))


def query_12() -> Query:
    """Bids per user by processing time: that of the brokers, which is the record's timestamp.

    Beam's takes the clock of the worker, by which no two runs are alike.
    """
    metadata = sa.MetaData()
    bids = table(metadata, "bids_by_arrival", key("bidder"), *window(), "bids")
    sink = WindowSink(
        bids, Tumbling(length(ARRIVAL_SIZE_MS)), key=lambda bid: bid["bidder"], aggregates={"bids": Count()}
    )
    return Query(only("bid"), sink, metadata, [bids.c.bidder, bids.c.window_start, bids.c.bids])


QUERIES: Final[Mapping[str, Callable[[], Query]]] = {
    "query_1": query_1,
    "query_2": query_2,
    "query_5": query_5,
    "query_7": query_7,
    "query_8": query_8,
    "query_11": query_11,
    "query_12": query_12,
}


def answer_of(query: Query, engine: sa.Engine) -> list[tuple[Any, ...]]:
    """The rows of the answer, sorted, with times in milliseconds."""
    with engine.connect() as connection:
        rows = connection.execute(sa.select(*query.answer)).all()
    return sorted(tuple(milliseconds(it) if isinstance(it, datetime) else it for it in row) for row in rows)
