"""What a shell may give a command to write to and read from: a full disk, a reader that has left, nothing at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kafka_stream.offset_stores.sql import SqlOffsetStore

KAFKA_STREAM = [sys.executable, "-P", "-W", "error", "-c", "from kafka_stream.cli.app import main; main()"]
EXPORT = ["offsets", "export", "--store", "sqlite:///orders.db", "--stream", "orders"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    store = SqlOffsetStore(f"sqlite:///{tmp_path}/orders.db")
    store.open()
    store.initialise("orders", "orders", dict.fromkeys(range(1000), 5), None)
    store.close()
    return tmp_path


def shell(directory: Path, redirection: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the console script as a shell would."""
    return subprocess.run(
        ["/bin/sh", "-c", f'"$@" {redirection}', "sh", *KAFKA_STREAM, *arguments],
        cwd=directory,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("arguments", [EXPORT, ["version"], ["--help"]], ids=["much", "little", "help"])
def test_a_full_disk_is_one_sentence(directory: Path, arguments: list[str]) -> None:
    ended = shell(directory, "> /dev/full", *arguments)
    assert_one_sentence(ended)


def test_so_it_is_where_the_output_is_more_than_is_kept_to_be_written(directory: Path) -> None:
    assert_one_sentence(shell(directory, "> /dev/full", "--help", COLUMNS="1000"))


def assert_one_sentence(ended: subprocess.CompletedProcess[str]) -> None:
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("topics of stream ")]
    assert (ended.returncode, lines) == (1, ["error: the output could not be written: No space left on device"])


def test_a_reader_that_has_left_is_no_traceback(directory: Path) -> None:
    ended = shell(directory, "| head -1", *EXPORT)
    assert ended.stdout == "{\n"
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


@pytest.mark.parametrize("redirection", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_is_closed_is_not_missed(directory: Path, redirection: str) -> None:
    assert shell(directory, redirection, *EXPORT).returncode == 0
    ended = shell(directory, redirection, "offsets", "delete", *EXPORT[2:])
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


def test_bytes_that_are_no_text_are_named(directory: Path) -> None:
    for arguments in ([*EXPORT[:-1], "or\udcffders"], ["run", "a\udcff:b"]):
        ended = shell(directory, "", *arguments)
        assert ended.returncode == 2
        assert "holds a NUL or bytes that are no UTF-8 text" in ended.stderr


def test_a_terminal_that_knows_no_more_than_ascii(directory: Path) -> None:
    store = SqlOffsetStore(f"sqlite:///{directory}/orders.db")
    store.initialise("ü", "orders", {0: 1}, None)
    store.close()
    ended = shell(directory, "", "offsets", "streams", "--store", "sqlite:///orders.db", "--output", "csv")
    assert ended.returncode == 0
    ascii_only = subprocess.run(
        [*KAFKA_STREAM, "offsets", "streams", "--store", "sqlite:///orders.db"],
        cwd=directory,
        env={"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert ascii_only.returncode == 0, ascii_only.stderr
