"""Spans of batches, as an exporter gets them: whose parents they are, to whom they are linked; and the same metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from prometheus_client import CollectorRegistry

from kafka_stream.batch import Batch
from kafka_stream.errors import ProcessingError, StoreUnavailable
from kafka_stream.observe.opentelemetry import OpenTelemetryMetrics, OpenTelemetryTraces
from kafka_stream.observe.prometheus import PrometheusListener
from kafka_stream.testing import MemoryKafka
from tests.fakes import ORDERS_0
from tests.simulation import ResultsStore, ResultsTransaction, Simulation, twenty_each, write

TRACE, PRODUCER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PLANTED = "ada@example.org"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    found = TracerProvider()
    found.add_span_processor(SimpleSpanProcessor(exporter))
    return found


def _named(spans: Sequence[ReadableSpan], name: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


def _parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def test_a_batch_is_a_root_with_its_phases_below_and_handlers_below_these(
    store: ResultsStore, exporter: InMemorySpanExporter, provider: TracerProvider
) -> None:
    tracer = provider.get_tracer("application")

    def prepare(batch: Batch) -> Batch:
        with tracer.start_as_current_span("decoding"):
            return batch

    def sink(batch: Batch, transaction: ResultsTransaction) -> None:
        with tracer.start_as_current_span("inserting"):
            write(batch, transaction)

    listeners = [OpenTelemetryTraces(provider)]
    Simulation(twenty_each(), store, prepare=prepare, sink=sink, max_records_per_batch=10, listeners=listeners).run(
        "latest"
    )
    spans = exporter.get_finished_spans()
    batches = _named(spans, "kafka_stream.batch")
    assert [dict(span.attributes or {})["messaging.batch.message_count"] for span in batches] == [10, 10, 10, 10]
    assert {_parent(span) for span in batches} == {None}
    assert all(span.status.is_ok or span.status.is_unset for span in batches)
    ids = {span.context.span_id for span in batches if span.context}
    for name, inside in (("prepare", "decoding"), ("claim", None), ("write", "inserting"), ("commit", None)):
        parts = _named(spans, name)
        assert {_parent(span) for span in parts} == ids, name
        if inside is not None:
            assert {_parent(span) for span in _named(spans, inside)} == {
                it.context.span_id for it in parts if it.context
            }
    assert not trace.get_current_span().get_span_context().is_valid, "nothing stays current"


def test_batches_are_linked_to_the_spans_of_their_producers(
    store: ResultsStore, exporter: InMemorySpanExporter, provider: TracerProvider
) -> None:
    kafka = MemoryKafka({"orders": 1})
    for header in (f"00-{TRACE}-{PRODUCER}-01", f"00-{TRACE}-{PRODUCER}-01", "no trace context", PLANTED):
        kafka.produce("orders", PLANTED, headers=[("traceparent", header.encode()), ("other", b"\xff")])
    kafka.produce("orders", None, key=PLANTED)
    Simulation(kafka, store, prepare=lambda batch: batch, listeners=[OpenTelemetryTraces(provider)]).run("latest")
    (batch,) = _named(exporter.get_finished_spans(), "kafka_stream.batch")
    assert [(f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") for link in batch.links] == [
        (TRACE, PRODUCER)
    ]
    assert PLANTED not in "".join(span.to_json() for span in exporter.get_finished_spans())


@pytest.mark.parametrize("step", ["begin", "advance", "commit"])
def test_a_batch_that_is_given_up_ends_as_an_error_and_is_another_one_when_it_is_read_again(
    store: ResultsStore, exporter: InMemorySpanExporter, provider: TracerProvider, step: str
) -> None:
    store.failures[step] = [StoreUnavailable(PLANTED)]
    Simulation(twenty_each(), store, listeners=[OpenTelemetryTraces(provider)]).run("latest")
    failed, good = _named(exporter.get_finished_spans(), "kafka_stream.batch")
    assert (failed.status.is_ok or failed.status.is_unset, failed.status.description) == (False, "StoreUnavailable")
    assert good.status.is_unset
    assert dict(good.attributes or {})["kafka_stream.attempt"] == 2
    assert PLANTED not in "".join(span.to_json() for span in exporter.get_finished_spans())
    assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.parametrize(("lost", "outcome"), [("after", "committed"), ("before", "not committed")])
def test_what_became_of_an_unknown_commit_is_told_by_its_span(
    store: ResultsStore, exporter: InMemorySpanExporter, provider: TracerProvider, lost: str, outcome: str
) -> None:
    store.lost_answers = [lost]
    Simulation(twenty_each(), store, listeners=[OpenTelemetryTraces(provider)]).run("latest")
    first, *others = _named(exporter.get_finished_spans(), "commit")
    assert dict(first.attributes or {})["kafka_stream.settled"] == outcome
    assert len(others) == (lost == "before")


def test_a_failure_ends_every_span(
    store: ResultsStore, exporter: InMemorySpanExporter, provider: TracerProvider
) -> None:
    def sink(batch: Batch, transaction: ResultsTransaction) -> None:
        raise LookupError(PLANTED)

    with pytest.raises(ProcessingError):
        Simulation(twenty_each(), store, sink=sink, listeners=[OpenTelemetryTraces(provider)]).run("latest")
    spans = exporter.get_finished_spans()
    assert {span.name for span in spans} == {"kafka_stream.batch", "claim", "write"} | (
        {"prepare"} & {span.name for span in spans}
    )
    assert PLANTED not in "".join(span.to_json() for span in spans)
    assert not trace.get_current_span().get_span_context().is_valid


def test_what_the_sampler_leaves_out_is_not_looked_into(store: ResultsStore) -> None:
    class Looked(OpenTelemetryTraces):
        def _producers(self, batch: Batch) -> Any:
            raise AssertionError("the batch is not recorded")

    listener = Looked(TracerProvider(sampler=ALWAYS_OFF))
    Simulation(twenty_each(), store, prepare=lambda batch: batch, listeners=[listener]).run("latest")
    assert len(store.rows) == 40


def test_partitions_that_go_take_what_was_taken_ahead_with_them(
    store: ResultsStore, exporter: InMemorySpanExporter, provider: TracerProvider
) -> None:
    kafka = twenty_each()
    settings: dict[str, Any] = {"assignment": "group", "max_records_per_batch": 6}
    run = Simulation(kafka, store, listeners=[OpenTelemetryTraces(provider)], **settings)
    other = Simulation(kafka, store, **settings)
    run.at(0.5, other.source.subscribe)
    run.at(2, run.stop)
    run.run()
    ended = _named(exporter.get_finished_spans(), "kafka_stream.batch")
    assert sum(span.status.is_unset for span in ended) == len(run.story.batches)


# Metrics --------------------------------------------------------------------------------------------------------------


def _exported(name: str, unit: str, *, counts: bool) -> str:
    """What an exporter for Prometheus makes of a name (OpenTelemetry's specification, Prometheus compatibility)."""
    found = name.replace(".", "_") + ("_seconds" if unit == "s" else "")
    return f"{found}_total" if counts else found


def test_metrics_are_those_of_prometheus(store: ResultsStore) -> None:
    reader, registry = InMemoryMetricReader(), CollectorRegistry()
    listeners = [OpenTelemetryMetrics(MeterProvider([reader])), PrometheusListener(registry)]
    store.failures["commit"] = [StoreUnavailable(PLANTED)]
    run = Simulation(twenty_each(), store, max_records_per_batch=10, listeners=listeners)
    run.at(60, run.stop)
    run.run()
    data = reader.get_metrics_data()
    assert data is not None
    assert PLANTED not in data.to_json()
    told: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            labels = tuple(sorted((key, str(value)) for key, value in dict(point.attributes or {}).items()))
            value = getattr(point, "value", None)
            name = _exported(metric.name, metric.unit or "", counts=type(metric.data).__name__ == "Sum")
            told[name if value is not None else f"{name}_sum", labels] = point.sum if value is None else value  # type: ignore[union-attr]
    expected = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created", "_count"))
    }
    assert told.keys() == expected.keys()
    for key, value in expected.items():
        assert told[key] == pytest.approx(value, abs=1.0), key


def test_nothing_is_told_of_a_stream_that_has_not_begun() -> None:
    reader = InMemoryMetricReader()
    OpenTelemetryMetrics(MeterProvider([reader]))
    data = reader.get_metrics_data()
    scopes = [] if data is None else [scope for each in data.resource_metrics for scope in each.scope_metrics]
    assert not [metric for scope in scopes for metric in scope.metrics if metric.data.data_points]


def test_a_listener_that_fails_while_a_batch_is_prepared_changes_nothing(
    store: ResultsStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(OpenTelemetryTraces):
        def preparing(self, batch: Batch) -> Any:
            raise LookupError("no")

    run = Simulation(twenty_each(), store, prepare=lambda batch: batch, listeners=[Failing()])
    run.run({ORDERS_0: 20})
    assert len(store.rows) == 20
    assert "failed; the stream goes on" in caplog.text
