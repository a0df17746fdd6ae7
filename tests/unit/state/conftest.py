"""A stream over ten records in each of two partitions whose sinks keep state, in a SQLite file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_stream import DirectStream
from kafka_stream.admin.reset import Reset, prepare_reset
from kafka_stream.admin.reset_plan import Target, ToEarliest
from kafka_stream.admin.targets import Selection
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import OffsetAt, StateDescription, TopicInfo
from kafka_stream.sinks.sql.stateful.registry import register
from kafka_stream.testing import MemoryKafka
from kafka_stream.testing.store_backend import claim_of
from kafka_stream.types import Owner, TopicPartition
from tests.admin_fakes import Brokers
from tests.fakes import ORDERS_0, ORDERS_1
from tests.keeping_state import COUNTS, METADATA, Counting

RECORDS = 10
HERE = ("--store", "sqlite:///orders.db", "--stream", "s")
OWNER = Owner("1", "here")
APP = """
from kafka_stream import DirectStream
from kafka_stream.offset_stores.sql import SqlOffsetStore
from tests.keeping_state import COUNTS, Counting

stream = DirectStream(
    name="s", topics=["orders"], kafka={"bootstrap.servers": "localhost:9"}, store=SqlOffsetStore("sqlite:///orders.db"),
    sink=[Counting(COUNTS)], assignment="static",
)
"""


@pytest.fixture
def kafka() -> MemoryKafka:
    """Keys a to e, twice in each partition."""
    kafka = MemoryKafka({"orders": 2})
    for partition in (0, 1):
        for number in range(RECORDS):
            kafka.produce("orders", b"x", partition=partition, key="abcde"[number % 5].encode())
    return kafka


@pytest.fixture
def fake_brokers() -> Brokers:
    """What a reset is told of them."""
    found = Brokers()
    found.infos = {"orders": TopicInfo(2, None)}
    ends = {ORDERS_0: RECORDS, ORDERS_1: RECORDS}
    found.ends = {at: dict.fromkeys(ends, 0) if at is OffsetAt.EARLIEST else ends for at in OffsetAt}
    return found


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/orders.db"


@pytest.fixture
def opened(url: str) -> Iterator[SqlOffsetStore]:
    """The store, with the users' tables beside it."""
    engine = sa.create_engine(url)
    METADATA.create_all(engine)
    engine.dispose()
    found = SqlOffsetStore(url)
    found.open()
    yield found
    found.close()


Running = Callable[..., DirectStream]


@pytest.fixture
def run(kafka: MemoryKafka, opened: SqlOffsetStore) -> Running:
    """Read to the end."""

    def run(*sinks: Any, name: str = "s", **settings: Any) -> DirectStream:
        kept = list(sinks) or [Counting(), Counting(COUNTS)]
        stream = DirectStream(
            name=name, topics=["orders"], kafka=kafka, store=opened, sink=kept, assignment="static", **settings
        )
        stream.run(until="latest")
        return stream

    return run


Reading = Callable[[sa.Table], dict[tuple[Any, ...], int]]


@pytest.fixture
def rows(url: str) -> Iterator[Reading]:
    """What a table holds: totals by key."""
    engine = sa.create_engine(url)

    def read(table: sa.Table) -> dict[tuple[Any, ...], int]:
        with engine.connect() as connection:
            return {tuple(row[:-1]): row[-1] for row in connection.execute(sa.select(table))}

    yield read
    engine.dispose()


@pytest.fixture
def with_app(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "state_app.py").write_text(APP)
    yield "state_app:stream"


@pytest.fixture
def keep(opened: SqlOffsetStore, url: str, run: Running) -> Callable[..., None]:
    """Register a state, and make its table by these statements."""
    run(lambda batch, transaction: None)

    def keep(described: StateDescription, *statements: Any) -> None:
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement) if isinstance(statement, str) else statement)
        engine.dispose()
        tp = TopicPartition("orders", 0)
        taken = opened.take_over("s", OWNER, [tp], {})
        with opened.begin(claim_of(OWNER, {tp: (10, 10)}, taken, stream="s")) as transaction:
            register(transaction, described)
            transaction.advance()
            transaction.commit()

    return keep


@pytest.fixture
def prepared(opened: SqlOffsetStore, run: Running, fake_brokers: Brokers) -> Any:
    """All is read once; a reset of it."""
    run()

    def prepare(target: Target | None = None, selections: Sequence[Selection] | None = None) -> Reset:
        return prepare_reset(opened, "s", fake_brokers, target or ToEarliest(), selections)

    return prepare
