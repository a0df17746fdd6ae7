"""OpenTelemetry: the metrics of ``measures``, and a span for each batch, below which handlers' own spans stand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextvars import Token
from datetime import UTC, datetime
from importlib.metadata import version as installed
from itertools import islice
from typing import NamedTuple, cast

from kafka_stream.batch import Batch
from kafka_stream.errors import MissingExtra
from kafka_stream.observe.measures import (
    GAUGES,
    MEASURES,
    PARTITIONS_LIMIT,
    Add,
    Gauge,
    Measure,
    MeasuringListener,
    samples,
)
from kafka_stream.progress import StreamListener, StreamStatus
from kafka_stream.protocols import BatchProgress
from kafka_stream.types import OffsetRange, Phase, TopicPartition

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise MissingExtra("spans and meters need OpenTelemetry: pip install 'kafka-stream[opentelemetry]'") from error

LINKS_LIMIT = 32
"""So many producers' spans a batch is linked to; as many of its first records are looked at."""
_MOST_OPEN = 16
_SECONDS = "_seconds"
_W3C = TraceContextTextMapPropagator()
_ROOT = Context()


# Metrics --------------------------------------------------------------------------------------------------------------


class OpenTelemetryMetrics(MeasuringListener):
    """Metrics by OpenTelemetry's API: those that Prometheus gets, under the same names. One for each stream.

    ``kafka_stream_records_total`` is the counter ``kafka_stream.records``, what ends in ``_seconds`` has the unit ``s``
    in place of that. An exporter that asks (observable gauges) asks the stream's status, and no server.

    Raises:
        MissingExtra: OpenTelemetry's API is not installed (when the module is imported).
    """

    def __init__(
        self, provider: metrics.MeterProvider | None = None, *, partitions_limit: int = PARTITIONS_LIMIT
    ) -> None:
        super().__init__()
        self._partitions_limit = partitions_limit
        self._status: Callable[[], StreamStatus] = StreamStatus
        meter = metrics.get_meter("kafka_stream", installed("kafka-stream"), provider)
        self._adds = {measure: _instrument(meter, measure) for measure in MEASURES}
        self._info = meter.create_gauge("kafka_stream.info", description="1, with versions and what is promised.")
        for gauge in GAUGES:
            name, unit = _named(gauge.name)
            meter.create_observable_gauge(name, [self._observe(gauge)], unit, gauge.what)

    def status_through(self, stream: str, status: Callable[[], StreamStatus]) -> None:
        """From now on it is asked."""
        super().status_through(stream, status)
        self._status = status

    def _bind(self, measure: Measure, stream: str, **labels: str) -> Add:
        add, attributes = self._adds[measure], {"stream": stream, **labels}
        if not measure.buckets and measure.labels != ("error",):
            add(0, attributes)
        return lambda amount: add(amount, attributes)

    def _is(self, stream: str, version: str, code_version: str, guarantee: str) -> None:
        self._info.set(1, {"stream": stream, "version": version, "code_version": code_version, "guarantee": guarantee})

    def _observe(self, gauge: Gauge) -> Callable[[metrics.CallbackOptions], Iterable[metrics.Observation]]:
        def asked(_: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
            if not self._stream:
                return
            for sample in samples(self._status(), self._partitions_limit, datetime.now(UTC)):
                if sample.gauge is gauge:
                    labels = dict(zip(gauge.labels, sample.labels, strict=True))
                    yield metrics.Observation(sample.value, {"stream": self._stream, **labels})

        return asked


def _instrument(meter: metrics.Meter, measure: Measure) -> Callable[[float, dict[str, str]], None]:
    name, unit = _named(measure.name)
    if not measure.buckets:
        return meter.create_counter(name, unit, measure.what).add
    buckets = [float(each) for each in measure.buckets]
    return meter.create_histogram(name, unit, measure.what, explicit_bucket_boundaries_advisory=buckets).record


def _named(name: str) -> tuple[str, str]:
    """The name and the unit, of which an exporter for Prometheus makes the name again that Prometheus knows."""
    return f"kafka_stream.{name.removesuffix(_SECONDS)}", "s" if name.endswith(_SECONDS) else "1"


# Traces ---------------------------------------------------------------------------------------------------------------

Ranges = tuple[OffsetRange, ...]


class _Part(NamedTuple):
    """A phase that is on, on the loop's thread: its span, and what makes it the current one no more."""

    span: Span
    token: Token[Context]


class OpenTelemetryTraces(StreamListener):
    """A span for each batch, linked to its producers' (W3C trace context in the records' headers). One for each stream.

    Below ``kafka_stream.batch`` stand ``prepare``, ``claim``, ``write`` and ``commit``, and whatever handlers begin of
    their own while they prepare and write. Which batches are recorded is what the provider's sampler says; of those
    ``links_limit`` records are looked at for links. A batch that is given up ends its span as an error, and is another
    one when it is read again. No key, value, or text of an error is in a span.

    Raises:
        MissingExtra: OpenTelemetry's API is not installed (when the module is imported).
    """

    def __init__(self, provider: trace.TracerProvider | None = None, *, links_limit: int = LINKS_LIMIT) -> None:
        self._tracer = trace.get_tracer("kafka_stream", installed("kafka-stream"), provider)
        self._links_limit = links_limit
        self._stream = ""
        self._batches: dict[Ranges, Span] = {}
        self._part: _Part | None = None

    def status_through(self, stream: str, status: Callable[[], StreamStatus]) -> None:
        """What the spans are of."""
        self._stream = stream

    def on_phase(self, phase: Phase, ranges: Ranges) -> None:
        """Begin and end what is on."""
        if phase is Phase.AFTER_FETCH:
            self._begin(ranges)
        elif (batch := self._batches.get(ranges)) is not None:
            following = {Phase.AFTER_PLAN: "claim", Phase.AFTER_CLAIM: "write", Phase.AFTER_WRITE: "commit"}.get(phase)
            if following is not None:
                self._end_part()
                self._begin_part(following, batch)
            elif phase is Phase.AFTER_COMMIT:
                self._end_part()

    def _begin(self, ranges: Ranges) -> None:
        while len(self._batches) >= _MOST_OPEN:
            self._give_up(next(iter(self._batches)), "it was dropped")
        if (before := self._batches.pop(ranges, None)) is not None:
            before.set_status(Status(StatusCode.ERROR, "it was dropped"))
            before.end()
        attributes = {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.consumer.group.name": self._stream,
            "kafka_stream.ranges": [str(each) for each in islice(ranges, 100)],
        }
        # A root of its own: the batch before it may be in the middle of its write.
        self._batches[ranges] = self._tracer.start_span(
            "kafka_stream.batch", _ROOT, SpanKind.CONSUMER, attributes=attributes
        )

    def _begin_part(self, name: str, batch: Span) -> None:
        span = self._tracer.start_span(name, trace.set_span_in_context(batch, _ROOT))
        self._part = _Part(span, context.attach(trace.set_span_in_context(span)))

    def _end_part(self) -> None:
        if self._part is not None:
            part, self._part = self._part, None
            context.detach(part.token)
            part.span.end()

    def preparing(self, batch: Batch) -> Callable[[], None]:
        """A span on the thread that prepares; the batch is linked to those of its producers."""
        parent = self._batches.get(batch.ranges)
        if parent is None:  # a part of a batch, in which a record is looked for that fails
            return lambda: None
        if parent.is_recording():
            parent.set_attribute("messaging.batch.message_count", len(batch))
            for link in self._producers(batch):
                parent.add_link(link)
        span = self._tracer.start_span("prepare", trace.set_span_in_context(parent, _ROOT))
        token = context.attach(trace.set_span_in_context(span))

        def end() -> None:
            context.detach(token)
            span.end()

        return end

    def _producers(self, batch: Batch) -> Sequence[trace.SpanContext]:
        found: dict[int, trace.SpanContext] = {}
        for message in islice(batch, self._links_limit):
            carrier = {
                key.lower(): value.decode("ascii", "replace")
                for key, value in cast("Iterable[tuple[str, bytes | None]]", message.headers() or ())
                if isinstance(value, bytes) and key.lower() in ("traceparent", "tracestate")
            }
            if "traceparent" in carrier:
                span = trace.get_current_span(_W3C.extract(carrier, _ROOT)).get_span_context()
                if span.is_valid:
                    found.setdefault(span.span_id, span)
        return list(found.values())

    def on_batch(self, progress: BatchProgress) -> None:
        """It is committed."""
        batch = self._batches.pop(progress.ranges, None)
        if batch is not None:
            batch.set_attribute("messaging.batch.message_count", progress.records)
            batch.set_attribute("kafka_stream.attempt", progress.attempt)
            batch.end()

    def on_settled(self, committed: bool) -> None:
        """What became of a commit that nobody had answered."""
        if self._part is not None:
            self._part.span.set_attribute("kafka_stream.settled", "committed" if committed else "not committed")
        self._end_part()

    def on_retry(self, error: Exception, delay_s: float) -> None:
        """What is in hand is read again."""
        self._give_all_up(type(error).__name__)

    def on_released(self, partitions: Iterable[TopicPartition]) -> None:
        """What is in hand of these partitions is not committed."""
        gone = set(partitions)
        for ranges in [each for each in self._batches if any(r.topic_partition in gone for r in each)]:
            self._give_up(ranges, "its partitions went to another member")

    def on_stop(self, error: BaseException | None) -> None:
        """What is in hand is not committed."""
        self._give_all_up("the stream has stopped" if error is None else type(error).__name__)

    def _give_all_up(self, why: str) -> None:
        for ranges in list(self._batches):
            self._give_up(ranges, why)

    def _give_up(self, ranges: Ranges, why: str) -> None:
        batch = self._batches.pop(ranges)
        self._end_part()
        batch.set_status(Status(StatusCode.ERROR, why))
        batch.end()


__all__ = ["LINKS_LIMIT", "OpenTelemetryMetrics", "OpenTelemetryTraces"]
