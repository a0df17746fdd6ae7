"""Ctrl-C is remembered, where its exception is lost."""

from __future__ import annotations

import os
import signal

import pytest

from kafka_stream.cli.interrupts import interrupts
from kafka_stream.cli.offsets.describe import watch


def test_a_signal_raises_and_is_remembered() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interrupts(signal.SIGTERM) as interrupted:
        assert not interrupted()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        assert interrupted()
    assert signal.getsignal(signal.SIGTERM) is before


class Interrupting:
    """Its finaliser is interrupted, where Python tells nobody."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_watch_ends_though_the_exception_was_lost() -> None:
    looks: list[int] = []

    def look() -> int:
        Interrupting()
        looks.append(1)
        return len(looks)

    watch(look, lambda found: None, 0.0, lambda seconds: None)
    assert looks == [1]
