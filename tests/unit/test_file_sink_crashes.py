"""A service that writes files: killed at every point, frozen and woken late, restarted with whatever changed."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kafka_stream import DirectStream, OffsetRange, TopicPartition
from kafka_stream.errors import OffsetOutOfRange, OwnershipLost
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.testing import MemoryOffsetStore
from kafka_stream.types import OF_EVERY_BATCH, Phase
from tests.file_results import ranges_in, records_in, rows_in
from tests.file_service import TOPIC, SameKafka, Settings

TIMEOUT_S = 60
CALLS = ["before_fsync", "after_fsync", "before_replace", "after_replace"]
CRASHES = [
    *({"KAFKA_STREAM_TEST_KILL_AT": f"{phase}:{nth}"} for nth, phase in zip(itertools.cycle([1, 2]), OF_EVERY_BATCH)),
    *({"FILE_SERVICE_FAULT": f"{call}:3:SIGKILL"} for call in CALLS),
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(str(tmp_path / "results"), f"sqlite:///{tmp_path}/offsets.db")


@pytest.fixture
def committed() -> Counter[tuple[int, int, str]]:
    return Counter(SameKafka().committed)


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are ended with the test."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate(timeout=TIMEOUT_S)


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, errors


def planned(settings: Settings) -> set[OffsetRange]:
    store = SqlOffsetStore(settings.store)
    store.open()
    try:
        return {
            OffsetRange(tp, position.next_offset, position.planned_until)
            for tp, position in store.positions("orders").items()
            if position.planned_until is not None
        }
    finally:
        store.close()


def assert_contiguous(ranges: list[OffsetRange]) -> None:
    for one, following in itertools.pairwise(ranges):
        if one.topic_partition == following.topic_partition:
            assert one.until_offset <= following.from_offset, f"{one} and {following} overlap"


def test_every_record_is_in_the_files_once_through_every_crash(
    settings: Settings, committed: Counter[tuple[int, int, str]]
) -> None:
    directory = Path(settings.directory)
    sizes = itertools.cycle([12, 5, 20, 7])
    assignments = itertools.cycle(["static", "group"])
    formats: Iterator[Any] = itertools.cycle(["jsonl", "parquet", "jsonl"])
    for number, environment in enumerate(CRASHES):
        changed = replace(
            settings,
            code=str(number),
            max_records=next(sizes),
            assignment=next(assignments),
            format=next(formats),
        )
        status, errors = end(changed.start(**environment))
        assert status == -signal.SIGKILL, f"{environment}: {errors}"
        found = records_in(directory)
        assert found <= committed, f"{environment}: {found - committed} is too much"
        assert_contiguous(ranges_in(directory))
    assert records_in(directory).total() < committed.total(), "every kill was to hit amid the work"

    settings.stream(SameKafka()).run(until="latest")
    assert records_in(directory) == committed
    assert_contiguous(ranges_in(directory))
    assert planned(settings) == set()


@pytest.mark.parametrize(
    ("phase", "change"),
    [
        (Phase.AFTER_PLAN, {"max_records": 1}),
        (Phase.AFTER_WRITE, {"max_records": 1_000}),
        (Phase.AFTER_CLAIM, {"assignment": "group"}),
        (Phase.AFTER_WRITE, {"assignment": "static:1/2"}),
        (Phase.AFTER_ADVANCE, {"format": "parquet"}),
    ],
    ids=str,
)
def test_a_restart_repeats_exactly_the_planned_ranges(settings: Settings, phase: Phase, change: dict[str, Any]) -> None:
    directory = Path(settings.directory)
    status, errors = end(settings.start(KAFKA_STREAM_TEST_KILL_AT=f"{phase}:3"))
    assert status == -signal.SIGKILL, errors
    left = planned(settings)
    assert left
    before = set(ranges_in(directory))

    replace(settings, code="2", **change).stream(SameKafka()).run(until="latest")
    ours = {r for r in left if change != {"assignment": "static:1/2"} or r.partition == 1}
    assert ours <= set(ranges_in(directory)), "they are files, each of exactly the range that was planned"
    assert planned(settings) == left - ours, "what is another shard's is left to it"
    for r in ours:
        of_range = [row for row in rows_in(directory) if row["partition"] == r.partition and row["offset"] in r]
        assert {row["code"] for row in of_range} == {"2"}, "by the code that repeated it"
    for r in before - left:
        of_range = [row for row in rows_in(directory) if row["partition"] == r.partition and row["offset"] in r]
        assert {row["code"] for row in of_range} == {"1"}, "what was committed is left alone"


def test_an_owner_that_was_frozen_before_its_transaction_finds_that_it_was_replaced(
    settings: Settings, committed: Counter[tuple[int, int, str]], started: list[subprocess.Popen[str]]
) -> None:
    directory = Path(settings.directory)
    zombie = settings.start(KAFKA_STREAM_TEST_PAUSE_AT=f"{Phase.AFTER_PLAN}:3")
    started.append(zombie)
    wait_until_stopped(zombie)
    replace(settings, code="2", max_records=1_000).stream(SameKafka()).run(until="latest")
    assert records_in(directory) == committed
    before = rows_in(directory)

    zombie.send_signal(signal.SIGCONT)
    status, errors = end(zombie)
    assert status == 1
    assert "OwnershipLost" in errors
    assert rows_in(directory) == before


def wait_until_stopped(process: subprocess.Popen[str]) -> None:
    ended, status = os.waitpid(process.pid, os.WUNTRACED)
    assert ended == process.pid
    assert os.WIFSTOPPED(status)


class Frozen:
    """A stream on a thread of its own that stands still within the first call of a function, until it is thawed.

    In a thread, since a store in a file keeps a successor out for as long as the owner of a transaction is frozen.
    """

    def __init__(self, stream: DirectStream, where: tuple[Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._stream = stream
        self._reached, self._thawed = threading.Event(), threading.Event()
        main, original = threading.get_ident(), getattr(*where)

        def freezing(*arguments: Any, **options: Any) -> Any:
            if threading.get_ident() != main and not self._reached.is_set():
                self._reached.set()
                assert self._thawed.wait(TIMEOUT_S)
            return original(*arguments, **options)

        monkeypatch.setattr(*where, freezing)
        stream.start()
        assert self._reached.wait(TIMEOUT_S), stream.status()

    def thaw(self) -> BaseException:
        """Let it go on; return what stopped it."""
        self._thawed.set()
        with pytest.raises(BaseException) as stopped:
            self._stream.wait(TIMEOUT_S)
        return stopped.value


WITHIN_WRITE = [(Path, "open"), (os, "fsync"), (os, "replace")]


@pytest.mark.parametrize("where", WITHIN_WRITE, ids=["open", "fsync", "replace"])
def test_an_owner_that_was_frozen_within_its_write_adds_and_replaces_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, where: tuple[Any, str]
) -> None:
    directory, store, kafka = Path(settings.directory), MemoryOffsetStore(), SameKafka()
    directory.mkdir()
    zombie = Frozen(settings.stream(kafka, store=store), where, monkeypatch)
    replace(settings, code="2", max_records=1_000).stream(kafka, store=store).run(until="latest")
    assert records_in(directory) == Counter(kafka.committed)
    before = rows_in(directory)
    assert {row["code"] for row in before} == {"2"}

    assert isinstance(zombie.thaw(), OwnershipLost)
    assert rows_in(directory) == before


@pytest.mark.parametrize("where", WITHIN_WRITE, ids=["open", "fsync", "replace"])
def test_a_range_that_was_discarded_does_not_come_back_with_its_frozen_owner(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, where: tuple[Any, str]
) -> None:
    directory, store, kafka = Path(settings.directory), MemoryOffsetStore(), SameKafka()
    directory.mkdir()
    zombie = Frozen(settings.stream(kafka, store=store), where, monkeypatch)
    lost = OffsetRange(TopicPartition(TOPIC, 0), 0, 50)
    kafka.delete_records(TOPIC, 0, before_offset=lost.until_offset)
    successor = replace(settings, max_records=1_000).stream(kafka, store=store, on_data_loss="earliest")
    successor.run(until="latest")
    left = [record for record in kafka.committed if record[0] != 0 or record[1] >= lost.until_offset]
    assert records_in(directory) == Counter(left)

    assert isinstance(zombie.thaw(), OwnershipLost | OffsetOutOfRange), "whatever it notices first"
    assert records_in(directory) == Counter(left)
