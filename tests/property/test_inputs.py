"""Whatever stands on a command line, in a URL or in a file: one sentence and a status, never a traceback."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_stream.admin.offsets_file import ExportedPosition, parse_offsets
from kafka_stream.admin.targets import Selection, parse_time, time_before
from kafka_stream.cli.app import main
from kafka_stream.cli.options import kafka_settings
from kafka_stream.errors import ConfigurationError, KafkaStreamError
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.plugins import store_from_url
from kafka_stream.types import MAX_NUMBER, MAX_OFFSET, TopicPartition

ODD = [
    "",
    "\0",
    "\udcff",
    "é",
    "..",
    "a/b",
    "a b",
    "\ufeff",
    "'",
    "[b]",
    "%s",
    "-",
    "--",
    "9" * 5000,
    "[" * 3,
    "x" * 300,
]
odd_text = st.one_of(st.sampled_from(ODD), st.text(max_size=20), st.text("0123456789-:,.PTDHMS[]@%/?&=+ ", max_size=12))
urls = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["kafka", "zookeeper", "postgresql", "sqlite", "mysql+pymysql", "KAFKA", "x", "", "1"]),
    st.sampled_from(["", "[::1", "::1]", "[::1]:x", "a:b:c", "u:p@h", "h:99999999", "@", ":@:", "h,h,", "h:-1", "%zz"]),
    odd_text,
    odd_text,
)
LARGE: list[Any] = [2**31, 2**63, 2**64, -(2**63), 10**400, True, 1.5, None, "7", []]
numbers: st.SearchStrategy[Any] = st.one_of(st.integers(), st.sampled_from(LARGE))
entries = st.fixed_dictionaries(
    {"topic": st.one_of(st.just("orders"), odd_text, numbers), "partition": numbers, "next_offset": numbers},
    optional={"leader_epoch": numbers, "owner_epoch": numbers, "topic_id": st.one_of(odd_text, numbers)},
)
contents = st.one_of(
    st.builds(
        lambda entry, stream, version: {"format": version, "stream": stream, "positions": entry},
        st.one_of(st.lists(st.one_of(entries, numbers), max_size=3), entries, numbers),
        st.one_of(st.just("orders"), odd_text, numbers),
        st.one_of(st.just(1), numbers),
    ),
    entries,
)
files = st.one_of(
    contents.map(json.dumps),
    contents.map(lambda content: "\ufeff" + json.dumps(content)),
    st.lists(st.lists(st.one_of(odd_text, st.just("orders"), st.integers().map(str)), max_size=5).map(",".join)).map(
        "\n".join
    ),
    st.integers(0, 200_000).map(lambda depth: '{"a":' * depth),
    odd_text,
)


@given(urls)
def test_a_url_is_a_store_or_one_sentence(url: str) -> None:
    with contextlib.suppress(KafkaStreamError):
        store_from_url(url).close()


@given(files)
def test_a_file_of_offsets_holds_possible_ones_or_is_refused(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        for tp, position in parse_offsets(text, "orders").items():
            assert 0 <= tp.partition <= MAX_NUMBER
            assert 0 <= position.next_offset <= MAX_OFFSET
            assert tp.topic.isascii()
            assert position.owner_epoch < 2**63


@given(odd_text)
def test_topics_times_and_durations_are_read_or_refused(text: str) -> None:
    for read in (Selection.parsed, parse_time, lambda text: time_before(text, datetime.now(UTC))):
        with contextlib.suppress(ConfigurationError):
            read(text)


@given(
    st.lists(odd_text, max_size=3), st.dictionaries(odd_text.map(lambda name: f"KAFKA_STREAM_KAFKA__{name}"), odd_text)
)
def test_settings_of_kafka_are_read_or_refused(given_settings: list[str], variables: dict[str, str]) -> None:
    with contextlib.suppress(ConfigurationError):
        kafka_settings(given_settings, variables)


# Command lines --------------------------------------------------------------------------------------------------------

OPTIONS: dict[str, list[str]] = {
    "streams": [],
    "describe": ["--stream", "--interval"],
    "reset": ["--stream", "--topic", "--to-offset", "--shift-by", "--to-datetime", "--by-duration", "--from-file"],
    "delete": ["--stream", "--topic"],
    "export": ["--stream"],
    "import": ["--stream", "FILE"],
    "migrate": ["--stream", "--to"],
    "history": ["--stream", "--limit"],
    "undo": ["--stream", "--to"],
}
FLAGS = ["--yes", "--execute", "--export", "--all-topics", "--to-current", "--output", "--fence", "--no-time", "--help"]


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    command = draw(st.sampled_from(sorted(OPTIONS)))
    line = ["offsets", command]
    line += [
        "--store",
        draw(st.one_of(st.just("sqlite:///orders.db"), st.sampled_from(["sqlite:///", "kafka://[::1", ""]))),
    ]
    for option in OPTIONS[command]:
        if draw(st.booleans()):
            value = draw(st.one_of(st.just("orders"), st.just("file"), odd_text, st.integers().map(str)))
            line += [value] if option == "FILE" else [option, value]
    return line + draw(st.lists(st.sampled_from(FLAGS), max_size=3, unique=True))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[list[str]], tuple[int, str]]]:
    """The console script in a directory with a stream, without brokers, and with nobody at a terminal."""
    directory = tmp_path_factory.mktemp("inputs")
    before = os.getcwd()
    os.chdir(directory)
    store = SqlOffsetStore("sqlite:///orders.db")
    store.open()
    store.initialise("orders", "orders", {0: 5}, None)
    store.close()
    Path("file").write_text("orders,0,1\n")

    def run(arguments: list[str]) -> tuple[int, str]:
        told = io.StringIO()
        with (
            contextlib.redirect_stderr(told),
            contextlib.redirect_stdout(io.StringIO()),
            pytest.MonkeyPatch.context() as patch,
            pytest.raises(SystemExit) as ended,
        ):
            patch.setattr(sys, "stdin", io.StringIO(""))
            main(arguments)
        return int(ended.value.code or 0), told.getvalue()

    yield run
    os.chdir(before)


@given(arguments=command_lines())
def test_a_command_line_ends_with_a_status_and_no_traceback(
    run: Callable[[list[str]], tuple[int, str]], arguments: list[str]
) -> None:
    status, told = run(arguments)
    assert status in {0, 1, 2, 3}
    assert "Traceback" not in told
    assert "unexpected" not in told
    if status:
        assert told.strip()


@pytest.mark.parametrize("name", ["a b", "a/b", "ü", "", "..", "x" * 250])
def test_an_impossible_topic_is_not_imported(
    run: Callable[[list[str]], tuple[int, str]], name: str, tmp_path: Path
) -> None:
    position: dict[str, Any] = {"topic": name, "partition": 0, "next_offset": 1}
    for number, text in enumerate(
        [f"{name},0,1\n", json.dumps({"format": 1, "stream": "orders", "positions": [position]})]
    ):
        file = tmp_path / str(number)
        file.write_text(text)
        status, told = run(
            ["offsets", "import", "--store", "sqlite:///orders.db", "--stream", "orders", str(file), "--yes"]
        )
        assert (status, "cannot be the name of a topic" in told) == (2, True), told


def test_a_file_that_begins_with_a_mark_of_byte_order_is_read() -> None:
    text = json.dumps({"format": 1, "stream": "s", "positions": [{"topic": "t", "partition": 0, "next_offset": 1}]})
    expected = {TopicPartition("t", 0): ExportedPosition(1)}
    assert parse_offsets(f"\ufeff{text}", "s") == expected
    assert parse_offsets("\ufefft,0,1\n", "s") == expected
