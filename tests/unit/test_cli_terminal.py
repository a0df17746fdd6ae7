"""Tables on real terminals of 80 and 120 columns: none is wider, no cell is folded, what is left out is named."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kafka_stream.admin.actions import new_action
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import Action, ActionKind, Change, HistoryEntry
from kafka_stream.types import Owner, TopicPartition

OWNER = Owner("0123456789abcdef0123456789abcdef", "worker-7.eu-west-1.example", "v2026.11.26")
TOPIC = "shop.orders.v2"
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
HERE = ("--store", "sqlite:///orders.db", "--stream", "orders")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A stream with an owner, epochs, ids, and a history of batches and a reset."""
    store = SqlOffsetStore(f"sqlite:///{tmp_path}/orders.db")
    store.open()
    store.initialise("orders", TOPIC, dict.fromkeys(range(12), 1_234_567_890), "AAAAAAAAQACAAAAAAAAAAQ")
    tps = [TopicPartition(TOPIC, number) for number in range(12)]
    store.change("orders", tps, new_action(ActionKind.RESET), lambda found: [Change(tp, 7, 5, "id-1") for tp in found])
    store.take_over("orders", OWNER, tps, {})
    batch = Action("b" * 32, ActionKind.BATCH, str(OWNER))
    now = datetime.now(UTC)
    entries = [HistoryEntry(now, batch, tp, 7, 9_000_000_000, None, None, 123, 0.5, "v2026.11.26") for tp in tps]
    store.record("orders", entries, timedelta(days=1))
    store.close()
    return tmp_path


def on_terminal(directory: Path, columns: int, *arguments: str) -> list[str]:
    """What a command prints on a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-P", "-c", "from kafka_stream.cli.app import main; main()", *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    process = subprocess.Popen(
        command, cwd=directory, env={**environment, "TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    told = bytearray()
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # as Linux says that the other end is closed
            break
        if not part:
            break
        told += part
    os.close(ours)
    assert process.wait() == 0, told.decode()
    return _ESCAPES.sub("", told.decode()).replace("\r\n", "\n").splitlines()


@pytest.mark.parametrize("columns", [80, 120, 240])
@pytest.mark.parametrize("command", ["describe", "history"])
def test_a_table_fits_its_terminal(directory: Path, columns: int, command: str) -> None:
    lines = on_terminal(directory, columns, "offsets", command, *HERE)
    table = [line for line in lines if TOPIC in line and not line.startswith("orders in")]
    assert len(table) == (12 if command == "describe" else 24)
    widths = [len(line) for line in lines[2:] if not line.startswith("left out")]
    assert max(widths) <= columns, lines
    header = next(line for line in lines if "partition" in line)
    essential = {"describe": ["topic", "partition", "next offset"], "history": ["at", "action", "until offset"]}[
        command
    ]
    assert [name for name in essential if name not in header] == []
    told = [line for line in lines if line.startswith("left out, since the terminal is narrow: ")]
    assert len(told) == (columns < 240)
    left_out = told[0].partition(": ")[2].split(", ") if told else []
    assert [name for name in left_out if f" {name} " in header] == []
    if columns == 240:
        assert "topic id" in header or command == "history"


def test_a_name_that_is_wider_than_the_terminal_is_folded(directory: Path) -> None:
    store = SqlOffsetStore(f"sqlite:///{directory}/orders.db")
    store.initialise("long", "t" * 249, {0: 1}, None)
    store.close()
    lines = on_terminal(directory, 80, "offsets", "describe", *HERE[:-1], "long")
    assert sum(line.count("t" * 20) for line in lines) >= 3
    assert max(len(line) for line in lines[2:] if not line.startswith("left out")) <= 80
