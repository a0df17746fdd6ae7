"""Metrics of streams for Prometheus: what batches add up to, and what a stream says of itself when it is scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from weakref import WeakKeyDictionary

from kafka_stream.errors import MissingExtra
from kafka_stream.observe.measures import GAUGES, MEASURES, PARTITIONS_LIMIT, Add, Measure, MeasuringListener, samples
from kafka_stream.progress import StreamStatus

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise MissingExtra("metrics need prometheus-client: pip install 'kafka-stream[prometheus]'") from error

_PREFIX = "kafka_stream_"


class _Families:
    """Of one registry; the streams of a process share them, told apart by the label ``stream``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.of = {measure: _family(measure, registry) for measure in MEASURES}
        self.info = Gauge(
            f"{_PREFIX}info",
            "1, with the library's version, the code's, and what is promised.",
            ("stream", "version", "code_version", "guarantee"),
            registry=registry,
        )
        self.statuses = _Statuses()
        registry.register(self.statuses)


def _family(measure: Measure, registry: CollectorRegistry) -> Counter | Histogram:
    name, labels = f"{_PREFIX}{measure.name}", ("stream", *measure.labels)
    if measure.buckets:
        return Histogram(name, measure.what, labels, registry=registry, buckets=measure.buckets)
    return Counter(name, measure.what, labels, registry=registry)


class _Statuses(Collector):
    """What streams say of themselves, asked when they are scraped: it goes on while a batch is stuck."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[Callable[[], StreamStatus], int]] = {}

    def add(self, stream: str, status: Callable[[], StreamStatus], partitions_limit: int) -> None:
        """From now on this is the stream of that name."""
        self._of[stream] = status, partitions_limit

    def describe(self) -> Iterable[Metric]:
        """The families without samples, for the registry to refuse others of their names."""
        return self._families().values()

    def collect(self) -> Iterator[Metric]:
        """A sample of each stream; no server is asked."""
        now, families = datetime.now(UTC), self._families()
        for stream, (status, limit) in list(self._of.items()):
            for sample in samples(status(), limit, now):
                families[sample.gauge.name].add_metric((stream, *sample.labels), sample.value)
        yield from families.values()

    @staticmethod
    def _families() -> dict[str, GaugeMetricFamily]:
        return {
            it.name: GaugeMetricFamily(f"{_PREFIX}{it.name}", it.what, labels=["stream", *it.labels]) for it in GAUGES
        }


_FAMILIES: WeakKeyDictionary[CollectorRegistry, _Families] = WeakKeyDictionary()


class PrometheusListener(MeasuringListener):
    """A listener whose metrics are scraped from a registry of prometheus-client; one for each stream.

    A scrape asks no server. ``partitions_limit``: a stream that owns more partitions tells its lag by topic.

    Raises:
        MissingExtra: prometheus-client is not installed (when the module is imported).
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY, *, partitions_limit: int = PARTITIONS_LIMIT) -> None:
        super().__init__()
        if registry not in _FAMILIES:
            _FAMILIES[registry] = _Families(registry)
        self._families = _FAMILIES[registry]
        self._partitions_limit = partitions_limit

    def status_through(self, stream: str, status: Callable[[], StreamStatus]) -> None:
        """From now on it is scraped."""
        super().status_through(stream, status)
        self._families.statuses.add(stream, status, self._partitions_limit)

    def _bind(self, measure: Measure, stream: str, **labels: str) -> Add:
        child = self._families.of[measure].labels(stream=stream, **labels)
        return child.observe if isinstance(child, Histogram) else child.inc

    def _is(self, stream: str, version: str, code_version: str, guarantee: str) -> None:
        self._families.info.labels(stream, version, code_version, guarantee).set(1)


__all__ = ["PrometheusListener"]
