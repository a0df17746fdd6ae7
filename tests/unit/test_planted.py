"""A password and an e-mail address, planted where they belong, are nowhere that operators look."""

from __future__ import annotations

import json
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest

from kafka_stream import DirectStream
from kafka_stream.batch import Batch
from kafka_stream.cli.logs import JsonFormatter
from kafka_stream.errors import KafkaStreamError
from kafka_stream.observe.http import app, served
from kafka_stream.observe.opentelemetry import OpenTelemetryTraces
from kafka_stream.observe.prometheus import PrometheusListener
from kafka_stream.sinks.sql import SqlSink
from kafka_stream.testing import MemoryKafka
from tests.command_line import Invoke

EMAIL, PASSWORD = "planted@example.org", "planted-password"
PEOPLE = sa.Table("people", sa.MetaData(), sa.Column("email", sa.Text, sa.CheckConstraint("length(email) < 5")))


def _rows(batch: Batch) -> Iterator[dict[str, Any]]:
    for _, person in batch.decoded(json.loads):
        yield {"email": person["email"]}


def _decode(batch: Batch, transaction: Any) -> None:
    assert list(batch.decoded(json.loads))


def _talkative(batch: Batch) -> Any:
    raise ValueError(f"{EMAIL} is no address, and {PASSWORD} no password")


def _kafka(value: str) -> MemoryKafka:
    kafka = MemoryKafka({"orders": 1})
    kafka.produce("orders", value, key=EMAIL, headers=[("who", EMAIL.encode())])
    return kafka


def _asked(url: str) -> str:
    try:
        with urllib.request.urlopen(url) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()


CASES = {
    "a row that the database refuses": (json.dumps({"email": EMAIL}), _rows),
    "a message that cannot be decoded": (f"{EMAIL} {PASSWORD}", _rows),
    "a handler that says it in its error": (json.dumps({"email": EMAIL}), _talkative),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("on_error", ["stop", "dead-letter"])
def test_nobody_is_told(case: str, on_error: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    value, prepare = CASES[case]
    url = f"sqlite:///{tmp_path}/planted.db"
    PEOPLE.create(engine := sa.create_engine(url))
    engine.dispose()
    exporter, registry, provider = InMemorySpanExporter(), CollectorRegistry(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    stream = DirectStream(
        name="planted",
        topics=["orders"],
        kafka=_kafka(value),
        store=url,
        assignment="static",
        sink=SqlSink(PEOPLE, prepare),
        on_error=on_error,
        listeners=[PrometheusListener(registry), OpenTelemetryTraces(provider)],
    )
    told: list[str] = [repr(stream), repr(stream.settings), str(stream.about())]
    with caplog.at_level(logging.DEBUG):
        if on_error == "stop":
            with pytest.raises(KafkaStreamError) as failed:
                stream.run("latest")
            if prepare is not _talkative:  # what user code says itself is told to whoever hears of the failure
                told += [str(failed.value), repr(failed.value)]
        else:
            assert stream.run("latest").dead_letters == 1
    for record in caplog.records:
        record.exc_info = None  # a traceback is for those who ask for it, and has what user code says
        told.append(JsonFormatter().format(record))
    told += [generate_latest(registry).decode(), *(span.to_json() for span in exporter.get_finished_spans())]
    with served(app(stream, registry=registry), "127.0.0.1:0") as where:
        told += [_asked(f"{where}{path}") for path in ("/live", "/ready", "/startup", "/status", "/metrics", "/")]
    for text in told:
        assert EMAIL not in text
        assert PASSWORD not in text


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_commands_tell_nobody_either(form: str, invoke: Invoke, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/planted.db"
    stream = DirectStream(
        name="planted",
        topics=["orders"],
        kafka=_kafka(f"{EMAIL} {PASSWORD}"),
        store=url,
        assignment="static",
        sink=_decode,
        on_error="dead-letter",
    )
    stream.run("latest")
    for command in (["describe"], ["streams"], ["history"], ["dead-letters", "list"], ["dead-letters", "stats"]):
        whose = [] if command == ["streams"] else ["--stream", "planted"]
        group = command[:1] if command[0] == "dead-letters" else ["offsets"]
        rest = command[1:] if command[0] == "dead-letters" else command
        ended = invoke(*group, *rest, *whose, "--store", url, "--output", form)
        assert ended.status == 0, ended.err
        assert PASSWORD not in ended.out + ended.err
        if command[-1] != "list":  # which shows keys, for people to find a record by
            assert EMAIL not in ended.out + ended.err
