"""What a stream reports about itself."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast

import pytest

from kafka_stream.progress import Listeners, StreamListener, StreamState, StreamStatus
from kafka_stream.protocols import BatchProgress, Listener
from kafka_stream.types import Guarantee, OffsetRange, Owner, Phase, TopicPartition
from tests.fakes import ORDERS_0

OWNER = Owner("me", "here")
RANGES = (OffsetRange(ORDERS_0, 0, 5),)
PROGRESS = BatchProgress(
    stream="s",
    batch=1,
    ranges=RANGES,
    records=3,
    bytes=30,
    prepare_s=0.5,
    claim_s=0.25,
    write_s=1.0,
    commit_s=2.0,
    lag={ORDERS_0: None},
    guarantee=Guarantee.EXACTLY_ONCE,
    committed_at=datetime(2026, 1, 1, tzinfo=UTC),
)
CALLS = {
    "on_start": ("s", OWNER, Guarantee.EXACTLY_ONCE),
    "on_positions": ({ORDERS_0: 1},),
    "on_phase": (Phase.AFTER_FETCH, RANGES),
    "on_batch": (PROGRESS,),
    "on_retry": (ValueError("x"), 0.1),
    "on_released": ((ORDERS_0,),),
    "on_moved": (ORDERS_0, 1, 2),
    "on_settled": (True,),
    "on_pinned": ({ORDERS_0: PROGRESS.committed_at},),
    "on_stop": (None,),
}


class Recording(StreamListener):
    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[object, ...]]] = []

    def __getattribute__(self, name: str) -> object:
        if name in CALLS:
            return lambda *arguments: self.told.append((name, arguments))
        return super().__getattribute__(name)


class Failing(StreamListener):
    def __getattribute__(self, name: str) -> object:
        if name in CALLS:
            raise ValueError("a listener's own fault")
        return super().__getattribute__(name)


def test_the_calls_are_those_of_the_port() -> None:
    assert {name for name in vars(Listener) if name.startswith("on_")} == set(CALLS)
    assert {name for name in vars(Listeners) if name.startswith("on_")} == set(CALLS)


@pytest.mark.parametrize("call", CALLS)
def test_a_listener_that_does_nothing_may_be_told_everything(call: str) -> None:
    assert getattr(StreamListener(), call)(*CALLS[call]) is None


@pytest.mark.parametrize("call", CALLS)
def test_a_failing_listener_is_logged_and_the_others_are_told(call: str, caplog: pytest.LogCaptureFixture) -> None:
    before, after = Recording(), Recording()
    listeners = Listeners([before, Failing(), after])
    with caplog.at_level(logging.ERROR, "kafka_stream"):
        getattr(listeners, call)(*CALLS[call])
    assert before.told == after.told == [(call, CALLS[call])]
    assert "failed; the stream goes on" in caplog.text
    assert "a listener's own fault" in caplog.text


def test_a_batchs_duration_is_the_sum_of_its_parts() -> None:
    assert PROGRESS.duration_s == 3.75


def test_a_status_is_a_frozen_snapshot() -> None:
    status = StreamStatus()
    assert (status.state, status.error, status.batches, status.positions) == (StreamState.NEW, None, 0, {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        status.batches = 2  # type: ignore[misc]


def test_what_a_listener_does_to_what_it_is_told_no_other_one_sees() -> None:
    class Clearing(StreamListener):
        def on_positions(self, positions: Mapping[TopicPartition, int]) -> None:
            cast("dict[TopicPartition, int]", positions).clear()

        def on_batch(self, progress: BatchProgress) -> None:
            cast("dict[TopicPartition, int]", progress.lag).clear()

    class Keeping(StreamListener):
        def on_positions(self, positions: Mapping[TopicPartition, int]) -> None:
            kept.append(dict(positions))

        def on_batch(self, progress: BatchProgress) -> None:
            kept.append(dict(progress.lag))

    kept: list[dict[TopicPartition, int | None]] = []
    told = Listeners([Clearing(), Keeping(), Clearing(), Keeping()])
    positions = {ORDERS_0: 1}
    told.on_positions(positions)
    told.on_batch(PROGRESS)
    assert kept == [{ORDERS_0: 1}, {ORDERS_0: 1}, {ORDERS_0: None}, {ORDERS_0: None}]
    assert (positions, PROGRESS.lag) == ({ORDERS_0: 1}, {ORDERS_0: None})
