"""What batches told together come to, in the history."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from kafka_stream.engine.recorder import Recorder
from kafka_stream.protocols import ActionKind
from kafka_stream.testing import MemoryOffsetStore
from kafka_stream.testing.store_backend import OLDER, P0, STREAM
from kafka_stream.types import OffsetRange
from tests.unit.test_progress import PROGRESS


def test_batches_told_together_have_the_highest_attempt_and_all_their_dead_letters() -> None:
    store = MemoryOffsetStore()
    recorder = Recorder(store, STREAM, OLDER, timedelta(days=1), clock=lambda: 0.0)
    recorder.took_over({P0: 0})
    for begins, attempt, dead_letters in ((0, 1, 0), (5, 4, 2), (10, 2, 1)):
        ranges = (OffsetRange(P0, begins, begins + 5),)
        now = datetime.now(UTC)
        recorder.committed(
            replace(PROGRESS, ranges=ranges, records=5, attempt=attempt, dead_letters=dead_letters, committed_at=now)
        )
    recorder.stopped()
    (batches,) = store.history(STREAM, 10, [ActionKind.BATCH])
    assert (batches.from_offset, batches.until_offset, batches.records) == (0, 15, 15)
    assert (batches.attempt, batches.dead_letters) == (4, 3)
    (stop,) = store.history(STREAM, 10, [ActionKind.STOP])
    assert (stop.attempt, stop.dead_letters) == (None, None)
