"""Files beside ``on_error="dead-letter"`` hold the good records only, and are the same however often they come."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from kafka_stream import Batch, DeadLetters, DirectStream, OffsetRange
from kafka_stream.progress import StreamListener
from kafka_stream.sinks.files import FileSink
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from kafka_stream.types import Phase

TOPIC, PARTITIONS, RECORDS = "orders", 2, 40
BAD = {(0, 0), (0, 7), (1, 19), (1, 39)}
"""At both ends of partitions, and in their midst."""


class Killed(BaseException):
    """In place of the process's end: nothing of it is caught."""


class KilledAt(StreamListener):
    """Ends the run at the first time that a phase is reached."""

    def __init__(self, phase: Phase) -> None:
        self.phase = phase
        self.reached = False

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        if phase is self.phase:
            self.reached = True
            raise Killed


def refused_by_sink(batch: Batch) -> Any:
    """NaN is no JSON: ``FileSink`` refuses the row."""
    return [{**json.loads(m.value() or b""), "share": math.nan if m.value() == b"{}" else 0.5} for m in batch]


def refused_by_decoding(batch: Batch) -> Any:
    return [{"n": row["n"]} for _, row in batch.decoded(json.loads)]


def nameless(batch: Batch) -> Any:
    """Fails without saying because of which record."""
    return [{"n": json.loads(m.value() or b"")["n"]} for m in batch]


def rejected(batch: Batch) -> Any:
    rows = []
    for message, row in batch.decoded(json.loads):
        if row:
            rows.append(row)
        else:
            batch.reject(message, "it is empty")
    return rows


MAKERS = [refused_by_sink, refused_by_decoding, nameless, rejected]


@cache
def kafka() -> MemoryKafka:
    """The same log for all: nothing is added to it."""
    filled = MemoryKafka({TOPIC: PARTITIONS})
    for partition in range(PARTITIONS):
        for number in range(RECORDS):
            value = {} if (partition, number) in BAD else {"n": f"{partition}-{number}"}
            filled.produce(TOPIC, json.dumps(value), partition=partition)
    return filled


def run(directory: Path, store: MemoryOffsetStore, to_rows: Callable[[Batch], Any], **options: Any) -> None:
    DirectStream(
        name="s",
        topics=[TOPIC],
        kafka=kafka(),
        store=store,
        sink=FileSink(directory, to_rows),
        assignment="static",
        guarantee="effectively-once",
        on_error="dead-letter",
        dead_letters=DeadLetters(max_ratio=0.5),
        **{"max_records_per_batch": 25, **options},
    ).run(until="latest")


def found(directory: Path) -> dict[str, list[str]]:
    """The rows of each file."""
    return {
        path.name: [json.loads(line)["n"] for line in path.read_text().splitlines()]
        for path in sorted(directory.glob("*.jsonl"))
    }


def check(directory: Path, store: MemoryOffsetStore) -> None:
    rows = [row for rows in found(directory).values() for row in rows]
    good = [f"{p}-{n}" for p in range(PARTITIONS) for n in range(RECORDS) if (p, n) not in BAD]
    assert sorted(rows) == sorted(good)
    assert {(letter.id.partition, letter.id.offset) for letter in store.letters("s")} == BAD
    assert {position.next_offset for position in store.positions("s").values()} == {RECORDS}


@pytest.mark.parametrize("to_rows", MAKERS)
def test_files_hold_the_good_records_and_the_others_are_set_aside(
    to_rows: Callable[[Batch], Any], tmp_path: Path
) -> None:
    store = MemoryOffsetStore()
    run(tmp_path, store, to_rows)
    check(tmp_path, store)
    assert {letter.attempts for letter in store.letters("s")} == {1}


@pytest.mark.parametrize("phase", [Phase.AFTER_PLAN, Phase.AFTER_WRITE, Phase.AFTER_SET_ASIDE])
@pytest.mark.parametrize("to_rows", MAKERS)
def test_after_a_kill_the_same_files_come_again(to_rows: Callable[[Batch], Any], phase: Phase, tmp_path: Path) -> None:
    whole, store, kill = MemoryOffsetStore(), MemoryOffsetStore(), KilledAt(phase)
    run(tmp_path / "whole", whole, to_rows)
    directory = tmp_path / "killed"
    with pytest.raises(Killed):
        run(directory, store, to_rows, listeners=[kill])
    assert kill.reached
    before = found(directory)
    assert [letter.id for letter in store.letters("s")] == [], "nothing was committed"
    run(directory, store, to_rows)
    check(directory, store)
    after = found(directory)
    assert {name: after[name] for name in before} == before, "what was written is what comes again"
    assert after == found(tmp_path / "whole")
    assert {letter.attempts for letter in store.letters("s")} == {1}


def test_a_refused_row_is_found_by_its_name(tmp_path: Path) -> None:
    """Rows are made once of the batch, about twice to find each, and once more without them."""
    made: list[int] = []

    def counted(batch: Batch) -> Any:
        made.append(len(batch))
        return refused_by_sink(batch)

    store = MemoryOffsetStore()
    run(tmp_path, store, counted, max_records_per_batch=1_000)
    check(tmp_path, store)
    assert sum(made) <= len(BAD) * 4 * RECORDS * PARTITIONS
