"""``FileSink`` keeps the contract of sinks by range, and what its files look like."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from pyarrow import parquet

from kafka_stream.errors import ConfigurationError, SinkUnavailable
from kafka_stream.sinks.files import FileSink
from kafka_stream.sinks.files.names import unfinished_name, workplace_name
from kafka_stream.testing.range_sink_contract import RangeSinkContract
from kafka_stream.testing.sink_backend import numbers_of
from kafka_stream.testing.sink_contract import SinkFunctionContract, SinkOf
from kafka_stream.types import OffsetRange, Owner, TopicPartition


def rows_in(directory: Path) -> list[dict[str, Any]]:
    """All rows, as a reader finds them that takes the files in the order of their names."""
    rows: list[dict[str, Any]] = []
    for path in sorted(directory.glob("*")):
        if path.suffix == ".jsonl":
            rows += map(json.loads, path.read_text("utf-8").splitlines())
        elif path.suffix == ".parquet":
            rows += parquet.read_table(path).to_pylist()
    return rows


class FileSinkBackend:
    def __init__(self, directory: Path, format_: Literal["jsonl", "parquet"]) -> None:
        self._directory = directory
        self._format = format_
        self._begun: dict[Path, TopicPartition] = {}

    def sink(self) -> FileSink:
        def to_rows(batch: Any) -> Iterator[dict[str, int]]:
            return ({"number": number} for number in numbers_of(batch))

        return FileSink(self._directory, to_rows, self._format)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        yield None

    def commit(self, transaction: None) -> None:
        pass

    def results(self) -> Sequence[int]:
        return [row["number"] for row in rows_in(self._directory)]

    def secrets(self) -> Collection[str]:
        return ()

    def leave_unfinished(self, owner: Owner, planned: OffsetRange) -> None:
        workplace = self._directory / workplace_name(planned.topic_partition, owner.id)
        workplace.mkdir(parents=True, exist_ok=True)
        unfinished = workplace / f"{unfinished_name(planned, owner.id)}.0"
        unfinished.write_bytes(b"{")
        self._begun[unfinished] = planned.topic_partition

    def unfinished(self) -> Collection[TopicPartition]:
        hidden = [path for path in self._directory.rglob(".*") if path.is_file()]
        return {self._begun[path] for path in hidden}


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
class TestFileSink(RangeSinkContract):
    @pytest.fixture
    def range_backend(self, tmp_path: Path, format_: Literal["jsonl", "parquet"]) -> FileSinkBackend:
        return FileSinkBackend(tmp_path / "results", format_)


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
class TestToRows(SinkFunctionContract):
    @pytest.fixture
    def sink_of(self, tmp_path: Path, format_: Literal["jsonl", "parquet"]) -> SinkOf:
        def build(to_rows: Callable[[Any], Any]) -> FileSink:
            return FileSink(tmp_path, to_rows, format_)

        return build


P0 = TopicPartition("orders", 0)
HERE, THERE = Owner("here", "host-a"), Owner("there", "host-b")


def plain(directory: Path, owner: Owner = HERE, partitions: Sequence[TopicPartition] = (P0,)) -> FileSink:
    """A sink that writes the values as they are, and has taken over."""
    sink = FileSink(directory, lambda rows: rows)
    sink.take_over("orders", owner, partitions)
    return sink


def write(sink: FileSink, rows: Any, from_offset: int = 0, until_offset: int = 10, tp: TopicPartition = P0) -> None:
    sink.write({OffsetRange(tp, from_offset, until_offset): sink.prepare(rows)}, None)


def listing(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))


def hidden(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob(".*"))


def test_a_listing_shows_topic_partition_and_range_and_sorts_by_offset(tmp_path: Path) -> None:
    partitions = [TopicPartition("orders", 0), TopicPartition("orders", 11), TopicPartition("orders-eu.v1", 2)]
    sink = plain(tmp_path, partitions=partitions)
    for tp in reversed(partitions):
        for from_offset in (100, 9):
            write(sink, [{"a": 1}], from_offset, from_offset + 91, tp)
    assert listing(tmp_path) == [
        "orders+00000+0000000000000000009-0000000000000000100.jsonl",
        "orders+00000+0000000000000000100-0000000000000000191.jsonl",
        "orders+00011+0000000000000000009-0000000000000000100.jsonl",
        "orders+00011+0000000000000000100-0000000000000000191.jsonl",
        "orders-eu.v1+00002+0000000000000000009-0000000000000000100.jsonl",
        "orders-eu.v1+00002+0000000000000000100-0000000000000000191.jsonl",
    ]


@pytest.mark.parametrize(
    ("topic", "name"), [("_orders", "%5Forders"), (".orders", "%2Eorders"), ("../a b/+", "%2E.%2Fa%20b%2F%2B")]
)
def test_no_topics_files_are_hidden_or_elsewhere(tmp_path: Path, topic: str, name: str) -> None:
    tp = TopicPartition(topic, 0)
    write(plain(tmp_path, partitions=[tp]), [{"a": 1}], tp=tp)
    assert listing(tmp_path) == [f"{name}+00000+0000000000000000000-0000000000000000010.jsonl"]


def test_building_and_preparing_creates_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "new"
    sink = FileSink(directory, lambda rows: rows)
    sink.prepare([{"a": 1}])
    sink.discard(OffsetRange(P0, 0, 10))
    assert not directory.exists()
    assert sink.describe() == f"files {directory}/*.jsonl"


def test_a_relative_directory_is_the_one_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sink = FileSink("results", lambda rows: rows)
    monkeypatch.chdir("/")
    sink.take_over("orders", HERE, [P0])
    write(sink, [{"a": 1}])
    assert len(listing(tmp_path / "results")) == 1


# Durable when it returns


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The system calls that make something durable or give it a name, as they are made."""
    made: list[tuple[str, ...]] = []
    fsync, replace, mkdir, unlink = os.fsync, os.replace, os.mkdir, os.unlink

    def traced_fsync(descriptor: int) -> None:
        made.append(("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def traced_replace(source: Path, target: Path) -> None:
        made.append(("rename", str(source), str(target)))
        replace(source, target)

    def traced_mkdir(path: Path, mode: int = 0o777) -> None:
        mkdir(path, mode)
        made.append(("mkdir", str(path)))

    def traced_unlink(path: Path) -> None:
        unlink(path)
        made.append(("unlink", str(path)))

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "replace", traced_replace)
    monkeypatch.setattr(os, "mkdir", traced_mkdir)
    monkeypatch.setattr(os, "unlink", traced_unlink)
    return made


def test_content_is_synced_before_the_name_and_the_name_before_it_returns(
    tmp_path: Path, calls: list[tuple[str, ...]]
) -> None:
    sink = plain(tmp_path)
    calls.clear()
    write(sink, [{"a": 1}])
    final = tmp_path / listing(tmp_path)[0]
    (_, unfinished), _, _ = calls
    assert calls == [("fsync", unfinished), ("rename", unfinished, str(final)), ("fsync", str(tmp_path))]
    assert Path(unfinished).name.startswith(".")
    assert HERE.id in Path(unfinished).name
    assert Path(unfinished).suffix not in (".jsonl", ".parquet")


def test_new_directories_are_synced_into_their_parents(tmp_path: Path, calls: list[tuple[str, ...]]) -> None:
    plain(tmp_path / "a" / "b")
    a, b = str(tmp_path / "a"), str(tmp_path / "a" / "b")
    assert calls[:4] == [("mkdir", a), ("fsync", str(tmp_path)), ("mkdir", b), ("fsync", a)]


def test_what_is_removed_is_synced_too(tmp_path: Path, calls: list[tuple[str, ...]]) -> None:
    sink = plain(tmp_path)
    removals: list[Callable[[], None]] = [lambda: write(sink, []), lambda: sink.discard(OffsetRange(P0, 0, 10))]
    for remove in removals:
        write(sink, [{"a": 1}])
        final = tmp_path / listing(tmp_path)[0]
        calls.clear()
        remove()
        assert calls == [("unlink", str(final)), ("fsync", str(tmp_path))]


def test_an_unfinished_file_that_is_there_is_not_written_into(tmp_path: Path) -> None:
    sink = plain(tmp_path)
    there = tmp_path / workplace_name(P0, HERE.id) / f"{unfinished_name(OffsetRange(P0, 0, 10), HERE.id)}.0"
    there.write_text("somebody's")
    with pytest.raises(ConfigurationError, match="FileExistsError"):
        write(sink, [{"a": 1}])
    assert there.read_text() == "somebody's"
    assert listing(tmp_path) == []


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, SinkUnavailable),
        (errno.EDQUOT, SinkUnavailable),
        (errno.EIO, SinkUnavailable),
        (errno.EACCES, ConfigurationError),
        (errno.EROFS, ConfigurationError),
    ],
)
def test_a_disk_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, number: int, error: type[Exception]
) -> None:
    sink = plain(tmp_path)
    before = hidden(tmp_path)

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as failure:
        failure.setattr(os, failing, fail)
        with pytest.raises(error, match=re.escape("could not write orders[0] [0, 10)")) as raised:
            write(sink, [{"a": 1}])
    assert os.strerror(number) in str(raised.value)
    assert isinstance(raised.value.__cause__, OSError)
    assert (listing(tmp_path), hidden(tmp_path)) == ([], before)
    write(sink, [{"a": 2}])
    assert rows_in(tmp_path) == [{"a": 2}]


def test_a_directory_that_cannot_be_is_refused_at_the_takeover(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("long" * 70)):
        with pytest.raises(ConfigurationError, match=r"could not take over .* a directory that can be written"):
            plain(directory)


def test_a_directory_that_was_removed_is_made_again(tmp_path: Path) -> None:
    directory = tmp_path / "results"
    sink = plain(directory)
    shutil.rmtree(directory)
    with pytest.raises(SinkUnavailable):
        write(sink, [{"a": 1}])
    write(sink, [{"a": 1}])
    assert rows_in(directory) == [{"a": 1}]


# What settings and code change


def test_a_repeat_in_another_format_replaces_the_first(tmp_path: Path) -> None:
    write(plain(tmp_path), [{"a": 1}])
    successor = FileSink(tmp_path, lambda rows: rows, "parquet")
    successor.take_over("orders", THERE, [P0])
    write(successor, [{"a": 2}])
    assert rows_in(tmp_path) == [{"a": 2}]
    write(plain(tmp_path), [])
    assert listing(tmp_path) == []


def test_two_sinks_of_one_stream_in_one_directory_are_refused(tmp_path: Path) -> None:
    plain(tmp_path)
    with pytest.raises(ConfigurationError, match="another FileSink of the same stream writes into"):
        plain(tmp_path)


def test_one_sink_may_be_run_again(tmp_path: Path) -> None:
    sink = plain(tmp_path)
    for owner in (THERE, HERE, THERE):
        sink.take_over("orders", owner, [P0])
        assert hidden(tmp_path) == [workplace_name(P0, owner.id)]
        write(sink, [{"owner": owner.id}])
    assert rows_in(tmp_path) == [{"owner": THERE.id}]


def test_only_workplaces_of_the_partitions_are_removed(tmp_path: Path) -> None:
    others = [TopicPartition("orders", 1), TopicPartition("orders-eu", 0), TopicPartition("orders.eu", 0)]
    for tp in others:
        plain(tmp_path, THERE, [tp])
    for name in (".orders", ".orders+00000", ".hidden", "orders+00000.x", ".orders+000001.x", ".gitignore"):
        (tmp_path / name).write_text("")
    before = hidden(tmp_path), listing(tmp_path)
    plain(tmp_path, THERE).discard(OffsetRange(P0, 0, 10))
    plain(tmp_path, HERE)
    assert hidden(tmp_path) == sorted([*before[0], workplace_name(P0, HERE.id)])
    assert listing(tmp_path) == before[1]


# Owners that wake up late


@pytest.mark.parametrize("bounds", [(0, 10), (0, 5), (10, 20)])
def test_an_older_owner_can_neither_replace_nor_add_a_file(tmp_path: Path, bounds: tuple[int, int]) -> None:
    zombie = plain(tmp_path)
    successor = plain(tmp_path, THERE)
    write(successor, [{"code": "new"}])
    with pytest.raises(SinkUnavailable, match="the offset store is asked whose the partition is"):
        write(zombie, [{"code": "old"}], *bounds)
    assert rows_in(tmp_path) == [{"code": "new"}]


@pytest.mark.parametrize("ends_with", ["takeover", "discard"])
@pytest.mark.parametrize("frozen_in", ["fsync", "replace"])
def test_an_owner_that_freezes_in_the_middle_of_a_file_cannot_finish_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frozen_in: str, ends_with: str
) -> None:
    zombie = plain(tmp_path)
    original = getattr(os, frozen_in)

    def frozen(*arguments: Any) -> None:
        monkeypatch.setattr(os, frozen_in, original)
        if ends_with == "takeover":
            write(plain(tmp_path, THERE), [{"code": "new"}])
        else:
            FileSink(tmp_path, lambda rows: rows).discard(OffsetRange(P0, 0, 10))
        original(*arguments)

    monkeypatch.setattr(os, frozen_in, frozen)
    with pytest.raises(SinkUnavailable):
        write(zombie, [{"code": "old"}])
    assert rows_in(tmp_path) == ([{"code": "new"}] if ends_with == "takeover" else [])


def test_an_older_owners_late_takeover_costs_the_live_one_an_attempt_and_no_more(tmp_path: Path) -> None:
    live = plain(tmp_path, THERE)
    plain(tmp_path, HERE)  # frozen since the store's takeover, in which it was first
    with pytest.raises(SinkUnavailable):
        write(live, [{"a": 1}])
    write(live, [{"a": 1}])
    assert rows_in(tmp_path) == [{"a": 1}]
