"""What operators write for partitions, times and durations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from kafka_stream.admin.targets import Selection, parse_time, time_before
from kafka_stream.errors import ConfigurationError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "selection"),
    [
        ("orders", Selection("orders")),
        ("orders:0", Selection("orders", (0,))),
        ("orders:3,0,3", Selection("orders", (0, 3))),
        ("orders:0-2,7", Selection("orders", (0, 1, 2, 7))),
        ("my.topic_1-x:5-5", Selection("my.topic_1-x", (5,))),
    ],
)
def test_a_topic_with_or_without_its_partitions(text: str, selection: Selection) -> None:
    assert Selection.parsed(text) == selection


@pytest.mark.parametrize(
    "text", ["", ":", "orders:", ":0", "orders:x", "orders:-1", "orders:3-1", "orders:0,,1", "o:1:2"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"write TOPIC, TOPIC:0,3 or TOPIC:0-3"):
        Selection.parsed(text)


def test_so_many_partitions_are_a_mistake() -> None:
    with pytest.raises(ConfigurationError):
        Selection.parsed("orders:0-99999999999")


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-03-01T12:00:00", NOW),
        ("2026-03-01T12:00:00.000", NOW),
        ("2026-03-01T12:00:00Z", NOW),
        ("2026-03-01T14:00:00.000+02:00", NOW.astimezone(timezone(timedelta(hours=2)))),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
    ],
)
def test_times_without_a_zone_are_utc(text: str, time: datetime) -> None:
    assert parse_time(text) == time


@pytest.mark.parametrize("text", ["", "yesterday", "12:00", "2026-13-01T00:00:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no ISO 8601 time"):
        parse_time(text)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("P7D", timedelta(days=7)),
        ("PT1H30M", timedelta(hours=1, minutes=30)),
        ("P1DT0.5S", timedelta(days=1, milliseconds=500)),
        ("pt10s", timedelta(seconds=10)),
        ("P2W", timedelta(weeks=2)),
        ("-PT1H", timedelta(hours=-1)),
        ("PT-1H", timedelta(hours=-1)),
        ("-PT-1H", timedelta(hours=1)),
        ("P-1DT+2H", timedelta(days=-1, hours=2)),
        ("PT-0.5S", timedelta(milliseconds=-500)),
        ("+PT5.S", timedelta(seconds=5)),
    ],
)
def test_durations(text: str, span: timedelta) -> None:
    assert time_before(text, NOW) == NOW - span


@pytest.mark.parametrize("text", ["", "P", "PT", "P1DT", "1D", "P1Y", "P1M", "PT1X", "PT--1H", "PT٣H"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no ISO 8601 duration"):
        time_before(text, NOW)


def test_a_duration_beyond_all_calendars_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="beyond all calendars"):
        time_before("P9999999D", NOW)
