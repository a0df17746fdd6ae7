"""What is measured of streams, whoever collects it: sums that batches add to, and what a stream says when asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import NamedTuple

from kafka_stream.progress import StreamListener, StreamState, StreamStatus
from kafka_stream.protocols import BatchProgress
from kafka_stream.types import Guarantee, Owner, TopicPartition

PARTITIONS_LIMIT = 100
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_AGES = (*_SECONDS[3:], 300, 1_800, 3_600, 21_600, 86_400)
_RECORDS = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
_ALL = "all"
_PHASES = ("fetch", "prepare", "claim", "write", "commit")
_OUTCOMES = {True: "committed", False: "not committed"}


@dataclass(frozen=True)
class Measure:
    """What batches and events add to: a counter, or with ``buckets`` a histogram. ``labels`` are beside ``stream``."""

    name: str
    what: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


BATCHES = Measure("batches", "Batches that were committed.")
RECORDS = Measure("records", "Records in them.")
BYTES = Measure("record_bytes", "Bytes of these records' values.")
DEAD_LETTERS = Measure("dead_letters", "Those of the records that were set aside as dead letters.")
DUPLICATES = Measure("duplicates", "Those of the records that were kept back as duplicates.")
RETRIES = Measure("retries", "What was tried again, a start or a batch, by the error's type.", ("error",))
FAILURES = Measure("failures", "Runs that failed, by the error's type.", ("error",))
TAKEOVERS = Measure("takeovers", "Partitions that were taken over.")
RELEASES = Measure("releases", "Partitions that went to another member, or that the group took away.")
DATA_LOSSES = Measure("data_losses", "Losses of data that were answered, as on_data_loss says.")
SETTLED = Measure("settled_commits", "Commits whose outcome was unknown, by what came of them.", ("outcome",))
PHASES = Measure("phase_seconds", "How long a committed batch took, by phase.", ("phase",), _SECONDS)
AGES = Measure("record_to_commit_seconds", "From the oldest record's timestamp to the commit of its batch.", (), _AGES)
SIZES = Measure("batch_records", "Records of a committed batch.", (), _RECORDS)

MEASURES = (
    *(BATCHES, RECORDS, BYTES, DEAD_LETTERS, DUPLICATES, RETRIES, FAILURES, TAKEOVERS, RELEASES, DATA_LOSSES, SETTLED),
    *(PHASES, AGES, SIZES),
)


@dataclass(frozen=True)
class Gauge:
    """What a stream is asked for. ``labels`` are beside ``stream``."""

    name: str
    what: str
    labels: tuple[str, ...] = ()


STATE = Gauge("state", "1 for the state that the stream is in, 0 for the others.", ("state",))
PARTITIONS = Gauge("partitions", "Partitions that are owned now.")
LAG = Gauge(
    "lag_records",
    (
        "Offsets between the last commit and the end that can be read; of all partitions of a topic together, with "
        'partition="all", where the stream owns more than the limit.'
    ),
    ("topic", "partition"),
)
LAG_S = Gauge(
    "lag_seconds",
    (
        "0 without a lag; else how old the last record is that this run has committed of the partition. Of all "
        'partitions of a topic the largest, with partition="all", where the stream owns more than the limit.'
    ),
    ("topic", "partition"),
)
UNKNOWN = Gauge("lag_unknown_partitions", "Owned partitions whose end nobody has told lately.")
PINNED = Gauge("pinned_partitions", "Owned partitions that an open transaction has held for a minute.")
BUFFERED = Gauge("buffered_records", "Records that clients had fetched when the last batch was planned.")
IN_HAND = Gauge("batch_in_hand_seconds", "How long the batch in hand has been; 0 without one.")
COMMITTED_AT = Gauge("last_commit_timestamp_seconds", "When a batch was last committed, if one was.")

GAUGES = (STATE, PARTITIONS, LAG, LAG_S, UNKNOWN, PINNED, BUFFERED, IN_HAND, COMMITTED_AT)


class Sample(NamedTuple):
    """One value of a gauge; ``labels`` are those of the gauge, in their order."""

    gauge: Gauge
    labels: tuple[str, ...]
    value: float


def samples(status: StreamStatus, partitions_limit: int, now: datetime) -> Iterator[Sample]:
    """What a stream says of itself; no server is asked."""
    for state in StreamState:
        yield Sample(STATE, (state.value,), float(status.state is state))
    yield Sample(PARTITIONS, (), len(status.positions))
    for labels, lag in _lags(status.lag, partitions_limit):
        yield Sample(LAG, labels, lag)
    for labels, seconds in _lags_s(status, partitions_limit, now):
        yield Sample(LAG_S, labels, seconds)
    yield Sample(UNKNOWN, (), sum(1 for lag in status.lag.values() if lag is None))
    yield Sample(PINNED, (), len(status.pinned))
    yield Sample(BUFFERED, (), status.buffered)
    begun = status.batch_started_at
    yield Sample(IN_HAND, (), 0.0 if begun is None else max(0.0, (now - begun).total_seconds()))
    if status.committed_at is not None:
        yield Sample(COMMITTED_AT, (), status.committed_at.timestamp())


def _lags(lag: Mapping[TopicPartition, int | None], partitions_limit: int) -> Iterator[tuple[tuple[str, str], float]]:
    known = {tp: float(each) for tp, each in lag.items() if each is not None}
    sums: defaultdict[str, float] = defaultdict(float)
    for tp, each in known.items():
        sums[tp.topic] += each
    return _by_partition(known, sums, is_few=len(lag) <= partitions_limit)


def _lags_s(status: StreamStatus, partitions_limit: int, now: datetime) -> Iterator[tuple[tuple[str, str], float]]:
    """Of the partitions of which it is known: at their end, or since this run has committed one of their records."""
    known = {tp: 0.0 for tp, lag in status.lag.items() if lag == 0}
    for tp, reached in status.reached.items():
        if status.lag.get(tp):
            known[tp] = max(0.0, (now - reached).total_seconds())
    largest: dict[str, float] = {}
    for tp, each in known.items():
        largest[tp.topic] = max(largest.get(tp.topic, 0.0), each)
    return _by_partition(known, largest, is_few=len(status.lag) <= partitions_limit)


def _by_partition(
    known: Mapping[TopicPartition, float], by_topic: Mapping[str, float], *, is_few: bool
) -> Iterator[tuple[tuple[str, str], float]]:
    if is_few:
        return (((tp.topic, str(tp.partition)), each) for tp, each in sorted(known.items()))
    return (((topic, _ALL), each) for topic, each in sorted(by_topic.items()))


Add = Callable[[float], object]


class _Bound:
    """The sums of one stream, found once: a batch would take longer to look them up than to add to them."""

    def __init__(self, bind: Callable[..., Add], stream: str) -> None:
        def of(measure: Measure, **labels: str) -> Add:
            return bind(measure, stream, **labels)

        self.batches, self.records, self.bytes = of(BATCHES), of(RECORDS), of(BYTES)
        self.dead_letters, self.duplicates = of(DEAD_LETTERS), of(DUPLICATES)
        self.takeovers, self.releases, self.data_losses = of(TAKEOVERS), of(RELEASES), of(DATA_LOSSES)
        self.settled = {came: of(SETTLED, outcome=outcome) for came, outcome in _OUTCOMES.items()}
        self.fetch, self.prepare, self.claim, self.write, self.commit = (of(PHASES, phase=it) for it in _PHASES)
        self.sizes, self.ages = of(SIZES), of(AGES)


class MeasuringListener(StreamListener, ABC):
    """A listener that adds up what a stream does; a subclass says where. One for each stream.

    A batch costs a constant number of additions, whatever it holds. No value of a record and no text of an error is in
    a label.
    """

    def __init__(self) -> None:
        self._stream = ""
        self._of: _Bound | None = None

    @abstractmethod
    def _bind(self, measure: Measure, stream: str, **labels: str) -> Add:
        """What adds to one sum of a measure, which is there from now on, with 0."""

    @abstractmethod
    def _is(self, stream: str, version: str, code_version: str, guarantee: str) -> None:
        """What runs, and what it promises."""

    def status_through(self, stream: str, status: Callable[[], StreamStatus]) -> None:
        """From now on it is told, with zeros for what has not happened yet, whether its start goes well or not."""
        self._stream, self._of = stream, _Bound(self._bind, stream)

    @property
    def _sums(self) -> _Bound:
        assert self._of is not None, "a run begins with status_through"
        return self._of

    def on_start(self, stream: str, owner: Owner, guarantee: Guarantee) -> None:
        """Say what runs."""
        self._is(stream, version("kafka-stream"), owner.code_version or "", guarantee.value)

    def on_positions(self, positions: Mapping[TopicPartition, int]) -> None:
        """Count takeovers."""
        self._sums.takeovers(len(positions))

    def on_released(self, partitions: Collection[TopicPartition]) -> None:
        """Count releases."""
        self._sums.releases(len(partitions))

    def on_moved(self, partition: TopicPartition, from_offset: int, until_offset: int) -> None:
        """Count a loss of data."""
        self._sums.data_losses(1)

    def on_settled(self, committed: bool) -> None:
        """Count it by what came of it."""
        self._sums.settled[committed](1)

    def on_batch(self, progress: BatchProgress) -> None:
        """Add a committed batch."""
        sums = self._sums
        sums.batches(1)
        sums.records(progress.records)
        sums.bytes(progress.bytes)
        if progress.dead_letters:
            sums.dead_letters(progress.dead_letters)
        if progress.duplicates:
            sums.duplicates(progress.duplicates)
        sums.sizes(progress.records)
        if progress.times:
            oldest = min(first for first, _ in progress.times.values())
            sums.ages(max(0.0, (progress.committed_at - oldest).total_seconds()))
        sums.fetch(progress.fetch_s)
        sums.prepare(progress.prepare_s)
        sums.claim(progress.claim_s)
        sums.write(progress.write_s)
        sums.commit(progress.commit_s)

    def on_retry(self, error: Exception, delay_s: float) -> None:
        """Count it by its type, which says what kind it is; its text may say anything."""
        self._bind(RETRIES, self._stream, error=type(error).__name__)(1)

    def on_stop(self, error: BaseException | None) -> None:
        """Count a run that failed."""
        if error is not None:
            self._bind(FAILURES, self._stream, error=type(error).__name__)(1)


__all__ = [
    "GAUGES",
    "MEASURES",
    "PARTITIONS_LIMIT",
    "Add",
    "Gauge",
    "Measure",
    "MeasuringListener",
    "Sample",
    "samples",
]
