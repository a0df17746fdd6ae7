"""An application with dead letters in a store in memory, and a Kafka in memory for replays."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from kafka_stream.cli.offsets.target import Target
from kafka_stream.protocols import LetterStatus
from kafka_stream.testing import MemoryOffsetStore
from tests.command_line import Invoke
from tests.replays import STREAM, FakeSender, ReplayKafka, keep, letter
from tests.unit.letters.command import HERE, Run

APP = """
from kafka_stream.stream import DirectStream
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore

store = MemoryOffsetStore()
broken = set()

def write(batch, transaction):
    for message in batch:
        if message.value() in broken:
            raise ValueError("it is still broken")
        transaction.rows.append((message.topic(), message.partition(), message.offset(), message.value()))

stream = DirectStream(
    name="orders", topics=["orders"], kafka=MemoryKafka(), store=store, sink=write, assignment="static"
)

class Bare:
    \"\"\"A store of somebody's that keeps no letters.\"\"\"
    def __getattr__(self, name):
        if name in {"letters", "mark_letters", "begin_replay", "replay_under_way", "end_replay", "blames_records"}:
            raise AttributeError(name)
        return getattr(store, name)
"""


@pytest.fixture
def application(invoke: Invoke, tmp_path: Path) -> Any:
    """The module that the commands name, with a stream at offset 10 in each of three partitions."""
    (tmp_path / "letters_app.py").write_text(APP)
    sys.path.insert(0, str(tmp_path))
    found = importlib.import_module("letters_app")
    found.store.initialise(STREAM, "orders", dict.fromkeys(range(3), 10), None)
    return found


@pytest.fixture
def store(application: Any) -> MemoryOffsetStore:
    """Four letters that wait, and one that was given up."""
    kept = [
        letter(3, key=b"a", value=b'{"id": 3}'),
        letter(5, key=b"a", error="json.JSONDecodeError"),
        letter(7, key=b"b"),
        letter(4, partition=1, key=None),
        letter(6, partition=2, status=LetterStatus.DISCARDED),
    ]
    keep(application.store, kept)
    found: MemoryOffsetStore = application.store
    return found


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> ReplayKafka:
    """Where replays go to."""
    found = ReplayKafka()
    monkeypatch.setattr(Target, "cluster", lambda _: None)
    monkeypatch.setattr("kafka_stream.admin.dead_letters.kafka_sender.KafkaSender", lambda *_: FakeSender(found))
    monkeypatch.setattr("kafka_stream.admin.dead_letters.replaying.RECORDS_PER_TRANSACTION", 2)
    return found


@pytest.fixture
def run(invoke: Invoke) -> Run:
    return lambda command, *arguments: invoke("dead-letters", command, *HERE, *arguments)
