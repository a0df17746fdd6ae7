"""However a log is cut into slices and these into pieces: nothing is missing, nothing twice, and pieces are small."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from kafka_stream.executors.pieces import Piece, PieceCutter
from kafka_stream.source.buffer import count_before
from kafka_stream.types import OffsetRange
from tests.fakes import ORDERS_0, record

END = 60
RECORD_BYTES = 100

logs = st.dictionaries(st.integers(0, END - 1), st.integers(0, 300), max_size=40).map(
    lambda sizes: [record(offset, b"x" * size if size else None) for offset, size in sorted(sizes.items())]
)
cuts = st.lists(st.integers(0, END), max_size=6).map(lambda inner: sorted({0, END, *inner}))


def pieces_of(whole: OffsetRange, chunks: Sequence[Sequence[Message]], piece_bytes: int | None) -> list[Piece]:
    cutter = PieceCutter(whole, piece_bytes)
    found = [piece for chunk in chunks for piece in cutter.add(chunk)]
    return [*found, *cutter.finish()]


def size_of(piece: Piece) -> int:
    return piece.value_bytes + RECORD_BYTES * len(piece.messages)


@given(log=logs, at=cuts, chunk=st.integers(1, 10), piece_bytes=st.none() | st.integers(1, 1_000))
def test_pieces_cover_their_slice_and_hold_its_records(
    log: list[Message], at: list[int], chunk: int, piece_bytes: int | None
) -> None:
    together: list[Message] = []
    for begin, until in pairwise(at):
        whole = OffsetRange(ORDERS_0, begin, until)
        records = log[count_before(log, begin, len(log)) : count_before(log, until, len(log))]
        found = pieces_of(whole, [records[n : n + chunk] for n in range(0, len(records), chunk)], piece_bytes)
        assert [m for piece in found for m in piece.messages] == records
        if found:
            ends = [begin, *(piece.range.until_offset for piece in found)]
            assert [piece.range.from_offset for piece in found] == ends[:-1]
            assert ends[-1] == until
        for piece in found:
            assert piece.messages
            assert all((m.offset() or 0) in piece.range for m in piece.messages)
            assert piece.value_bytes == sum(map(len, piece.messages))
            if piece_bytes is None:
                assert piece.range == whole
            else:
                assert len(piece.messages) == 1 or size_of(piece) <= piece_bytes
        together += [m for piece in found for m in piece.messages]
    assert together == log


@given(log=logs, chunks=st.lists(st.integers(1, 10), min_size=1), piece_bytes=st.integers(1, 1_000))
def test_pieces_do_not_depend_on_how_records_come(log: list[Message], chunks: list[int], piece_bytes: int) -> None:
    whole = OffsetRange(ORDERS_0, 0, END)
    parts, rest = [], list(log)
    for size in chunks:
        parts.append(rest[:size])
        rest = rest[size:]
    assert pieces_of(whole, [*parts, rest], piece_bytes) == pieces_of(whole, [log], piece_bytes)


@given(log=logs, offset=st.integers(0, END + 1))
def test_records_before_an_offset(log: list[Message], offset: int) -> None:
    assert count_before(log, offset, len(log)) == sum((m.offset() or 0) < offset for m in log)
