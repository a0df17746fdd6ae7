"""Tables of what is made of records: an entry for each, totals of each key, windows of each key; what is in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import sqlalchemy as sa
from confluent_kafka import Message

from benchmarks.measurement import Task
from benchmarks.records import AMOUNTS

Entry: TypeAlias = tuple[str, int, datetime]

METADATA = sa.MetaData()
ENTRIES = sa.Table(
    "entries",
    METADATA,
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("record_offset", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("customer", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
)
TOTALS = sa.Table(
    "totals",
    METADATA,
    sa.Column("customer", sa.Text, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("largest", sa.BigInteger, nullable=False),
    sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
)
WINDOWS = sa.Table(
    "windows",
    METADATA,
    sa.Column("customer", sa.Text, primary_key=True),
    sa.Column("window_start", sa.DateTime(timezone=True), primary_key=True),
    sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
)

MERGED = ", ".join((
    "count = totals.count + excluded.count",
    "amount = totals.amount + excluded.amount",
    "largest = greatest(totals.largest, excluded.largest)",
    "last_seen = greatest(totals.last_seen, excluded.last_seen)",
))  # fmt: skip
"""What an upsert by hand sets."""


def customer(message: Message) -> str:
    """Whose record it is: its key."""
    key = message.key()
    assert key is not None
    return key.decode()


def amount(message: Message) -> int:
    """In cents: it follows from the time, so that what is compared is no parser."""
    return message.timestamp()[1] % AMOUNTS


def entry(message: Message) -> Entry:
    """Customer, amount and time of a record: read in the same way by everything that is written in Python."""
    _, time_ms = message.timestamp()
    return customer(message), time_ms % AMOUNTS, datetime.fromtimestamp(time_ms / 1000, UTC)


def parsed_entry(message: Message) -> Entry:
    """The same, with the amount that the record's JSON has."""
    value = message.value()
    assert value is not None
    return customer(message), json.loads(value)["amount"], datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)


def reading(task: Task) -> Callable[[Message], Entry]:
    """How a contender reads records: its option ``parses`` says whether it parses them."""
    return parsed_entry if task.options.get("parses") else entry


def entries(messages: Iterable[Message], read: Callable[[Message], Entry] = entry) -> Sequence[Any]:
    """A row of ``ENTRIES`` for each record."""
    return [(m.partition(), m.offset(), *read(m)) for m in messages]


def changes(messages: Iterable[Message], read: Callable[[Message], Entry] = entry) -> Sequence[Any]:
    """What each record adds to ``TOTALS``, as a row of it."""
    return [(of, 1, cents, cents, at) for of, cents, at in map(read, messages)]


def create(database: str) -> None:
    """Create all tables, those too that sinks have declared beside them."""
    engine = sa.create_engine(database)
    METADATA.create_all(engine)
    engine.dispose()


def found_entries(database: str) -> Mapping[str, int]:
    """How many entries there are, and sums over them."""
    c = ENTRIES.c
    return _sums(database, records=sa.func.count(), offsets=sa.func.sum(c.record_offset), amounts=sa.func.sum(c.amount))


def found_keys(database: str) -> Mapping[str, int]:
    """How many keys the entries have, which is also how many entries there are."""
    found = _sums(database, records=sa.func.count(), keys=sa.func.count(sa.distinct(ENTRIES.c.customer)))
    return {"keys": found["keys"] if found["keys"] == found["records"] else -1}


def found_totals(database: str) -> Mapping[str, int]:
    """How many keys have totals, and sums over them."""
    c = TOTALS.c
    return _sums(
        database,
        keys=sa.func.count(c.customer),
        counted=sa.func.sum(c.count),
        amounts=sa.func.sum(c.amount),
        largest=sa.func.sum(c.largest),
        last_seen_ms=_ms(c.last_seen),
    )


def found_windows(database: str) -> Mapping[str, int]:
    """How many windows were written, and sums over them."""
    c = WINDOWS.c
    return _sums(
        database,
        windows=sa.func.count(c.customer),
        window_starts_ms=_ms(c.window_start),
        counted_in_windows=sa.func.sum(c.count),
        amounts_in_windows=sa.func.sum(c.amount),
    )


def _ms(column: sa.Column[Any]) -> Any:
    return sa.func.sum(sa.cast(sa.extract("epoch", column) * 1000, sa.BigInteger))


def _sums(database: str, **sums: Any) -> Mapping[str, int]:
    engine = sa.create_engine(database)
    with engine.connect() as connection:
        row = connection.execute(sa.select(*sums.values())).one()
    engine.dispose()
    return dict(zip(sums, (int(value or 0) for value in row), strict=True))
