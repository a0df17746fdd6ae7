"""What is shown of a running stream, by its status and its watch, and of one that a store knows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from kafka_stream.errors import BrokerUnavailable, ProcessingError, RecordError, StoreUnavailable
from kafka_stream.observe.page.model import StreamView, Tone
from kafka_stream.observe.page.of_status import stream_view
from kafka_stream.observe.page.render import page
from kafka_stream.observe.page.watching import BATCHES_KEPT, ERRORS_KEPT, StreamWatch
from kafka_stream.progress import StreamState, StreamStatus
from kafka_stream.testing import MemoryOffsetStore
from kafka_stream.types import Guarantee, Owner, TopicPartition
from tests.page_views import NOW, Seen, a_page
from tests.simulation import ResultsStore, Simulation, eventually, twenty_each

A, B = TopicPartition("orders", 0), TopicPartition("orders", 1)
RUNNING = StreamStatus(
    StreamState.RUNNING,
    Owner("0123456789abcdef", "host-1", "v7"),
    Guarantee.EXACTLY_ONCE,
    {A: 5, B: 9},
    {A: 3, B: None},
    records=1_234,
    committed_at=NOW - timedelta(seconds=3),
)
AWAY = BrokerUnavailable("no broker answers at kafka:9092")


def _view(status: StreamStatus, watch: StreamWatch | None = None) -> StreamView:
    return stream_view("orders", status, watch, NOW)


def test_a_stream_at_work() -> None:
    view = _view(RUNNING)
    assert (view.state, view.lag, view.partitions_count) == ("running", 3, 2)
    assert dict(view.facts) == {
        "promise": "exactly-once",
        "runs on": "host-1 (01234567)",
        "code": "v7",
        "batches": "0",
        "records": "1,234",
    }
    assert [(each.topic, each.partition, each.next_offset, each.lag) for each in view.partitions] == [
        ("orders", 0, 5, 3),
        ("orders", 1, 9, None),
    ]
    assert (view.batches, view.errors, view.history, view.letters) == (None, None, None, None)


@pytest.mark.parametrize(
    ("status", "tone", "said"),
    [
        (StreamStatus(), Tone.QUIET, ""),
        (StreamStatus(StreamState.STOPPED), Tone.QUIET, ""),
        (replace(RUNNING, lag={A: 3, B: 0}), Tone.GOOD, ""),
        (RUNNING, Tone.QUIET, "the end of 1 partition(s) is not known"),
        (replace(RUNNING, pinned={B: NOW - timedelta(minutes=4)}), Tone.WARNING, "orders[1] held an open transaction"),
        (replace(RUNNING, state=StreamState.RETRYING, error=AWAY), Tone.WARNING, "BrokerUnavailable no broker answers"),
        (replace(RUNNING, batch_started_at=NOW - timedelta(hours=1)), Tone.BAD, "has been for 3600 s"),
        (replace(RUNNING, state=StreamState.FAILED, error=AWAY), Tone.BAD, "BrokerUnavailable no broker answers"),
        (replace(RUNNING, state=StreamState.FAILED), Tone.BAD, "not alive the stream has failed"),
    ],
)
def test_how_much_somebody_is_needed(status: StreamStatus, tone: Tone, said: str) -> None:
    view = _view(status)
    assert view.tone is tone
    assert said in " ".join(f"{note.about} {note.sentence}" for note in view.notes)


def test_nothing_that_user_code_has_raised_is_shown() -> None:
    of_record = RecordError("the row of ada@example.org", topic="orders", partition=1, offset=42)
    for error, said in ((ProcessingError("ada@example.org"), "may hold"), (of_record, "record orders[1]@42")):
        watch = StreamWatch()
        watch.on_stop(error)
        html = page(a_page(_view(replace(RUNNING, state=StreamState.FAILED, error=error), watch)))
        assert "ada@example.org" not in html
        assert Seen(html).text.count(said) == 2
    watch = StreamWatch()
    watch.on_retry(ConnectionError("ada@example.org"), 1.0)
    assert [note.about for note in watch.errors()] == ["ConnectionError"]
    assert "ada" not in watch.errors()[0].sentence


def test_no_password_is_shown() -> None:
    watch = StreamWatch()
    watch.on_retry(StoreUnavailable("nobody answers at postgresql://me:hunter2@db/shop"), 1.0)
    status = replace(RUNNING, error=BrokerUnavailable("sasl://me:hunter2@kafka"))
    html = page(a_page(_view(status, watch)))
    assert "hunter2" not in html
    assert "postgresql://me:***@db/shop" in html


def test_a_watch_remembers_so_much_and_no_more() -> None:
    watch = StreamWatch()
    for number in range(ERRORS_KEPT + 5):
        watch.on_retry(BrokerUnavailable(f"{number}"), 1.0)
    assert [note.sentence for note in watch.errors()] == [f"{n}" for n in range(5, ERRORS_KEPT + 5)]


def test_what_a_watch_has_seen_of_a_run() -> None:
    watch = StreamWatch(every_s=0.01)
    run = Simulation(twenty_each(), ResultsStore(MemoryOffsetStore()), listeners=[watch])
    run.at(60, run.stop)
    run.run()
    assert watch.stream == "s"
    assert 1 <= len(watch.batches()) <= BATCHES_KEPT
    assert sum(batch.records for batch in watch.batches()) == 40
    assert [name for name, _ in watch.batches()[0].phases] == ["prepare", "claim", "write", "commit"]
    eventually(lambda: len(watch.samples()) > 0, "a sample")


def test_the_hour_of_a_stream() -> None:
    at = iter([NOW - timedelta(seconds=20), NOW - timedelta(seconds=10), NOW])
    watch = StreamWatch(now=lambda: next(at))
    for moved in (0, 100, 300):
        positions = {A: moved, B: 9}
        watch.look(replace(RUNNING, records=moved, positions=positions, lag={A: 300 - moved, B: None}))
    view = _view(replace(RUNNING, positions={A: 300, B: 9}), watch)
    assert view.rate == 15
    assert [value for _, value in view.rate_line] == [10, 15]
    assert [value for _, value in view.lag_line] == [300, 200, 0]
    assert [each.rate for each in view.partitions] == [15, 0]
    assert [value for _, value in view.partitions[0].lag_line] == [300, 200, 0]


def test_a_stream_with_many_partitions_keeps_sums_alone() -> None:
    many = {TopicPartition("orders", n): 5 for n in range(1_000)}
    watch = StreamWatch()
    watch.look(replace(RUNNING, positions=many, lag=dict.fromkeys(many, 2)))
    assert [(each.lag, dict(each.partitions)) for each in watch.samples()] == [(2_000, {})]
    view = _view(replace(RUNNING, positions=many, lag=dict.fromkeys(many, 2)), watch)
    assert (len(view.partitions), view.partitions_count) == (50, 1_000)
