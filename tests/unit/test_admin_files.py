"""A reset of a stream into files: what was planned and perhaps written is gone before the offsets move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kafka_stream import DirectStream
from kafka_stream.admin.actions import apply_change, new_action
from kafka_stream.admin.reset import Reset, execute_reset
from kafka_stream.admin.reset_plan import Log, ToOffset
from kafka_stream.errors import CommandRefused
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.progress import StreamListener
from kafka_stream.protocols import ActionKind, Change
from kafka_stream.sinks.files import FileSink
from kafka_stream.testing import MemoryKafka
from kafka_stream.types import OffsetRange, Phase
from tests.fakes import ORDERS_0
from tests.file_results import ranges_in, rows_in

RECORDS = 50


class Killed(BaseException):
    """The process is gone."""


class KillAt(StreamListener):
    """Ends the third batch at a point."""

    def __init__(self, phase: Phase) -> None:
        self._phase = phase
        self._left = 3

    def on_phase(self, phase: Phase, ranges: object) -> None:
        if phase is self._phase:
            self._left -= 1
            if not self._left:
                raise Killed


def _rows(batch: Any) -> list[dict[str, Any]]:
    return [{"offset": message.offset()} for message in batch]


def _stream(kafka: MemoryKafka, directory: Path, **settings: Any) -> DirectStream:
    return DirectStream(
        name="files",
        topics=["orders"],
        kafka=kafka,
        store=f"sqlite:///{directory}/offsets.db",
        sink=FileSink(directory / "results", _rows),
        guarantee="effectively-once",
        assignment="static",
        max_records_per_batch=10,
        **settings,
    )


@pytest.fixture
def kafka() -> MemoryKafka:
    found = MemoryKafka({"orders": 1})
    for _ in range(RECORDS):
        found.produce("orders", "x", partition=0)
    return found


@pytest.mark.parametrize("phase", [Phase.AFTER_PLAN, Phase.AFTER_CLAIM, Phase.AFTER_WRITE, Phase.AFTER_ADVANCE])
@pytest.mark.parametrize("target", [15, 25, 40])
def test_what_was_planned_is_gone_before_the_offsets_move_and_what_follows_is_there_once(
    kafka: MemoryKafka, tmp_path: Path, phase: Phase, target: int
) -> None:
    results = tmp_path / "results"
    with pytest.raises(Killed):
        _stream(kafka, tmp_path, listeners=[KillAt(phase)]).run(until="latest")
    store = SqlOffsetStore(f"sqlite:///{tmp_path}/offsets.db")
    stored = store.positions("files")[ORDERS_0]
    assert stored.planned_until is not None
    planned = OffsetRange(ORDERS_0, stored.next_offset, stored.planned_until)
    reset = Reset("files", ToOffset(target), {ORDERS_0: Log(0, RECORDS, RECORDS)})
    with pytest.raises(CommandRefused, match="is planned and may be written"):
        execute_reset(store, reset)
    execute_reset(store, reset, range_sinks=[FileSink(results, _rows)])
    assert planned not in ranges_in(results)
    before = ranges_in(results)
    _stream(kafka, tmp_path).run(until="latest")
    store.close()

    after = [r for r in ranges_in(results) if r not in before]
    assert [r.from_offset for r in after] == [target, *(r.until_offset for r in after[:-1])]
    assert after[-1].until_offset == RECORDS
    read = {row["offset"] for row in rows_in(results)}
    assert read == {*range(stored.next_offset), *range(target, RECORDS)}


def test_what_moves_nothing_discards_nothing(kafka: MemoryKafka, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        _stream(kafka, tmp_path, listeners=[KillAt(Phase.AFTER_WRITE)]).run(until="latest")
    store = SqlOffsetStore(f"sqlite:///{tmp_path}/offsets.db")
    before = (store.positions("files"), ranges_in(tmp_path / "results"))
    nothing: list[Change] = []
    sink = FileSink(tmp_path / "results", _rows)
    apply_change(store, "files", [ORDERS_0], new_action(ActionKind.IMPORT), lambda _: nothing, [sink])
    assert (store.positions("files"), ranges_in(tmp_path / "results")) == before
    store.close()
