"""``kafka-stream windows``, on SQLite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kafka_stream.protocols import StateDescription
from tests.command_line import Invoke, one_sentence
from tests.unit.state.conftest import HERE, Running
from tests.unit.test_cli_offsets import rows as printed

MINUTE_US = 60_000_000
NOON_US = 1_769_860_800_000_000
VISITS = StateDescription(
    "visits", "windows", "visits", ("page",), {"window": "tumbling, 1 minute", "open": "visits_open"}
)


@pytest.fixture
def visits(keep: Callable[..., None]) -> None:
    """Two partitions, of which one holds the other back; three panes are open, and two windows had late records."""
    keep(
        VISITS,
        "CREATE TABLE visits (page TEXT, window_start TIMESTAMP, visits INT)",
        "CREATE TABLE visits_open (pane_start_us BIGINT, page TEXT, visits INT)",
        f"INSERT INTO visits_open VALUES ({NOON_US}, 'a', 1), ({NOON_US}, 'b', 1), ({NOON_US + MINUTE_US}, 'a', 1)",
        f"INSERT INTO kafka_stream_late VALUES ('s', 'visits', {NOON_US - MINUTE_US}, {NOON_US}, 3), "
        f"('other', 'visits', 0, 1, 9)",
        *(
            f"INSERT INTO kafka_stream_watermarks VALUES ('s', 'visits', 'orders', {number}, {NOON_US + at}, "
            f"{NOON_US + at - 5}, false, '2026-01-31 12:00:00')"
            for number, at in enumerate([2 * MINUTE_US, MINUTE_US // 2])
        ),
    )


def test_windows_say_how_far_they_have_come_and_what_holds_them_back(visits: None, invoke: Invoke) -> None:
    found = printed(invoke("windows", *HERE, "--output", "json"))
    by_what: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        by_what.setdefault(row["what"], []).append(row)
    assert [(row["watermark"], row["closed_until"], row["keys"]) for row in by_what["stream"]] == [
        ("2026-01-31T12:00:29.999+00:00", None, 2)
    ]
    assert [(row["partition"], row["event_time"], row["idle"], row["holds_back"]) for row in by_what["partition"]] == [
        (0, "2026-01-31T12:02:00.000+00:00", False, False),
        (1, "2026-01-31T12:00:30.000+00:00", False, True),
    ]
    assert [(row["start"], row["keys"]) for row in by_what["open"]] == [
        ("2026-01-31T12:00:00.000+00:00", 2),
        ("2026-01-31T12:01:00.000+00:00", 1),
    ]
    assert [(row["start"], row["end"], row["late"]) for row in by_what["late"]] == [
        ("2026-01-31T11:59:00.000+00:00", "2026-01-31T12:00:00.000+00:00", 3)
    ]
    told = invoke("windows", *HERE).out
    assert "closed until nothing yet; watermark 2026-01-31 12:00:29Z, held back by orders[1]\n" in told


def test_a_stream_without_windows_is_no_mistake(invoke: Invoke, run: Running) -> None:
    run()
    told = invoke("windows", *HERE)
    assert (told.status, told.out) == (0, "Stream 's' has no sinks of windows, or they have not run yet.\n")
    assert printed(invoke("windows", *HERE, "--output", "json")) == []


def test_sessions_are_told_together(invoke: Invoke, keep: Callable[..., None]) -> None:
    keep(
        StateDescription("stays", "windows", "stays", ("page",), {"open": "stays_open"}),
        "CREATE TABLE stays (page TEXT)",
        "CREATE TABLE stays_open (page TEXT, first_us BIGINT, last_us BIGINT)",
        f"INSERT INTO stays_open VALUES ('a', {NOON_US}, {NOON_US + 5}), ('b', {NOON_US + MINUTE_US}, {NOON_US + 9})",
    )
    found = printed(invoke("windows", *HERE, "--output", "json"))
    (one,) = [row for row in found if row["what"] == "open"]
    assert (one["start"], one["end"], one["keys"]) == (
        "2026-01-31T12:00:00.000+00:00",
        "2026-01-31T12:00:00.000+00:00",
        2,
    )
    assert {row["holds_back"] for row in found if row["what"] == "partition"} == {True}
    assert "open: 2 session(s)" in invoke("windows", *HERE).out


def test_other_stores_have_no_state_to_show(invoke: Invoke) -> None:
    for command in (("state", "describe"), ("state", "show", "a"), ("windows",)):
        refused = invoke(*command, "--store", "zookeeper://localhost:1/x", "--stream", "s")
        assert refused.status == 2
        assert "it is rows of tables, which takes an SQL store" in one_sentence(refused)
