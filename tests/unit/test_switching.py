"""The interval at which Python's threads take turns while a stream runs on the main thread."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_stream.interpreter import switching_often
from tests.unit.test_collector import stream

DEFAULT_S = 0.005


@pytest.fixture(autouse=True)
def intervals() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(DEFAULT_S)
    yield
    sys.setswitchinterval(before)


class Seen(list[object]):
    """Remembers the interval instead of what it is given."""

    def append(self, _: object) -> None:
        super().append(sys.getswitchinterval())


def test_run_on_the_main_thread_has_them_switch_often(tmp_path: Path) -> None:
    seen = Seen()
    stream(tmp_path, seen).run(until="latest")
    assert seen == [pytest.approx(0.0005)]
    assert sys.getswitchinterval() == pytest.approx(DEFAULT_S)


def test_a_stream_inside_another_program_leaves_it_alone(tmp_path: Path) -> None:
    seen = Seen()
    with stream(tmp_path, seen) as running:
        while not seen:
            running.wait(0.01)
    assert seen == [pytest.approx(DEFAULT_S)]


@pytest.mark.parametrize("chosen_s", [0.0001, 0.002, 0.02])
def test_an_interval_that_the_program_has_chosen_stays(chosen_s: float) -> None:
    sys.setswitchinterval(chosen_s)
    with switching_often():
        assert sys.getswitchinterval() == pytest.approx(chosen_s)
    assert sys.getswitchinterval() == pytest.approx(chosen_s)


def test_an_interval_that_is_chosen_meanwhile_stays() -> None:
    with switching_often():
        sys.setswitchinterval(0.002)
    assert sys.getswitchinterval() == pytest.approx(0.002)
