"""A stuck handler is reported."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from kafka_stream.engine.watchdog import Watchdog
from kafka_stream.progress import StreamStatus

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_batch_that_runs_long_is_warned_of_at_a_minute_and_at_each_doubling(caplog: pytest.LogCaptureFixture) -> None:
    elapsed = 0.0
    watchdog = Watchdog(
        "orders", lambda: StreamStatus(batch_started_at=START), lambda: START + timedelta(seconds=elapsed)
    )
    warned = []
    with caplog.at_level(logging.WARNING, "kafka_stream"):
        for elapsed in (5.0, 59.9, 60.0, 70.0, 119.0, 120.0, 200.0, 241.0):
            before = len(caplog.records)
            watchdog.look()
            if len(caplog.records) > before:
                warned.append(elapsed)
    assert warned == [60.0, 120.0, 241.0]
    assert "'orders'" in caplog.text


def test_the_next_batch_is_measured_anew(caplog: pytest.LogCaptureFixture) -> None:
    started, now = START, START + timedelta(seconds=61)
    watchdog = Watchdog("orders", lambda: StreamStatus(batch_started_at=started), lambda: now)
    watchdog.look()
    started, now = now, now + timedelta(seconds=61)
    watchdog.look()
    assert len(caplog.records) == 2


def test_nothing_is_said_between_batches(caplog: pytest.LogCaptureFixture) -> None:
    Watchdog("orders", StreamStatus).look()
    assert not caplog.records


def test_its_thread_ends() -> None:
    watchdog = Watchdog("orders", StreamStatus)
    watchdog.start()
    watchdog.stop()
    assert not watchdog._thread.is_alive()


def test_a_handler_is_not_blamed_for_what_the_store_waits_for(caplog: pytest.LogCaptureFixture) -> None:
    now, waits = START + timedelta(seconds=61), ("b1:9092 to answer while committing a transaction", 12.4)
    Watchdog("orders", lambda: StreamStatus(batch_started_at=START), lambda: now, lambda: waits).look()
    assert "for 12 s it has waited for b1:9092 to answer while committing a transaction; nothing of it" in caplog.text
    assert "handler" not in caplog.text
