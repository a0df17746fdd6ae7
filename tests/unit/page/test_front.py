"""The page at ``/`` of a process: over HTTP, and of a run."""

from __future__ import annotations

import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from kafka_stream.errors import ProcessingError
from kafka_stream.observe.http import app, served
from kafka_stream.observe.page.looking import StoreLooks
from kafka_stream.observe.page.watching import StreamWatch
from kafka_stream.progress import StreamState, StreamStatus
from kafka_stream.protocols import Change
from kafka_stream.testing import MemoryOffsetStore
from kafka_stream.types import TopicPartition
from tests.admin_fakes import execute_change, started
from tests.command_line import Invoke
from tests.fakes import ORDERS_0
from tests.memory_app import MEMORY_APP
from tests.page_views import Seen
from tests.unit.test_health import Stream

RUNNING = StreamStatus(StreamState.RUNNING, positions={TopicPartition("orders", 0): 5})


def _got(url: str) -> tuple[str, dict[str, str]]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.status == 200
        return answer.read().decode(), {name.lower(): value for name, value in answer.headers.items()}


def test_the_page_of_two_streams_with_what_the_store_of_one_remembers() -> None:
    store = started(MemoryOffsetStore())
    execute_change(store, [Change(ORDERS_0, 90)])
    looks = StoreLooks(store)
    looks.look()
    watch = StreamWatch()
    watch.status_through("orders", lambda: RUNNING)
    watch.on_stop(None)
    failed = replace(RUNNING, state=StreamState.FAILED, error=ProcessingError("the row of ada@example.org"))
    streams = Stream("orders", RUNNING), Stream("pay <b>", failed)
    with served(app(*streams, registry=CollectorRegistry(), watches=[watch], looks=looks), "127.0.0.1:0") as where:
        html, headers = _got(where)
        seen = Seen(html)
        assert "orders ● running" in seen.text
        assert "pay <b> ✕ failed" in seen.text
        assert "orders[0] from 40 to 90" in seen.text
        assert seen.text.count("Recent batches") == 1
        assert "ada@example.org" not in html
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "http-equiv" in html
        assert "http-equiv" not in _got(f"{where}/?refresh=off")[0]
        for path in [value for tag, name, value in seen.attributes if (tag, name) == ("a", "href")]:
            if not path.startswith(("#", "?", "live", "ready")):
                _got(f"{where}/{path}")


def test_a_page_of_one_stream_is_called_by_its_name() -> None:
    with served(app(Stream("orders", RUNNING), registry=CollectorRegistry()), "127.0.0.1:0") as where:
        assert "<title>orders · kafka-stream</title>" in _got(where)[0]


ASKING = MEMORY_APP.replace(
    "def write(batch, transaction):",
    """def write(batch, transaction):
    import urllib.request
    where = [each.getMessage() for each in seen if "answers at" in each.getMessage()][0].split()[-1]
    with urllib.request.urlopen(where, timeout=30) as answer:
        print(answer.read().decode())""",
).replace(
    "results =",
    """import logging

seen = []

class Seen(logging.Handler):
    def emit(self, record):
        seen.append(record)
        print("logged:", record.name)

logging.basicConfig(level="INFO", handlers=[Seen()])
results =""",
)


@pytest.fixture
def app_directory(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(ASKING)
    return tmp_path


def test_the_page_of_a_run(invoke: Invoke, app_directory: Path) -> None:
    ended = invoke("run", "app:stream", "--until", "latest", "--http", "127.0.0.1:0")
    assert ended.status == 0, ended.err
    page = ended.out[ended.out.index("<!doctype html>") : ended.out.index("</html>") + len("</html>")]
    found = Seen(page).text
    assert "2 partitions of orders" in found
    assert "None was committed yet." in found
    assert not [line for line in ended.out.splitlines() if line.startswith("logged: uvicorn")]
