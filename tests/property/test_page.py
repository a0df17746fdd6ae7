"""A page has the same elements whatever streams, topics and errors are called; an hour is never more than one."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from kafka_stream.observe.page.charts import HEIGHT, WIDTH, line_chart
from kafka_stream.observe.page.model import Line, PartitionView, shown
from kafka_stream.observe.page.render import page
from kafka_stream.observe.page.samples import OffsetsMoved, Samples, lag_line, partition_rate, rate, rate_line, sample
from kafka_stream.types import TopicPartition
from tests.page_views import NOW, Seen, a_page, a_stream

MARKUP = st.sampled_from(["<", ">", '"', "'", "&", "</style>", "<script>", "{{", "}}", "{%", "<!--", "]]>", "\0", "%s"])
TEXTS = st.lists(st.one_of(MARKUP, st.text(max_size=5)), min_size=1, max_size=6).map("".join)
PLAIN = Seen(page(a_page(text="orders"))).elements


@given(TEXTS)
def test_no_text_becomes_an_element_or_an_attribute(text: str) -> None:
    found = Seen(page(a_page(text=text)))
    assert found.elements == PLAIN
    assert all(tag != "script" for tag, *_ in found.elements)
    hrefs = {value for _, name, value in found.attributes if name in {"href", "src", "action"}}
    assert hrefs <= {"#streams", "?refresh=off", "#stream-1", "#stream-2", "status"}


@given(TEXTS.filter(lambda text: text.strip() and "\r" not in text))
def test_a_text_is_shown_as_it_is(text: str) -> None:
    assert any(text.strip() in found for found in Seen(page(a_page(a_stream(text), text="page"))).texts)


NUMBERS = st.one_of(st.none(), st.integers(0, 2**63), st.floats(0, 1e300))
LINES = st.lists(st.tuples(st.floats(0, 3600), NUMBERS), max_size=30).map(
    lambda found: tuple((NOW + timedelta(seconds=at), value) for at, value in sorted(found, key=lambda it: it[0]))
)


@given(LINES, st.integers(1, 40))
def test_a_line_stays_within_its_chart_and_has_so_many_points_at_most(line: Line, points: int) -> None:
    drawn = Seen(str(line_chart(line, "lag", points=points)))
    lines = [value for tag, name, value in drawn.attributes if (tag, name) == ("polyline", "points")]
    assert sum(len(value.split()) for value in lines) <= points + 1
    for _, name, value in drawn.attributes:
        for point in value.split() if name == "points" else ():
            x, y = map(float, point.split(","))
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT


STEPS = st.lists(st.tuples(st.floats(0, 100), st.integers(0, 1_000)), max_size=40)
A, B = TopicPartition("orders", 0), TopicPartition("orders", 1)


@given(STEPS, st.integers(1, 10))
def test_an_hour_is_bounded_and_no_rate_is_negative(steps: list[tuple[float, int]], kept: int) -> None:
    samples, moved, at, last = Samples(kept), OffsetsMoved(), NOW, 0
    for after_s, offset in steps:
        at += timedelta(seconds=after_s)
        offsets = {A: offset, B: 7}
        now_moved = moved.by_now(offsets)
        assert now_moved >= last
        last = now_moved
        samples.add(sample(at, now_moved, offsets, {A: offset, B: None}))
    found = samples.all()
    assert len(found) == min(len(steps), kept)
    assert [value for _, value in lag_line(found)] == [offset for _, offset in steps[-len(found) :] if found]
    rates = [rate(found), partition_rate(found, A), partition_rate(found, B), *(each for _, each in rate_line(found))]
    assert all(each is None or each >= 0 for each in rates)


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=200))
def test_of_many_partitions_those_that_need_somebody_are_shown(found: list[tuple[int, bool]]) -> None:
    views = [PartitionView("t", n, 0, lag, marks=("held",) * held) for n, (lag, held) in enumerate(found)]
    chosen = shown(views)
    assert len(chosen) == min(len(views), 50)
    assert list(chosen) == [each for each in views if each in chosen]
    left_out = [each for each in views if each not in chosen]
    assert not left_out or all(each.marks for each in chosen) or not any(each.marks for each in left_out)
