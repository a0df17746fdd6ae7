"""Metrics of streams for Prometheus: what batches add up to, and what a stream says of itself when it is scraped."""

from __future__ import annotations

from collections import Counter as Sums
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import NamedTuple
from weakref import WeakKeyDictionary

from kafka_stream.errors import MissingExtra
from kafka_stream.progress import StreamListener, StreamState, StreamStatus
from kafka_stream.protocols import BatchProgress
from kafka_stream.types import Guarantee, Owner, TopicPartition

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise MissingExtra("metrics need prometheus-client: pip install 'kafka-stream[prometheus]'") from error

PARTITIONS_LIMIT = 100
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_AGES = (*_SECONDS[3:], 300, 1_800, 3_600, 21_600, 86_400)
_RECORDS = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
_ALL = "all"


class _Families:
    """Of one registry; the streams of a process share them, told apart by the label ``stream``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"kafka_stream_{name}", what, ("stream", *labels), registry=registry)

        def histogram(name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"kafka_stream_{name}", what, ("stream", *labels), registry=registry, buckets=buckets)

        self.batches = counter("batches", "Batches that were committed.")
        self.records = counter("records", "Records in them.")
        self.bytes = counter("record_bytes", "Bytes of these records' values.")
        self.dead_letters = counter("dead_letters", "Those of the records that were set aside as dead letters.")
        self.duplicates = counter("duplicates", "Those of the records that were kept back as duplicates.")
        self.retries = counter("retries", "What was tried again, a start or a batch, by the error's type.", "error")
        self.failures = counter("failures", "Runs that failed, by the error's type.", "error")
        self.takeovers = counter("takeovers", "Partitions that were taken over.")
        self.releases = counter("releases", "Partitions that went to another member, or that the group took away.")
        self.data_losses = counter("data_losses", "Losses of data that were answered, as on_data_loss says.")
        self.settled = counter("settled_commits", "Commits whose outcome was unknown, by what came of them.", "outcome")
        self.ages = histogram(
            "record_to_commit_seconds", "From the oldest record's timestamp to the commit of its batch.", _AGES
        )
        self.phases = histogram("phase_seconds", "How long a committed batch took, by phase.", _SECONDS, "phase")
        self.sizes = histogram("batch_records", "Records of a committed batch.", _RECORDS)
        self.info = Gauge(
            "kafka_stream_info",
            "1, with the library's version, the code's, and what is promised.",
            ("stream", "version", "code_version", "guarantee"),
            registry=registry,
        )
        self.statuses = _Statuses()
        registry.register(self.statuses)


class _Statuses(Collector):
    """What streams say of themselves, asked when they are scraped: it goes on while a batch is stuck."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[Callable[[], StreamStatus], int]] = {}

    def add(self, stream: str, status: Callable[[], StreamStatus], partitions_limit: int) -> None:
        """From now on this is the stream of that name."""
        self._of[stream] = status, partitions_limit

    def describe(self) -> Iterable[Metric]:
        """The families without samples, for the registry to refuse others of their names."""
        return (GaugeMetricFamily(name, what, labels=["stream", *labels]) for name, what, labels in GAUGES)

    def collect(self) -> Iterator[Metric]:
        """A sample of each stream; no server is asked."""
        now = datetime.now(UTC)
        samples = [
            sample
            for stream, (status, limit) in list(self._of.items())
            for sample in _samples(stream, status(), limit, now)
        ]
        for name, what, labels in GAUGES:
            family = GaugeMetricFamily(name, what, labels=["stream", *labels])
            for sample in samples:
                if sample.name == name:
                    family.add_metric(sample.labels, sample.value)
            yield family


GAUGES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("kafka_stream_state", "1 for the state that the stream is in, 0 for the others.", ("state",)),
    ("kafka_stream_partitions", "Partitions that are owned now.", ()),
    (
        "kafka_stream_lag_records",
        (
            "Offsets between the last commit and the end that can be read; of all partitions of a topic together, with "
            'partition="all", where the stream owns more than the limit.'
        ),
        ("topic", "partition"),
    ),
    (
        "kafka_stream_lag_seconds",
        (
            "0 without a lag; else how old the last record is that this run has committed of the partition. Of all "
            'partitions of a topic the largest, with partition="all", where the stream owns more than the limit.'
        ),
        ("topic", "partition"),
    ),
    ("kafka_stream_lag_unknown_partitions", "Owned partitions whose end nobody has told lately.", ()),
    ("kafka_stream_pinned_partitions", "Owned partitions that an open transaction has held for a minute.", ()),
    ("kafka_stream_batch_in_hand_seconds", "How long the batch in hand has been; 0 without one.", ()),
    ("kafka_stream_last_commit_timestamp_seconds", "When a batch was last committed, if one was.", ()),
)
"""Name, meaning and labels (beside ``stream``) of what is asked at a scrape."""


class _Sample(NamedTuple):
    name: str
    labels: tuple[str, ...]
    value: float


def _samples(stream: str, status: StreamStatus, partitions_limit: int, now: datetime) -> Iterator[_Sample]:
    for state in StreamState:
        yield _Sample("kafka_stream_state", (stream, state.value), float(status.state is state))
    yield _Sample("kafka_stream_partitions", (stream,), len(status.positions))
    for labels, lag in _lags(status.lag, partitions_limit):
        yield _Sample("kafka_stream_lag_records", (stream, *labels), lag)
    for labels, seconds in _lags_s(status, partitions_limit, now):
        yield _Sample("kafka_stream_lag_seconds", (stream, *labels), seconds)
    unknown = sum(1 for lag in status.lag.values() if lag is None)
    yield _Sample("kafka_stream_lag_unknown_partitions", (stream,), unknown)
    yield _Sample("kafka_stream_pinned_partitions", (stream,), len(status.pinned))
    begun = status.batch_started_at
    in_hand_s = 0.0 if begun is None else max(0.0, (now - begun).total_seconds())
    yield _Sample("kafka_stream_batch_in_hand_seconds", (stream,), in_hand_s)
    if status.committed_at is not None:
        yield _Sample("kafka_stream_last_commit_timestamp_seconds", (stream,), status.committed_at.timestamp())


def _lags(lag: Mapping[TopicPartition, int | None], partitions_limit: int) -> Iterator[tuple[tuple[str, str], int]]:
    known = {tp: each for tp, each in lag.items() if each is not None}
    if len(lag) <= partitions_limit:
        yield from (((tp.topic, str(tp.partition)), each) for tp, each in sorted(known.items()))
        return
    sums: Sums[str] = Sums()
    for tp, each in known.items():
        sums[tp.topic] += each
    yield from (((topic, _ALL), each) for topic, each in sorted(sums.items()))


def _lags_s(status: StreamStatus, partitions_limit: int, now: datetime) -> Iterator[tuple[tuple[str, str], float]]:
    """Of the partitions of which it is known: at their end, or since this run has committed one of their records."""
    known = {tp: 0.0 for tp, lag in status.lag.items() if lag == 0}
    for tp, reached in status.reached.items():
        if status.lag.get(tp):
            known[tp] = max(0.0, (now - reached).total_seconds())
    if len(status.lag) <= partitions_limit:
        yield from (((tp.topic, str(tp.partition)), each) for tp, each in sorted(known.items()))
        return
    largest: dict[str, float] = {}
    for tp, each in known.items():
        largest[tp.topic] = max(largest.get(tp.topic, 0.0), each)
    yield from (((topic, _ALL), each) for topic, each in sorted(largest.items()))


_FAMILIES: WeakKeyDictionary[CollectorRegistry, _Families] = WeakKeyDictionary()


class _Stream:
    """The samples of one stream, found once: a batch would take longer to look them up than to add to them."""

    def __init__(self, families: _Families, stream: str) -> None:
        self.batches = families.batches.labels(stream)
        self.records = families.records.labels(stream)
        self.bytes = families.bytes.labels(stream)
        self.dead_letters = families.dead_letters.labels(stream)
        self.duplicates = families.duplicates.labels(stream)
        self.takeovers = families.takeovers.labels(stream)
        self.releases = families.releases.labels(stream)
        self.data_losses = families.data_losses.labels(stream)
        self.settled = {it: families.settled.labels(stream, it) for it in ("committed", "not committed")}
        self.sizes = families.sizes.labels(stream)
        self.ages = families.ages.labels(stream)
        self.fetch, self.prepare, self.claim, self.write, self.commit = (
            families.phases.labels(stream, phase) for phase in ("fetch", "prepare", "claim", "write", "commit")
        )


class PrometheusListener(StreamListener):
    """A listener whose metrics are scraped from a registry of prometheus-client; one for each stream.

    A batch costs a constant number of additions, whatever it holds; a scrape asks no server. No value of a record and
    no text of an error is in a label. ``partitions_limit``: a stream that owns more partitions tells its lag by topic.

    Raises:
        MissingExtra: prometheus-client is not installed (when the module is imported).
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY, *, partitions_limit: int = PARTITIONS_LIMIT) -> None:
        if registry not in _FAMILIES:
            _FAMILIES[registry] = _Families(registry)
        self._families = _FAMILIES[registry]
        self._partitions_limit = partitions_limit
        self._stream = ""
        self._of: _Stream | None = None

    def status_through(self, stream: str, status: Callable[[], StreamStatus]) -> None:
        """From now on it is scraped, with zeros for what has not happened yet, whether its start goes well or not."""
        self._stream, self._of = stream, _Stream(self._families, stream)
        self._families.statuses.add(stream, status, self._partitions_limit)

    def _of_stream(self) -> _Stream:
        assert self._of is not None, "a run begins with status_through"
        return self._of

    def on_start(self, stream: str, owner: Owner, guarantee: Guarantee) -> None:
        """Say what runs."""
        self._families.info.labels(stream, version("kafka-stream"), owner.code_version or "", guarantee.value).set(1)

    def on_positions(self, positions: Mapping[TopicPartition, int]) -> None:
        """Count takeovers."""
        self._of_stream().takeovers.inc(len(positions))

    def on_released(self, partitions: Collection[TopicPartition]) -> None:
        """Count releases."""
        self._of_stream().releases.inc(len(partitions))

    def on_moved(self, partition: TopicPartition, from_offset: int, until_offset: int) -> None:
        """Count a loss of data."""
        self._of_stream().data_losses.inc()

    def on_settled(self, committed: bool) -> None:
        """Count it by what came of it."""
        self._of_stream().settled["committed" if committed else "not committed"].inc()

    def on_batch(self, progress: BatchProgress) -> None:
        """Add a committed batch."""
        found = self._of_stream()
        found.batches.inc()
        found.records.inc(progress.records)
        found.bytes.inc(progress.bytes)
        if progress.dead_letters:
            found.dead_letters.inc(progress.dead_letters)
        if progress.duplicates:
            found.duplicates.inc(progress.duplicates)
        found.sizes.observe(progress.records)
        if progress.times:
            oldest = min(first for first, _ in progress.times.values())
            found.ages.observe(max(0.0, (progress.committed_at - oldest).total_seconds()))
        found.fetch.observe(progress.fetch_s)
        found.prepare.observe(progress.prepare_s)
        found.claim.observe(progress.claim_s)
        found.write.observe(progress.write_s)
        found.commit.observe(progress.commit_s)

    def on_retry(self, error: Exception, delay_s: float) -> None:
        """Count it by its type, which says what kind it is; its text may say anything."""
        self._families.retries.labels(self._stream, type(error).__name__).inc()

    def on_stop(self, error: BaseException | None) -> None:
        """Count a run that failed."""
        if error is not None:
            self._families.failures.labels(self._stream, type(error).__name__).inc()


__all__ = ["GAUGES", "PARTITIONS_LIMIT", "PrometheusListener"]
