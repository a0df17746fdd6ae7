"""The same in a terminal: at 80 and 200 columns, once and always, of a store and of a process.

``golden`` has what is drawn. To accept a change, delete the file and run the test: it writes what it got, and fails.
"""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from prometheus_client import CollectorRegistry
from rich.cells import cell_len
from rich.console import Console

from kafka_stream.errors import BrokerUnavailable, ProcessingError
from kafka_stream.observe.http import app, served
from kafka_stream.observe.page.model import PageView, PartitionView, StreamView, Tone
from kafka_stream.observe.terminal import frame, spark
from kafka_stream.observe.told import ProcessLooks
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.progress import StreamState, StreamStatus
from kafka_stream.protocols import AdministeredStore
from kafka_stream.types import TopicPartition
from tests.admin_fakes import started
from tests.command_line import Invoke, one_sentence
from tests.page_views import NOW, a_line, a_page, a_stream
from tests.unit.test_health import FAILED, RUNNING, Stream
from tests.unit.test_offsets_output import same_as_golden

GOLDEN = Path(__file__).parent / "golden"


def _drawn(view: PageView, width: int) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(frame(view, width))
    return [line.rstrip() for line in captured.get().splitlines()]


VIEW = a_page(a_stream(), StreamView("payments", "failed", Tone.BAD), text="sqlite /orders.db")


@pytest.mark.parametrize("width", [80, 200])
def test_a_frame(width: int) -> None:
    lines = _drawn(VIEW, width)
    assert max(map(cell_len, lines)) <= width
    same_as_golden(f"top-{width}.txt", "\n".join(lines) + "\n", GOLDEN)


def test_names_send_a_terminal_no_commands() -> None:
    name = "\x1b[2Jorders\x07\x9b5n[bold]"
    for width in (80, 200):
        drawn = "\n".join(_drawn(a_page(a_stream(name), a_stream("b"), text=name), width))
        assert not [c for c in drawn if c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160)]
        assert "[bold]" in drawn


def test_of_many_partitions_those_that_lag_most_are_drawn() -> None:
    many = tuple(PartitionView("orders", n, n, n, marks=("held",) if n == 3 else ()) for n in range(40))
    lines = _drawn(a_page(replace(a_stream(), partitions=many, partitions_count=1_000)), 80)
    shown = [line.split()[0] for line in lines if line.strip().startswith("orders[") and "held  orders" not in line]
    assert shown == ["orders[3]", *(f"orders[{n}]" for n in range(21, 40))]
    assert any("and 980 more, which lag less" in line for line in lines)


@pytest.mark.parametrize(
    ("line", "blocks"),
    [
        ((), ""),
        (a_line(8.0), "████"),
        (a_line(0, 8, None, 4), "▁█ ▅"),
        (a_line(0, 0, 1, 8, 2, 3, 4, 5), "▁█▄▆"),
        (a_line(0, 0, 0, 0), "▁▁▁▁"),
    ],
)
def test_a_line_in_blocks(line: tuple[tuple[object, float | None], ...], blocks: str) -> None:
    assert spark(line, 4) == blocks  # type: ignore[arg-type]  # its times are some


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    store = SqlOffsetStore(f"sqlite:///{tmp_path}/orders.db")
    started(cast("AdministeredStore", store))
    store.close()
    return tmp_path


def test_a_store_once(invoke: Invoke, directory: Path) -> None:
    ended = invoke("top", "--store", "sqlite:///orders.db", "--once")
    assert (ended.status, ended.err) == (0, "")
    assert "orders  ○ not running" in ended.out
    assert "orders[1]" in ended.out
    assert "there is no such stream" in invoke("top", "--store", "sqlite:///orders.db", "--stream", "shop").out


def test_a_process_once(invoke: Invoke) -> None:
    held = replace(RUNNING, pinned={TopicPartition("orders", 0): NOW})
    streams = Stream("orders", held), Stream("users", FAILED)
    with served(app(*streams, registry=CollectorRegistry()), "127.0.0.1:0") as where:
        ended = invoke("top", "--url", where, "--once")
        assert (ended.status, ended.err) == (0, "")
        assert "orders  ▲ running" in ended.out
        assert "users  ✕ failed" in ended.out
        assert "✕ ProcessingError" in ended.out
        assert "ada@example.org" not in ended.out
        assert "no status of kafka-stream's" in one_sentence(invoke("top", "--url", f"{where}/metrics?", "--once"))
    ended = invoke("top", "--url", where, "--once")
    assert ended.status == 1
    assert one_sentence(ended) == f"{where}/status does not answer: Connection refused"
    assert invoke("top", "--url", "file:///etc/passwd").status == 2


@pytest.mark.parametrize(
    "status",
    [
        StreamStatus(),
        RUNNING,
        FAILED,
        replace(RUNNING, error=BrokerUnavailable("away"), committed_at=NOW, pinned={TopicPartition("orders", 0): NOW}),
        StreamStatus(StreamState.FAILED, error=ProcessingError("x"), batches=7, records=9, dead_letters=1),
    ],
)
def test_a_process_is_shown_from_afar_as_it_shows_itself(status: StreamStatus) -> None:
    with served(app(Stream("orders", status), registry=CollectorRegistry()), "127.0.0.1:0") as where:
        looks = ProcessLooks(f"{where}/status")
        looks.look()
        (view,) = looks.look().streams
    assert (view.state, view.partitions_count) == (status.state.value, len(status.positions))
    assert [note.about for note in view.notes if note.about.endswith("held")] == [f"{tp} held" for tp in status.pinned]
    told = {note.about: note.sentence for note in view.notes}
    if status.error is not None:
        assert told[type(status.error).__name__]
    assert view.committed_at == status.committed_at


@pytest.mark.parametrize("columns", [80, 200])
def test_it_goes_on_until_ctrl_c(directory: Path, columns: int) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    command = [sys.executable, "-P", "-c", "from kafka_stream.cli.app import main; main()"]
    process = subprocess.Popen(
        [*command, "top", "--store", "sqlite:///orders.db", "--interval", "0.2"],
        cwd=directory,
        env={**environment, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    told = bytearray()
    try:
        while told.count(b"not running") < 3:  # three frames
            told += os.read(ours, 65_536)
        process.send_signal(signal.SIGINT)
        while b"\x1b[?1049l" not in told:  # the screen that was there before
            told += os.read(ours, 65_536)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert b"\x1b[?1049h" in told
    assert (b"next offset" in told) == (columns == 200)
