"""What is cleared by the register: windows with all that is theirs, tables that are gone, streams without state."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from kafka_stream.admin.reset import prepare_reset
from kafka_stream.admin.reset_plan import ToCurrent
from kafka_stream.admin.state.kept import keeping_state, kept_state, stateful
from kafka_stream.admin.state.resetting import execute_state_reset
from kafka_stream.errors import ConfigurationError
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import StateDescription
from kafka_stream.sinks.sql.stateful.registry import register
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from kafka_stream.testing.store_backend import claim_of
from kafka_stream.types import Owner
from tests.admin_fakes import Brokers
from tests.fakes import ORDERS_0, ORDERS_1
from tests.keeping_state import COUNTS, TOTALS, Counting
from tests.unit.state.conftest import RECORDS, Running

WINDOWS = StateDescription("visits", "windows", "visits", ("page",), {"open": "visits_open"})


def _keep_windows(store: SqlOffsetStore, url: str) -> None:
    """As a sink of windows does, in its tables and the store's."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE visits (page TEXT, window_start TIMESTAMP, visits INT)"))
        connection.execute(sa.text("CREATE TABLE visits_open (pane_start_us BIGINT, page TEXT, visits INT)"))
        connection.execute(sa.text("INSERT INTO visits VALUES ('a', NULL, 1), ('b', NULL, 1)"))
        connection.execute(sa.text("INSERT INTO visits_open VALUES (0, 'a', 1)"))
    engine.dispose()
    taken = store.take_over("s", Owner("1", "here"), [ORDERS_0], {})
    with store.begin(claim_of(Owner("1", "here"), {ORDERS_0: (RECORDS, RECORDS)}, taken, stream="s")) as transaction:
        register(transaction, WINDOWS)
        mine = {"stream": "s", "state": "visits"}
        tables, now = transaction.tables, sa.func.current_timestamp()
        mark = {"topic": "orders", "partition": 0, "event_time_us": 5, "watermark_us": 4, "is_idle": False}
        transaction.connection.execute(sa.insert(tables.watermarks).values(**mine, **mark, changed_at=now))
        transaction.connection.execute(
            sa.insert(tables.late).values(**mine, window_start_us=0, window_end_us=9, late=2)
        )
        transaction.connection.execute(
            sa.update(tables.states).where(tables.states.c.state == "visits").values(closed_until_us=9)
        )
        transaction.advance()
        transaction.commit()


def test_windows_go_with_their_watermarks_and_what_is_closed(opened: SqlOffsetStore, prepared: Any, url: str) -> None:
    reset = prepared()
    _keep_windows(opened, url)
    assert opened.windows_now("s", WINDOWS, 10).late
    _, cleared = execute_state_reset(opened, reset)
    assert cleared == {"totals": 5, "counts": 10, "visits": 2, "visits_open": 1}
    now = opened.windows_now("s", WINDOWS, 10)
    assert [(it.event_time_us, it.watermark_us) for it in now.partitions] == [(None, None)] * 2
    assert (now.panes, now.open_panes, now.late) == ([], 0, [])
    assert [state.described.name for state in opened.states("s")] == ["counts", "totals"]


def test_what_was_cleared_stays_registered_under_a_sink_that_runs_on(
    opened: SqlOffsetStore, prepared: Any, run: Running
) -> None:
    execute_state_reset(opened, prepared())
    assert [state.described.name for state in opened.states("s")] == ["counts", "totals"]


def test_a_table_that_was_dropped_is_nothing_to_clear(opened: SqlOffsetStore, prepared: Any, url: str) -> None:
    reset = prepared()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        TOTALS.drop(connection)
    engine.dispose()
    assert {state.described.name: state.rows for state in kept_state(opened, "s")} == {
        "counts": {"counts": 10},
        "totals": {"totals": None},
    }
    assert execute_state_reset(opened, reset)[1] == {"counts": 10}


def test_a_stream_without_state_is_reset_alone(opened: SqlOffsetStore, run: Running, fake_brokers: Brokers) -> None:
    run(lambda batch, transaction: None)
    plan, cleared = execute_state_reset(opened, prepare_reset(opened, "s", fake_brokers, ToCurrent()))
    assert (plan.offsets(), cleared) == ({ORDERS_0: RECORDS, ORDERS_1: RECORDS}, {})


def test_only_sql_stores_keep_state() -> None:
    store = MemoryOffsetStore()
    with pytest.raises(ConfigurationError, match=r"no state is kept through .* takes an SQL store"):
        keeping_state(store)
    assert kept_state(store, "s") == []


def test_what_the_code_keeps_and_has_not_written_yet_is_known(
    opened: SqlOffsetStore, run: Running, kafka: MemoryKafka
) -> None:
    run(Counting())
    sinks = [Counting(COUNTS)]
    found = kept_state(opened, "s", sinks)
    told = [(it.described.name, it.stored is not None, it.declared is not None, dict(it.rows)) for it in found]
    assert told == [("counts", False, True, {"counts": 0}), ("totals", True, False, {"totals": 5})]
    assert stateful(sinks) == sinks
