"""mypy --strict rejects a sink that cannot write through the store's transaction, and nothing that can."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PRELUDE = """
from typing import Any, Protocol

from sqlalchemy import Column, Integer, MetaData, Table

from kafka_stream import Batch, DirectStream
from kafka_stream.protocols import OffsetStore, Sink
from kafka_stream.settings import StreamSettings
from kafka_stream.testing import MemoryOffsetStore
from kafka_stream.offset_stores.kafka import KafkaOffsetStore, KafkaTransaction
from kafka_stream.offset_stores.sql import SqlOffsetStore, SqlTransaction
from kafka_stream.offset_stores.zookeeper import ZooKeeperOffsetStore, ZooKeeperTransaction
from kafka_stream.sinks.files import FileSink
from kafka_stream.sinks.kafka import KafkaSink
from kafka_stream.sinks.sql import SqlSink
from kafka_stream.sinks.zookeeper import ZooKeeperSink


class QueueTransaction(Protocol):
    def send(self, value: bytes) -> None: ...


class Sends(Protocol):
    def send(self, value: bytes) -> None: ...


sql = SqlOffsetStore("sqlite:///orders.db")
rows = SqlSink(Table("orders", MetaData(), Column("id", Integer)), lambda batch: [])
kafka = KafkaOffsetStore()
topic = KafkaSink("enriched", lambda batch: [])
zookeeper = ZooKeeperOffsetStore("localhost:2181")
znodes = ZooKeeperSink(lambda batch: [])
files = FileSink("orders", lambda batch: [])
settings: StreamSettings
queue: OffsetStore[QueueTransaction]
queue_sink: Sink[Sends]
some_store: OffsetStore
some_sink: Sink


def to_sql(batch: Batch, transaction: SqlTransaction) -> None: ...
def to_kafka(batch: Batch, transaction: KafkaTransaction) -> None: ...
def to_zookeeper(batch: Batch, transaction: ZooKeeperTransaction) -> None: ...
def to_queue(batch: Batch, transaction: QueueTransaction) -> None: ...
async def later(batch: Batch, transaction: SqlTransaction) -> None: ...
def anywhere(batch: Batch, transaction: object) -> None: ...
def no_transaction(batch: Batch) -> None: ...
def untyped(batch, transaction): ...  # type: ignore[no-untyped-def]


"""

ACCEPTED = [
    "DirectStream(store=sql, sink=rows)",
    "DirectStream(store=sql, sink=to_sql)",
    "DirectStream(store=sql, sink=untyped)",
    "DirectStream(store=sql, sink=anywhere)",
    "DirectStream(store=sql, sink=files)",
    "DirectStream(store=sql, sink=lambda batch, transaction: transaction.connection.close())",
    "DirectStream(store=sql, sink=[rows, rows])",
    "DirectStream(store=sql, sink=(to_sql, rows, files, untyped, some_sink, lambda batch, transaction: None))",
    "DirectStream(sink=[to_sql, rows, files], store=sql)",
    "DirectStream(store='sqlite:///orders.db', sink=rows)",
    "DirectStream(store='sqlite:///orders.db', sink=to_sql)",
    "DirectStream(store='sqlite:///orders.db', sink=[to_sql, rows, files, untyped])",
    "DirectStream(store=kafka, sink=topic)",
    "DirectStream(store=kafka, sink=[topic, to_kafka, files, topic, untyped])",
    "DirectStream(store=kafka, sink=files)",
    "DirectStream(store='kafka://localhost:9092', sink=[to_kafka, topic])",
    "DirectStream(store=zookeeper, sink=znodes)",
    "DirectStream(store=zookeeper, sink=[to_zookeeper, znodes, files, untyped])",
    "DirectStream(store=zookeeper, sink=files)",
    "DirectStream(store='zookeeper://localhost/orders', sink=[znodes, files])",
    "DirectStream(store=queue, sink=queue_sink)",
    "DirectStream(store=queue, sink=[to_queue, queue_sink, files])",
    "DirectStream(store=some_store, sink=[rows, to_sql, queue_sink])",
    "DirectStream(store=sql, sink=some_sink)",
    "DirectStream(store=MemoryOffsetStore(), sink=[untyped, anywhere])",
    "DirectStream(settings, sink=[rows, to_sql])",
    "DirectStream(store=sql, sink=rows).replace(store='sqlite:///other.db')",
    "DirectStream(store=sql, sink=rows).replace(store=queue, sink=to_queue)",
]

REFUSED = {
    "DirectStream(store=sql, sink=queue_sink)": r'"Sink\[Sends\]"; expected "Sink\[SqlTransaction\]',
    "DirectStream(store=sql, sink=topic)": r'"KafkaSink"; expected "Sink\[SqlTransaction\]',
    "DirectStream(store=kafka, sink=rows)": r'"SqlSink"; expected "Sink\[KafkaTransaction\]',
    "DirectStream(store=kafka, sink=znodes)": r'"ZooKeeperSink"; expected "Sink\[KafkaTransaction\]',
    "DirectStream(store=zookeeper, sink=topic)": r'"KafkaSink"; expected "Sink\[ZooKeeperTransaction\]',
    "DirectStream(store=kafka, sink=[topic, to_sql])": "List item 1 has incompatible type",
    "DirectStream(store=sql, sink=znodes)": r'"ZooKeeperSink"; expected "Sink\[SqlTransaction\]',
    "DirectStream(store=zookeeper, sink=rows)": r'"SqlSink"; expected "Sink\[ZooKeeperTransaction\]',
    "DirectStream(store=zookeeper, sink=[files, to_sql])": "List item 1 has incompatible type",
    "DirectStream(store=queue, sink=rows)": r'"SqlSink"; expected "Sink\[QueueTransaction\]',
    "DirectStream(store=queue, sink=to_sql)": r'"Callable\[\[Batch, SqlTransaction\], None\]"; expected',
    "DirectStream(store=sql, sink=to_queue)": r'"Callable\[\[Batch, QueueTransaction\], None\]"; expected',
    "DirectStream(sink=to_queue, store=sql)": r'"SqlOffsetStore"; expected|"Callable.*"; expected',
    "DirectStream(store=sql, sink=[rows, queue_sink])": r'List item 1 has incompatible type "Sink\[Sends\]"',
    "DirectStream(store=sql, sink=[to_queue, to_sql])": "List item 0 has incompatible type",
    "DirectStream(store=sql, sink=rows).replace(store=queue, sink=to_sql)": "to .replace.* has incompatible type",
    "DirectStream(store=sql, sink=no_transaction)": r'"Callable\[\[Batch\], None\]"; expected',
    "DirectStream(store=sql, sink=later)": r"Coroutine\[Any, Any, None\]\]\"; expected",
    "DirectStream(store=rows, sink=rows)": '"store" .* has incompatible type "SqlSink"',
    "DirectStream(store=sql, sink=3)": 'incompatible type "int"',
    "DirectStream(store=sql, sinks=rows)": 'Unexpected keyword argument "sinks"',
}


@pytest.fixture(scope="module")
def errors() -> Mapping[str, str]:
    """What mypy says, by the line it says it of. One run, with the cache of the repository's own runs.

    The file is always in the same place: of a module that has not changed mypy names the place of the run before.
    """
    file = ROOT / "build" / "tests" / "typed_pairings.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(PRELUDE + "\n".join([*ACCEPTED, *REFUSED]) + "\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--hide-error-context", "--no-pretty", str(file)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "MYPYPATH": str(ROOT)}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1, done.stdout + done.stderr
    lines = file.read_text().splitlines()
    found: dict[str, str] = {}
    for name, number, error in re.findall(r"^(.*?):(\d+): error: (.*)$", done.stdout, re.MULTILINE):
        assert Path(ROOT, name) == file, f"an error elsewhere hides those looked for: {name}:{number}: {error}"
        found[lines[int(number) - 1]] = error
    return found


@pytest.mark.parametrize("line", ACCEPTED)
def test_a_pairing_that_holds_is_accepted(line: str, errors: Mapping[str, str]) -> None:
    assert errors.get(line) is None


@pytest.mark.parametrize("line", REFUSED)
def test_a_pairing_that_cannot_hold_is_a_type_error(line: str, errors: Mapping[str, str]) -> None:
    assert re.search(REFUSED[line], errors.get(line, "no error"))


def test_the_declarations_themselves_are_without_error(errors: Mapping[str, str]) -> None:
    assert errors.keys() <= {*ACCEPTED, *REFUSED}
