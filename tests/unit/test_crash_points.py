"""Crash points: what they count, and that they kill or freeze their own process."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from kafka_stream.testing.crash_points import KillAt, PauseAt
from kafka_stream.types import OF_EVERY_BATCH, OffsetRange, Phase, TopicPartition

RANGES = (OffsetRange(TopicPartition("orders", 0), 5, 9),)
WITHOUT_RECORDS: list[Phase] = [phase for phase in OF_EVERY_BATCH if phase is not Phase.AFTER_PREPARE]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append((pid, number)))
    return signals


@pytest.mark.parametrize("phase", OF_EVERY_BATCH)
@pytest.mark.parametrize(("kind", "number"), [(KillAt, signal.SIGKILL), (PauseAt, signal.SIGSTOP)])
def test_the_nth_batch_that_comes_to_a_phase(
    sent: list[tuple[int, int]], kind: type[KillAt | PauseAt], number: signal.Signals, phase: Phase
) -> None:
    listener = kind(phase, nth=2)
    reached = [*OF_EVERY_BATCH, *OF_EVERY_BATCH[: OF_EVERY_BATCH.index(phase)]]
    for earlier in reached:
        listener.on_phase(earlier, RANGES)
    assert sent == []
    for _ in range(2):
        listener.on_phase(phase, RANGES)
        assert sent == [(os.getpid(), number)]


def test_batches_without_records_are_not_counted(sent: list[tuple[int, int]]) -> None:
    listener = KillAt("after_write")
    for without_records in WITHOUT_RECORDS:
        listener.on_phase(without_records, RANGES)
    assert not sent
    for phase in OF_EVERY_BATCH:
        listener.on_phase(phase, RANGES)
    assert len(sent) == 1


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_STREAM_TEST_KILL_AT", raising=False)
    assert KillAt.from_env() is None
    monkeypatch.setenv("KAFKA_STREAM_TEST_KILL_AT", "after_write:3")
    found = KillAt.from_env()
    assert found is not None
    assert (found.phase, found.nth) == (Phase.AFTER_WRITE, 3)
    monkeypatch.setenv("OTHER", "after_fetch")
    other = PauseAt.from_env("OTHER")
    assert other is not None
    assert (other.phase, other.nth) == (Phase.AFTER_FETCH, 1)


@pytest.mark.parametrize("text", ["after_lunch:1", "after_write:x", "after_write:0", ":2"])
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("KAFKA_STREAM_TEST_KILL_AT", text)
    with pytest.raises(ValueError, match=f"KAFKA_STREAM_TEST_KILL_AT={text}"):
        KillAt.from_env()


@pytest.mark.parametrize(("kind", "wait_for"), [(KillAt, os.WIFSIGNALED), (PauseAt, os.WIFSTOPPED)])
def test_the_process_is_really_killed_or_frozen(kind: type[KillAt | PauseAt], wait_for: object) -> None:
    code = (
        "from kafka_stream.testing.crash_points import *; from kafka_stream.types import Phase; "
        f"it = {kind.__name__}('after_fetch'); it.on_phase(Phase.AFTER_FETCH, ())"
    )
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", code], os.environ)
    try:
        _, status = os.waitpid(pid, os.WUNTRACED)
        assert callable(wait_for)
        assert wait_for(status)
    finally:
        if os.WIFSTOPPED(status):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
