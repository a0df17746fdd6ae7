"""The garbage collector's threshold while a stream runs on the main thread."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_stream import DirectStream
from kafka_stream.interpreter import collecting_less_often
from kafka_stream.testing import MemoryKafka

DEFAULT = (700, 10, 10)


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*DEFAULT)
    yield
    gc.set_threshold(*before)


def stream(path: Path, seen: list[Any]) -> DirectStream:
    kafka = MemoryKafka({"orders": 1})
    kafka.produce("orders", "x")
    return DirectStream(
        name="orders",
        topics=["orders"],
        kafka=kafka,
        store=f"sqlite:///{path}/t.db",
        sink=lambda batch, transaction: seen.append(gc.get_threshold()),
    )


def test_run_on_the_main_thread_has_it_look_less_often(tmp_path: Path) -> None:
    seen: list[Any] = []
    stream(tmp_path, seen).run(until="latest")
    assert seen == [(50_000, 10, 10)]
    assert gc.get_threshold() == DEFAULT


def test_a_stream_inside_another_program_leaves_it_alone(tmp_path: Path) -> None:
    seen: list[Any] = []
    with stream(tmp_path, seen) as running:
        while not seen:
            running.wait(0.01)
    assert seen == [DEFAULT]


@pytest.mark.parametrize("chosen", [(0, 10, 10), (5_000, 20, 100), (100_000, 10, 10)])
def test_a_threshold_that_the_program_has_chosen_stays(chosen: tuple[int, int, int]) -> None:
    gc.set_threshold(*chosen)
    with collecting_less_often():
        assert gc.get_threshold() == chosen
    assert gc.get_threshold() == chosen


def test_a_threshold_that_is_chosen_meanwhile_stays() -> None:
    with collecting_less_often():
        gc.set_threshold(9_000, 10, 10)
    assert gc.get_threshold() == (9_000, 10, 10)
