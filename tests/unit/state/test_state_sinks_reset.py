"""Each of the sinks that keep state: cleared with a reset, and read again, it has what a first reading gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_stream import DirectStream
from kafka_stream.admin.reset import Reset
from kafka_stream.admin.reset_plan import Log, ToEarliest
from kafka_stream.admin.state.kept import kept_state
from kafka_stream.admin.state.resetting import execute_state_reset
from kafka_stream.errors import ConfigurationError
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import Sink
from kafka_stream.sinks.sql import Add, Count, Deduplicate, Merge, SqlSink, StateSink, Tumbling, WindowSink
from kafka_stream.testing import MemoryKafka
from tests.command_line import Invoke
from tests.fakes import ORDERS_0, ORDERS_1

RECORDS = 20


class Tables:
    """Users' tables, as one version of the code declares them."""

    def __init__(self) -> None:
        self.metadata = sa.MetaData()
        moment = sa.DateTime(timezone=True)
        self.totals = sa.Table(
            "totals",
            self.metadata,
            sa.Column("page", sa.String(40), primary_key=True),
            sa.Column("total", sa.BigInteger, nullable=False),
        )
        self.visits = sa.Table(
            "visits",
            self.metadata,
            sa.Column("page", sa.String(40), primary_key=True),
            sa.Column("window_start", moment, primary_key=True),
            sa.Column("window_end", moment, nullable=False),
            sa.Column("records", sa.BigInteger, nullable=False),
        )

        self.counts = sa.Table(
            "counts",
            self.metadata,
            sa.Column("of_topic", sa.String(249), primary_key=True),
            sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("page", sa.String(40), primary_key=True),
            sa.Column("total", sa.BigInteger, nullable=False),
        )


def _page(message: Any) -> str:
    return str((message.key() or b"").decode())


def _time(message: Any) -> datetime:
    return datetime.fromtimestamp(int(message.value()), UTC)


def merging(tables: Tables) -> Sequence[Sink]:
    def to_rows(batch: Any) -> Any:
        return [{"page": _page(message), "total": 1} for message in batch]

    return [SqlSink(tables.totals, to_rows, on_conflict=Merge(total=Add))]


def windows(tables: Tables, length: str = "10 seconds") -> Sequence[Sink]:
    return [WindowSink(tables.visits, Tumbling(length), _page, _time, {"records": Count()})]


def deduplicating(tables: Tables) -> Sequence[Sink]:
    return [Deduplicate(lambda message: (_page(message), 7), "1 minute", time=_time), *merging(tables)]


def _one_more(key: Any, records: Sequence[Any], row: Any) -> dict[str, int]:
    return {"total": len(records) + (row["total"] if row else 0)}


def counting(tables: Tables) -> Sequence[Sink]:
    return [StateSink(tables.totals, _page, _one_more)]


def counting_by_partition(tables: Tables) -> Sequence[Sink]:
    return [StateSink(tables.counts, _page, _one_more, scope="partition", partition_columns=("of_topic", "number"))]


@dataclass
class World:
    """A database, a topic, and one process of the stream after the other."""

    engine: sa.Engine
    kafka: MemoryKafka
    store: SqlOffsetStore

    def run(self, sinks: Callable[[Tables], Sequence[Sink]]) -> Sequence[Sink]:
        """Read to the end, in small batches."""
        tables = Tables()
        made = list(sinks(tables))
        tables.metadata.create_all(self.engine)
        stream = DirectStream(
            name="s",
            topics=["orders"],
            kafka=self.kafka,
            store=self.store,
            sink=made,
            assignment="static",
            max_records_per_batch=7,
        )
        stream.run(until="latest")
        return stream.sinks

    def rows(self) -> dict[str, list[str]]:
        """What all tables hold, ours of state too, but for when."""
        found = {}
        names = [name for name in sa.inspect(self.engine).get_table_names() if name not in _OF_OFFSETS]
        with self.engine.connect() as connection:
            for name in names:
                table = sa.Table(name, sa.MetaData(), autoload_with=connection)
                columns = [column for column in table.columns if column.name not in ("changed_at", "seen_at")]
                found[name] = sorted(map(repr, connection.execute(sa.select(*columns))))
        return found


_OF_OFFSETS = [f"kafka_stream_{name}" for name in ("schema", "topics", "offsets", "history", "dead_letters")]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    url = f"sqlite:///{tmp_path}/orders.db"
    kafka = MemoryKafka({"orders": 2})
    for partition in (0, 1):
        for number in range(RECORDS):
            late = 40 if number % 9 == 8 else 0
            kafka.produce("orders", str(number * 7 - late + 50), partition=partition, key="abc"[number % 3])
    engine, store = sa.create_engine(url), SqlOffsetStore(url)
    yield World(engine, kafka, store)
    store.close()
    engine.dispose()


def whole() -> Reset:
    logs = {tp: Log(0, RECORDS, RECORDS) for tp in (ORDERS_0, ORDERS_1)}
    return Reset("s", ToEarliest(), logs)


KEEPING = {
    "merge": merging,
    "windows": windows,
    "seen": deduplicating,
    "state": counting,
    "state of partitions": counting_by_partition,
}


@pytest.mark.parametrize("with_code", [True, False], ids=["by the sinks", "by the register"])
@pytest.mark.parametrize("kind", KEEPING)
def test_what_was_cleared_and_read_again_is_what_a_first_reading_gives(
    world: World, kind: str, with_code: bool
) -> None:
    sinks = world.run(KEEPING[kind])
    first = world.rows()
    assert kind.split()[0] in [state.described.kind for state in kept_state(world.store, "s")]
    _, cleared = execute_state_reset(world.store, whole(), sinks=sinks if with_code else [])
    assert sum(cleared.values()) > 0
    assert {name: rows for name, rows in world.rows().items() if rows and name != "kafka_stream_states"} == {}
    world.run(KEEPING[kind])
    assert world.rows() == first


def test_windows_of_another_length_begin_once_the_old_ones_are_cleared(world: World) -> None:
    world.run(windows)
    world.kafka.produce("orders", "300", partition=0, key="a")
    with pytest.raises(ConfigurationError, match="--with-state-reset"):
        world.run(lambda tables: windows(tables, "30 seconds"))
    execute_state_reset(world.store, whole())
    world.run(lambda tables: windows(tables, "30 seconds"))
    assert world.rows()["visits"]


@pytest.mark.parametrize("key", ["a,7", "('a', 7)"], ids=["by its hash", "as people read it"])
def test_a_key_that_has_gone_on_is_shown(world: World, key: str, invoke: Invoke) -> None:
    world.run(deduplicating)
    ended = invoke("state", "show", "--store", str(world.engine.url), "--stream", "s", "--state", "deduplicate", key)
    assert ended.status == 0, ended.err
    assert ended.out.count("('a', 7)") == 1


@pytest.mark.parametrize("with_code", [True, False], ids=["by the sinks", "by the register"])
def test_state_of_partitions_whose_columns_have_other_names_is_cleared_of_those_that_move(
    world: World, with_code: bool
) -> None:
    sinks = world.run(counting_by_partition)
    first = world.rows()["counts"]
    reset = Reset("s", ToEarliest(), {ORDERS_0: Log(0, RECORDS, RECORDS)})
    _, cleared = execute_state_reset(world.store, reset, sinks=sinks if with_code else [])
    assert cleared == {"counts": 3}
    assert world.rows()["counts"] == [row for row in first if row.startswith("('orders', 1")]
    world.run(counting_by_partition)
    assert world.rows()["counts"] == first
