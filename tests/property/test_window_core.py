"""The pure parts of windows: running totals, days of a zone, sessions, and what is made of text and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from kafka_stream.errors import ConfigurationError
from kafka_stream.sinks.sql import Sliding, Tumbling
from kafka_stream.sinks.sql.stateful.durations import DAY_US, SECOND_US, duration_us
from kafka_stream.sinks.sql.stateful.moments import moment, us_of
from kafka_stream.sinks.sql.windows.event_time.aggregates import Fold, Part
from kafka_stream.sinks.sql.windows.event_time.combining import Columns, by_pane
from kafka_stream.sinks.sql.windows.event_time.panes import EvenPanes
from kafka_stream.sinks.sql.windows.event_time.sessions import Stretch, merged
from kafka_stream.sinks.sql.windows.event_time.sliding import Pane, WindowsOfPanes, recomputed
from kafka_stream.sinks.sql.windows.event_time.values import EXACT, Kind, Values, values_of

INTEGER, DECIMAL, REAL = Values(Kind.INTEGER), Values(Kind.DECIMAL, 3), Values(Kind.REAL)
PARTS = (
    Part("n", Fold.COUNT, sa.BigInteger(), INTEGER),
    Part("whole", Fold.SUM, sa.BigInteger(), INTEGER, 0),
    Part("price", Fold.SUM, sa.Numeric(12, 3), DECIMAL, 1),
    Part("real", Fold.SUM, sa.Double(), REAL, 2),
    Part("least", Fold.LEAST, sa.BigInteger(), INTEGER, 0),
    Part("most", Fold.GREATEST, sa.BigInteger(), INTEGER, 0),
)
PRICES = st.decimals(-(10**30), 10**30, places=3)
PANE = st.tuples(
    st.integers(1, 9),
    st.integers(-(10**20), 10**20) | st.none(),
    PRICES | st.none(),
    st.floats(-1e9, 1e9) | st.none(),
    st.integers() | st.none(),
    st.integers() | st.none(),
)
STEP = 10


@given(
    st.dictionaries(st.integers(-30, 30), PANE, max_size=12),
    st.integers(1, 7),
    st.none() | st.integers(-30, 40),
    st.integers(-30, 45),
)
def test_running_totals_are_those_that_are_computed_anew(
    panes: dict[int, Sequence[Any]], per_window: int, after: int | None, until: int
) -> None:
    of_key: list[Pane] = [(number * STEP, panes[number]) for number in sorted(panes)]
    windows = WindowsOfPanes(EvenPanes(STEP), per_window, PARTS)
    found = list(windows.closed(of_key, None if after is None else after * STEP, until * STEP))
    expected = []
    for end in range(-29, 40):
        inside = [panes[number] for number in range(end - per_window, end) if number in panes]
        if inside and end <= until and (after is None or end > after):
            with localcontext(EXACT):
                parts = [
                    recomputed(part, column) for part, column in zip(PARTS, zip(*inside, strict=True), strict=True)
                ]
            expected.append(((end - per_window) * STEP, end * STEP, parts))
    assert [(start, end, list(parts)) for start, end, parts in found] == expected


@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from("abc"), st.integers(-9, 9) | st.none()), max_size=40),
    st.integers(1, 4),
)
def test_records_are_combined_by_pane_and_key_however_many_panes_there_are(
    records: list[tuple[int, str, int | None]], length: int
) -> None:
    starts = [time - time % length for time, _, _ in records]
    values = [value for _, _, value in records]
    columns = Columns(starts, [key for _, key, _ in records], [values, [], [], values])
    parts = [PARTS[0], replace(PARTS[1], argument=0), replace(PARTS[4], argument=3), replace(PARTS[5], argument=3)]
    found = {
        (start, key): of for start, it in by_pane(columns, parts) for key, *of in zip(it.cells, *it.parts, strict=True)
    }
    expected: dict[tuple[int, str], list[Any]] = {}
    for start, (_, key, value) in zip(starts, records, strict=True):
        before = expected.get((start, key), [None] * 4)
        expected[start, key] = [part.fold.of(a, b) for part, a, b in zip(parts, before, [1, *[value] * 3], strict=True)]
    assert found == expected


ZONES = ["Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]
SINCE, TO = us_of(datetime(2000, 1, 1, tzinfo=UTC)), us_of(datetime(2030, 1, 1, tzinfo=UTC))
TIMES = st.integers(SINCE, TO)


@given(st.sampled_from(ZONES), st.lists(TIMES, min_size=1, max_size=5), st.sampled_from([1, 2, 7]))
def test_days_of_a_zone_are_those_of_its_calendar(zone: str, times: list[int], days: int) -> None:
    panes = Tumbling(f"{days} days", zone=zone).panes
    for time, start in zip(times, panes.starts(times), strict=True):
        end = panes.shifted(start, 1)
        assert start <= time < end
        begins, ends = (moment(it).astimezone(ZoneInfo(zone)) for it in (start, end))
        assert (begins.date() - date(1970, 1, 1)).days % days == 0
        assert (ends.date() - begins.date()).days == days
        assert panes.starts([start, end, start - 1]) == [start, end, panes.shifted(start, -1)]
        if days == 1:
            local = moment(time).astimezone(ZoneInfo(zone))
            assert local.date() == begins.date()


def test_days_have_23_and_25_hours_where_clocks_are_changed() -> None:
    panes = Tumbling("1 day", zone="Europe/Berlin").panes
    lengths = set()
    for day in (date(2026, 3, 29), date(2026, 10, 25), date(2026, 7, 1)):
        noon = us_of(datetime(day.year, day.month, day.day, 12, tzinfo=UTC))
        (start,) = panes.starts([noon])
        lengths.add((panes.shifted(start, 1) - start) // (3600 * SECOND_US))
    assert lengths == {23, 24, 25}


def test_a_day_may_begin_later_by_the_clocks_of_its_zone() -> None:
    panes = Tumbling("1 day", offset="6 hours", zone="Europe/Berlin").panes
    for at, begins in [
        (datetime(2026, 3, 29, 5, tzinfo=UTC), datetime(2026, 3, 29, 4, tzinfo=UTC)),
        (datetime(2026, 3, 29, 3, tzinfo=UTC), datetime(2026, 3, 28, 5, tzinfo=UTC)),
    ]:
        assert [moment(it) for it in panes.starts([us_of(at)])] == [begins]


@given(st.lists(TIMES, max_size=5), st.integers(1, 10**13), st.integers(0, 10**13))
def test_even_panes_hold_their_times_and_lie_side_by_side(times: list[int], length: int, offset: int) -> None:
    panes = EvenPanes(length, offset)
    for time, start in zip(times, panes.starts(times), strict=True):
        assert start <= time < panes.shifted(start, 1) == start + length
        assert (start - offset) % length == 0


def test_an_offset_moves_windows_in_utc() -> None:
    panes = Tumbling("1 hour", offset="15 minutes").panes
    assert panes.starts([0, 15 * 60 * SECOND_US]) == [-45 * 60 * SECOND_US, 15 * 60 * SECOND_US]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 5)), max_size=10), st.integers(1, 12))
def test_sessions_are_the_same_in_whatever_order_they_are_merged(given: list[tuple[int, int]], gap: int) -> None:
    parts = PARTS[:2]
    each = [Stretch(time, time, [1, value]) for time, value in given]
    whole = merged(each, gap, parts)
    one_by_one: list[Stretch] = []
    for one in each:
        one_by_one = merged([*one_by_one, one], gap, parts)
    assert one_by_one == whole
    assert all(after.first - before.last >= gap for before, after in pairwise(whole))
    assert sum(one.parts[0] for one in whole) == len(given)
    times = sorted(time for time, _ in given)
    assert len(whole) == sum(b - a >= gap for a, b in pairwise(times)) + bool(times)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90s", timedelta(seconds=90)),
        ("5 minutes", timedelta(minutes=5)),
        ("1 hour", timedelta(hours=1)),
        ("1 day", timedelta(days=1)),
        ("1.5 h", timedelta(minutes=90)),
        ("250ms", timedelta(milliseconds=250)),
        (" 2 Weeks ", timedelta(weeks=2)),
        ("0s", timedelta()),
    ],
)
def test_lengths_of_time_are_read_as_they_are_written(text: str, length: timedelta) -> None:
    assert duration_us(text, "it") == duration_us(length, "it") == length // timedelta(microseconds=1)


@pytest.mark.parametrize(
    "given", ["", "5", "minutes", "5 fortnights", "five minutes", "-5s", 5, None, "1e3s", "9999999d"]
)
def test_what_is_no_length_of_time_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^the gap is .*"):
        duration_us(given, "the gap")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Tumbling("0s"), "longer than nothing"),
        (lambda: Tumbling("5 minutes", zone="Europe/Berlin"), "a zone is for whole days"),
        (lambda: Tumbling("1 day", zone="Europe/Atlantis"), "no time zone that is known"),
        (lambda: Sliding("1 hour", every="7 minutes"), "has to be a multiple"),
        (lambda: Sliding("1 day", every="1 hour", zone="Europe/Berlin"), "a zone is for whole days"),
        (lambda: Tumbling("1 day", offset="30 hours", zone="Europe/Berlin"), "not less than its days"),
    ],
)
def test_windows_that_cannot_be_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make()


@given(st.lists(PRICES | st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9) | st.none(), max_size=6))
def test_what_a_decimal_column_takes_has_its_digits(given: list[Any]) -> None:
    taken = DECIMAL.taken(given)
    assert taken is not None
    for before, after in zip(given, taken, strict=True):
        assert (before is None) == (after is None)
        if before is not None:
            assert isinstance(after, Decimal)
            assert abs(after - Decimal(repr(before) if isinstance(before, float) else before)) <= Decimal("0.0005")
            assert after.as_tuple().exponent == -3


def test_columns_take_what_they_hold_and_nothing_else() -> None:
    assert values_of(sa.Integer()) == INTEGER
    assert values_of(sa.Numeric(12, 3)) == DECIMAL
    assert values_of(sa.Numeric(12, 3, asdecimal=False)) == REAL
    assert values_of(sa.Double()) == REAL
    assert values_of(sa.String()) is None
    assert values_of(sa.Boolean()) is None
    assert values_of(sa.DateTime()) is None
    assert INTEGER.taken([1, True, None]) == [1, 1, None]
    assert INTEGER.taken([1.5]) is None
    assert REAL.taken([1, Decimal("0.5")]) == [1.0, 0.5]
    assert REAL.taken([0.0, None, -1.5]) == [0.0, None, -1.5]
    for strange in (float("nan"), float("inf"), Decimal("-Infinity")):  # compared and added by each database in its way
        assert REAL.taken([1.0, strange]) is None
        assert REAL.taken([strange, 1, None]) is None
    assert DECIMAL.taken(["1.5"]) is None
    assert DECIMAL.taken([float("nan")]) is None
    berlin = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    assert values_of(sa.DateTime(timezone=True)) == replace(INTEGER, kind=Kind.MOMENT)
    assert replace(INTEGER, kind=Kind.MOMENT).taken([berlin]) == [datetime(2026, 7, 1, 10, tzinfo=UTC)]
    assert replace(INTEGER, kind=Kind.MOMENT).taken([berlin.replace(tzinfo=None)]) is None


def test_a_week_is_seven_days() -> None:
    assert duration_us("1 week", "it") == 7 * DAY_US
