"""The probes' answers by a stream's status, and the same over HTTP."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from kafka_stream.errors import BrokerUnavailable, ConfigurationError, PartitionsHeld, ProcessingError
from kafka_stream.observe.health import report, why_not_alive, why_not_ready, why_not_started
from kafka_stream.observe.http import app, served
from kafka_stream.observe.prometheus import PrometheusListener
from kafka_stream.progress import StreamState, StreamStatus
from kafka_stream.types import Guarantee, Owner, TopicPartition
from tests.command_line import Invoke, one_sentence
from tests.memory_app import MEMORY_APP

NOW = datetime(2026, 1, 31, tzinfo=UTC)
ORDERS_0 = TopicPartition("orders", 0)
RUNNING = StreamStatus(StreamState.RUNNING, positions={ORDERS_0: 5}, lag={ORDERS_0: None})
AWAY = BrokerUnavailable("no broker answers at kafka:9092")
HELD = PartitionsHeld("orders[0] is held", partitions=(ORDERS_0,))
FAILED = replace(RUNNING, state=StreamState.FAILED, error=ProcessingError("the row of ada@example.org"))
IN_HAND = replace(RUNNING, batch_started_at=NOW - timedelta(seconds=599))
STUCK = replace(RUNNING, batch_started_at=NOW - timedelta(seconds=600))


@pytest.mark.parametrize(
    ("status", "alive", "started", "ready"),
    [
        (StreamStatus(), True, False, False),
        (StreamStatus(StreamState.STARTING), True, False, False),
        (StreamStatus(StreamState.STARTING, error=AWAY), True, False, False),
        (RUNNING, True, True, True),
        (StreamStatus(StreamState.RUNNING), True, True, True),  # a member whose group has given it nothing
        (StreamStatus(StreamState.RUNNING, error=HELD), True, True, False),
        (replace(RUNNING, state=StreamState.RETRYING, error=AWAY), True, True, True),
        (StreamStatus(StreamState.RETRYING, error=AWAY), True, True, False),
        (IN_HAND, True, True, True),
        (STUCK, False, True, True),
        (replace(RUNNING, state=StreamState.STOPPING), True, True, False),
        (replace(RUNNING, state=StreamState.STOPPED), True, True, False),
        (FAILED, False, False, False),
    ],
)
def test_what_each_probe_says(status: StreamStatus, *, alive: bool, started: bool, ready: bool) -> None:
    assert (why_not_alive(status, NOW) is None) == alive
    assert (why_not_started(status) is None) == started
    assert (why_not_ready(status) is None) == ready


def test_a_report_is_json_and_says_nothing_that_user_code_has_raised() -> None:
    owner = Owner("0123", "host-1", "v7")
    status = replace(
        STUCK,
        owner=owner,
        guarantee=Guarantee.EXACTLY_ONCE,
        lag={ORDERS_0: 3},
        pinned={ORDERS_0: NOW},
        committed_at=NOW,
        records=7,
    )
    found = json.loads(json.dumps(report("orders", status, NOW)))
    assert found["partitions"] == [
        {"topic": "orders", "partition": 0, "next_offset": 5, "lag": 3, "pinned_since": "2026-01-31T00:00:00+00:00"}
    ]
    assert (found["state"], found["batch_in_hand_s"], found["records"]) == ("running", 600.0, 7)
    assert found["owner"] == {"id": "0123", "host": "host-1", "code_version": "v7"}
    assert report("orders", FAILED, NOW)["error"] == {"type": "ProcessingError", "message": None}
    assert report("orders", replace(RUNNING, error=AWAY), NOW)["error"]["message"] == str(AWAY)


# ---------------------------------------------------------------------------------------------------------- over HTTP


@dataclass
class Stream:
    """One whose status a test sets."""

    name: str
    told: StreamStatus

    def status(self) -> StreamStatus:
        return self.told


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_probes_over_http() -> None:
    orders, users = Stream("orders", RUNNING), Stream("users", RUNNING)
    with served(app(orders, users, registry=CollectorRegistry()), "127.0.0.1:0") as where:
        assert [_get(f"{where}/{probe}") for probe in ("live", "startup", "ready")] == [(200, "ok\n")] * 3
        users.told = FAILED
        assert _get(f"{where}/live") == (503, "users: the stream has failed (ProcessingError)\n")
        users.told = replace(RUNNING, batch_started_at=datetime.now(UTC) - timedelta(hours=1))
        status, text = _get(f"{where}/live")
        assert (status, text.startswith("users: the batch in hand has been for 3600 s")) == (503, True)
        users.told = replace(RUNNING, state=StreamState.RETRYING, error=AWAY)
        assert _get(f"{where}/live") == (200, "ok\n")
        assert [each["state"] for each in json.loads(_get(f"{where}/status")[1])["streams"]] == ["running", "retrying"]
        assert _get(f"{where}/none")[0] == 404
    with pytest.raises(urllib.error.URLError):
        _get(f"{where}/live")


def test_metrics_over_http() -> None:
    registry = CollectorRegistry()
    listener = PrometheusListener(registry)
    listener.status_through("orders", lambda: RUNNING)
    listener.on_start("orders", Owner("0123", "host"), Guarantee.EXACTLY_ONCE)
    with served(app(Stream("orders", RUNNING), registry=registry), "127.0.0.1:0") as where:
        families = {each.name: each for each in text_string_to_metric_families(_get(f"{where}/metrics")[1])}
    assert [sample.value for sample in families["kafka_stream_partitions"].samples] == [1]


@pytest.mark.parametrize("address", ["8080", ":8080", "localhost:", "localhost:http", "127.0.0.1:70000"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ConfigurationError, match="is no HOST:PORT"), served(app(), address):
        pass


def test_an_address_that_somebody_has() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigurationError, match=f"nothing can be served at {address}"), served(app(), address):
            pass


def test_an_address_of_ipv6() -> None:
    with served(app(Stream("orders", RUNNING)), "[::1]:0") as where:
        assert where.startswith("http://[::1]:")
        assert _get(f"{where}/ready") == (200, "ok\n")


# ---------------------------------------------------------------------------------------------------- kafka-stream run

ASKING = MEMORY_APP.replace(
    "def write(batch, transaction):",
    """def write(batch, transaction):
    import logging, urllib.request
    where = [each.getMessage() for each in seen if "answers at" in each.getMessage()][0].split()[-1]
    for path in ("live", "startup", "ready", "status", "metrics"):
        with urllib.request.urlopen(f"{where}/{path}", timeout=30) as answer:
            print(path, answer.status, len(answer.read()) > 0)""",
).replace(
    "results =",
    """import logging

seen = []

class Seen(logging.Handler):
    def emit(self, record):
        seen.append(record)

logging.basicConfig(level="INFO", handlers=[Seen()])
results =""",
)


def test_a_run_answers_while_it_is_at_work(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(ASKING)
    ended = invoke("run", "app:stream", "--until", "latest", "--http", "127.0.0.1:0")
    assert ended.status == 0, ended.err
    said = set(ended.out.splitlines())
    assert said == {f"{path} 200 True" for path in ("live", "startup", "ready", "status", "metrics")}


def test_a_run_that_cannot_be_asked_does_not_begin(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(MEMORY_APP)
    ended = invoke("run", "app:stream", "--until", "latest", "--http", "nowhere")
    assert ended.status == 2
    assert one_sentence(ended) == "--http: 'nowhere' is no HOST:PORT, such as 127.0.0.1:8080, or 0.0.0.0:8080"
    assert not (tmp_path / "orders.db").exists()
