"""Slices cover a batch's ranges exactly, in order, and are as even as offsets tell."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from kafka_stream.engine.elsewhere.slicing import LEAST_OFFSETS, sliced
from kafka_stream.types import OffsetRange, TopicPartition

RANGES = st.dictionaries(
    st.builds(TopicPartition, st.sampled_from(["a", "b"]), st.integers(0, 9)),
    st.tuples(st.integers(0, 10**12), st.integers(0, 20_000)),
    max_size=6,
)


@given(found=RANGES, slots=st.integers(1, 16), whole=st.booleans())
def test_slices_cover_the_ranges(found: Mapping[TopicPartition, tuple[int, int]], slots: int, *, whole: bool) -> None:
    ranges = [OffsetRange(tp, begin, begin + length) for tp, (begin, length) in sorted(found.items())]
    epochs = {(r.topic_partition, r.from_offset): number for number, r in enumerate(ranges)}
    slices = sliced(ranges, slots, lambda tp, offset: epochs.get((tp, offset)), whole=whole)
    expected = [offset for r in ranges if r for offset in (r.from_offset, r.until_offset)]
    joined: list[int] = []
    for each in slices:
        assert each.range
        is_next = bool(joined) and joined[-1] == each.range.from_offset
        if is_next and (each.range.topic_partition, each.range.from_offset) not in epochs:
            joined.pop()
            joined.append(each.range.until_offset)
        else:
            joined += [each.range.from_offset, each.range.until_offset]
        assert each.leader_epoch == epochs.get((each.range.topic_partition, each.range.from_offset))
    assert joined == expected
    assert [each.range.topic_partition for each in slices] == sorted(each.range.topic_partition for each in slices)
    if whole:
        assert len(slices) == sum(map(bool, ranges))


@given(length=st.integers(1, 100_000), slots=st.integers(1, 16))
def test_one_partition_keeps_all_workers_busy(length: int, slots: int) -> None:
    r = OffsetRange(TopicPartition("a", 0), 7, 7 + length)
    lengths = [len(each.range) for each in sliced([r], slots, lambda *_: None, whole=False)]
    assert len(lengths) == (slots if length > slots * LEAST_OFFSETS else -(-length // LEAST_OFFSETS))
    assert max(lengths) - min(lengths) <= 1
