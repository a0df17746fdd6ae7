"""Keys of every type are found as people write them, and windows told, on PostgreSQL and MariaDB."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from kafka_stream import DirectStream
from kafka_stream.errors import ConfigurationError
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import LateRecords, OpenPane, StateDescription
from kafka_stream.sinks.sql import Count, Tumbling, WindowSink
from kafka_stream.testing import MemoryKafka
from kafka_stream.testing.store_backend import STREAM

WHO = uuid.UUID("12345678-1234-5678-1234-567812345678")
MOMENT = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
ROW: dict[str, Any] = {
    "number": 2**60,
    "price": Decimal("1.10"),
    "day": date(2026, 1, 31),
    "at": datetime(2026, 1, 31, 8, tzinfo=UTC),
    "who": WHO,
    "raw": b"\x00\xff",
    "yes": True,
    "name": "Käthe",
    "note": "kept",
}
PARTS = [str(2**60), "1.1", "2026-01-31", "2026-01-31T09:00+01:00", str(WHO), "0x00ff", "true", "Käthe"]


@pytest.fixture(params=["postgres", "mariadb"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param).url
    return found


@pytest.fixture
def database(url: str) -> Iterator[sa.Engine]:
    found = sa.create_engine(url)
    yield found
    found.dispose()


@pytest.fixture
def store(url: str) -> Iterator[SqlOffsetStore]:
    found = SqlOffsetStore(url)
    found.open()
    yield found
    found.close()


def _many(database: sa.Engine) -> StateDescription:
    table = sa.Table(
        "many",
        sa.MetaData(),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("price", sa.Numeric(10, 2), primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("at", MOMENT, primary_key=True),
        sa.Column("who", sa.Uuid, primary_key=True),
        sa.Column("raw", sa.LargeBinary().with_variant(mysql.VARBINARY(10), "mysql", "mariadb"), primary_key=True),
        sa.Column("yes", sa.Boolean, primary_key=True),
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("note", sa.String(40)),
    )
    table.create(database)
    with database.begin() as connection:
        connection.execute(sa.insert(table).values(ROW))
    return StateDescription("many", "state", "many", tuple(column.name for column in table.primary_key.columns))


def test_a_key_of_every_type_is_found_as_people_write_it(store: SqlOffsetStore, database: sa.Engine) -> None:
    described = _many(database)
    (found,) = store.find_state(STREAM, described, PARTS, 2)
    assert (found["number"], found["name"], found["note"]) == (2**60, "Käthe", "kept")
    assert store.find_state(STREAM, described, [str(2**60 + 1), *PARTS[1:]], 2) == []


@pytest.mark.parametrize(("place", "wrong"), [(0, "ten"), (0, str(2**70)), (2, "soon"), (5, "0xyz")])
def test_what_a_column_cannot_hold_is_refused_or_not_there(
    store: SqlOffsetStore, database: sa.Engine, place: int, wrong: str
) -> None:
    parts = [*PARTS[:place], wrong, *PARTS[place + 1 :]]
    with pytest.raises(ConfigurationError, match=f"'{wrong}' is nothing for column"):
        store.find_state(STREAM, _many(database), parts, 2)


def test_where_windows_stand_is_told(store: SqlOffsetStore, database: sa.Engine) -> None:
    metadata = sa.MetaData()
    visits = sa.Table(
        "visits",
        metadata,
        sa.Column("page", sa.String(40), primary_key=True),
        sa.Column("window_start", MOMENT, primary_key=True),
        sa.Column("window_end", MOMENT, nullable=False),
        sa.Column("records", sa.BigInteger, nullable=False),
    )

    def time(message: Any) -> datetime:
        return datetime.fromtimestamp(int(message.value()), UTC)

    sink = WindowSink(visits, Tumbling("1 minute"), lambda message: message.key().decode(), time, {"records": Count()})
    metadata.create_all(database)
    kafka = MemoryKafka({"orders": 2})
    for partition, times in enumerate([(1, 200, 5, 250), (130, 190)]):
        for seconds in times:
            kafka.produce("orders", str(seconds), partition=partition, key="ab"[seconds % 2])
    stream = DirectStream(name=STREAM, topics=["orders"], kafka=kafka, store=store, sink=[sink], assignment="static")
    stream.run(until="latest")
    (state,) = store.states(STREAM)
    now = store.windows_now(STREAM, state.described, 10)
    second = 1_000_000
    assert [(it.event_time_us, it.watermark_us, it.is_idle) for it in now.partitions] == [
        (250 * second, 250 * second, False),
        (190 * second, 190 * second, False),
    ]
    assert state.closed_until_us == 180 * second
    assert (now.panes, now.open_panes) == ([OpenPane(180 * second, 1), OpenPane(240 * second, 1)], 2)
    assert now.late == [LateRecords(0, 60 * second, 1)]
    assert store.state_rows(STREAM, state.described) == {"visits": 2, "visits_open": 2, "visits_late": 1}
    assert len(store.find_state(STREAM, state.described, ["b"], 10)) == 1
