"""Several sinks in one batch, on SQLite: one transaction for all of them, whatever happens between two of them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kafka_stream import DirectStream, Guarantee
from kafka_stream.errors import ProcessingError, SinkUnavailable
from kafka_stream.offset_stores.sql import SqlTransaction
from kafka_stream.types import Writes
from tests.declared_sinks import declared_sink
from tests.several_sinks import RECORDS, Places, prepare, stored, stream

ROOT = Path(__file__).parents[2]
EVERYWHERE_ONCE = [sorted(RECORDS)] * 3
BETWEEN = pytest.mark.parametrize("after", range(4), ids=["before", "after-1", "after-2", "after-all"])
"""How many of the three have written when something happens."""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'results.db'}"


def next_offsets(of: DirectStream) -> int:
    return sum(position.next_offset for position in of.store.positions("several").values())


def test_every_sink_gets_every_record_once(url: str) -> None:
    several = stream(url)
    assert several.guarantee is Guarantee.EXACTLY_ONCE
    assert several.run(until="latest").records == len(RECORDS)
    assert stored(url) == EVERYWHERE_ONCE


def test_every_sink_gets_the_very_value_that_was_prepared_once(url: str) -> None:
    given: list[Places] = []
    taken: list[Places] = []

    def prepare_and_keep(batch: Any) -> Places:
        given.append(prepare(batch))
        return given[-1]

    def write(places: Places, transaction: SqlTransaction) -> None:
        taken.append(places)

    stream(url, prepare=prepare_and_keep, sink=[write, write, write]).run(until="latest")
    assert len(given) > 1
    assert [id(one) for one in taken] == [id(one) for one in given for _ in range(3)]


@BETWEEN
def test_a_failure_between_two_sinks_takes_all_of_them_back(url: str, after: int) -> None:
    def fail(places: Places, transaction: SqlTransaction) -> None:
        raise KeyError("price")

    failing = stream(url, interrupted=fail, after=after)
    with pytest.raises(ProcessingError, match=r"fail failed on orders\[0\]"):
        failing.run(until="latest")
    assert (stored(url), next_offsets(failing)) == ([[], [], []], 0)
    stream(url).run(until="latest")
    assert stored(url) == EVERYWHERE_ONCE


@BETWEEN
def test_a_sink_that_is_unavailable_has_all_of_them_repeated(url: str, after: int) -> None:
    failures = [SinkUnavailable("not now")]

    def fail_once(places: Places, transaction: SqlTransaction) -> None:
        if failures:
            raise failures.pop()

    stream(url, interrupted=fail_once, after=after).run(until="latest")
    assert not failures
    assert stored(url) == EVERYWHERE_ONCE


@BETWEEN
def test_a_kill_between_two_sinks_leaves_whole_batches_and_nothing_is_lost_or_repeated(url: str, after: int) -> None:
    command = [sys.executable, "-m", "tests.several_sinks", url, str(after)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    one_batch = stored(url)
    assert one_batch[0] == one_batch[1] == one_batch[2]
    successor = stream(url)
    assert 0 < len(one_batch[0]) == next_offsets(successor) < len(RECORDS)
    successor.run(until="latest")
    assert stored(url) == EVERYWHERE_ONCE


def test_the_weakest_sink_decides_for_all_of_them(url: str) -> None:
    def write(places: Places, transaction: SqlTransaction) -> None:
        raise NotImplementedError

    def weakest(*sinks: Any) -> Guarantee:
        return stream(url, sink=sinks, guarantee="at-least-once").guarantee

    by_record, anything = declared_sink(Writes.IDEMPOTENT_BY_RECORD), declared_sink(Writes.ANYTHING)
    assert weakest(write, declared_sink(needs="sql")) is Guarantee.EXACTLY_ONCE
    assert weakest(write, by_record, write) is Guarantee.EFFECTIVELY_ONCE
    assert weakest(by_record, anything, write) is Guarantee.AT_LEAST_ONCE


class _Halving:
    """Lets those behind it have the first half of what it gets."""

    writes = Writes.THROUGH_TRANSACTION
    needs = None

    def __init__(self, behind: tuple[Any, ...] = ()) -> None:
        self.behind = behind

    def before(self, sinks: Any) -> Any:
        return _Halving(tuple(sinks))

    def describe(self) -> str:
        return "half of it"

    def prepare(self, prepared: Places) -> Places:
        return prepared[: len(prepared) // 2]

    def write(self, prepared: Places, transaction: SqlTransaction) -> None:
        for sink in self.behind:
            sink.write(sink.prepare(prepared), transaction)


def test_a_sink_that_filters_stands_for_those_behind_it(url: str) -> None:
    got: dict[str, int] = {"before": 0, "behind": 0, "last": 0}

    def counting(name: str) -> Any:
        def write(places: Places, transaction: SqlTransaction) -> None:
            got[name] += len(places)

        return write

    filtered = stream(url, sink=[counting("before"), _Halving(), counting("behind"), _Halving(), counting("last")])
    assert [sink.describe() for sink in filtered.sinks][1:] == ["half of it"]
    filtered.run(until="latest")
    assert got["before"] == len(RECORDS)
    assert got["last"] < got["behind"] < got["before"]
