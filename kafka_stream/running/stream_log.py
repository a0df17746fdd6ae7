"""A stream's life as log records: a listener that every stream has; that of ``kafka-stream run`` says more."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice

from kafka_stream.librdkafka import shown
from kafka_stream.progress import StreamListener, StreamStatus, known_lag
from kafka_stream.protocols import BatchProgress, Sink, WorkerShare
from kafka_stream.settings import StreamSettings
from kafka_stream.types import Guarantee, Owner, TopicPartition

logger = logging.getLogger("kafka_stream.stream")

SUMMARY_INTERVAL_S = 60.0
_SHOWN = 10
"""So many partitions are named in a message; its fields have all of them."""

Fields = Mapping[str, object]


def thousands(number: int) -> str:
    """``1 234 567``: readable, and the same in every locale."""
    return f"{number:,}".replace(",", " ")


class Totals:
    """What has been committed since the start, by the reports of the batches."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started_at = clock()
        self.batches = 0
        self.records = 0
        self.dead_letters = 0
        self.duplicates = 0
        self.offsets = 0
        self.workers: dict[str, WorkerShare] = {}

    def add(self, progress: BatchProgress) -> None:
        """Count one committed batch."""
        self.batches += 1
        self.records += progress.records
        self.dead_letters += progress.dead_letters
        self.duplicates += progress.duplicates
        self.offsets += sum(map(len, progress.ranges))
        for worker, share in progress.workers.items():
            self.workers[worker] = self.workers[worker] + share if worker in self.workers else share

    @property
    def duration_s(self) -> float:
        """Since the start."""
        return max(self._clock() - self._started_at, 1e-9)

    def sentence(self) -> str:
        """The totals, with the rate since the start."""
        rate = round(self.records / self.duration_s)
        aside = f", {thousands(self.dead_letters)} of them set aside as dead letters" if self.dead_letters else ""
        kept_back = f", {thousands(self.duplicates)} of them duplicates" if self.duplicates else ""
        return (
            f"{thousands(self.records)} records in {thousands(self.batches)} batches{aside}{kept_back}, "
            f"{self.duration_s:.1f} s ({thousands(rate)} records/s)"
        )


def log_record(level: int, line: str, fields: Fields) -> None:
    """A record of the logger ``kafka_stream.stream``."""
    logger.log(level, "%s", line, extra=fields)


def about(settings: StreamSettings, sinks: Sequence[Sink], store: str) -> Fields:
    """What a stream is made of: where it reads and writes, and the settings that were chosen; no secret is in it."""
    chosen = {name: getattr(settings, name) for name in sorted(settings.model_fields_set)}
    plain = {name: value for name, value in chosen.items() if isinstance(value, str | int | float)}
    kafka = shown(settings.kafka_config()) if isinstance(settings.kafka, Mapping) else {}
    return {
        "topics": list(settings.topics),
        "results": [sink.describe() for sink in sinks],
        "store": store,
        "assignment": settings.assignment,
        "settings": {**plain, "kafka": {name: str(value) for name, value in kafka.items()}},
    }


class StreamLog(StreamListener):
    """Tells of a run: start, partitions that come and go, each batch at DEBUG, a summary now and then, and the end.

    The records are those of the logger ``kafka_stream.stream``; each has ``event`` and ``stream`` and what else there
    is for programs (docs/operating.md has the table). ``about`` is what the stream is made of, without secrets.
    A summary comes with a batch, ``every_s`` after the one before: a stream that is idle says nothing.
    """

    def __init__(
        self,
        about: Fields,
        *,
        every_s: float = SUMMARY_INTERVAL_S,
        write: Callable[[int, str, Fields], None] = log_record,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._about = about
        self._every_s = every_s
        self._write = write
        self._clock = clock
        self._begin("")

    def _begin(self, stream: str) -> None:
        self._stream = stream
        self._totals = Totals(self._clock)
        self._since = Totals(self._clock)

    def _say(self, level: int, event: str, line: str, fields: Fields) -> None:
        self._write(level, line, {"event": event, "stream": self._stream, **fields})

    def status_through(self, stream: str, status: Callable[[], StreamStatus]) -> None:
        """Whose run it is: one that fails before it has started says so, too."""
        self._begin(stream)

    def on_start(self, stream: str, owner: Owner, guarantee: Guarantee) -> None:
        """Say what runs, from where to where, as whom, and what is promised."""
        self._begin(stream)
        topics, results = (_listed(self._about.get(name)) for name in ("topics", "results"))
        route = f"{topics} into {results}, offsets in {self._about.get('store')}"
        self._say(
            logging.INFO,
            "started",
            f"{stream} started: {route}, owner {owner}, {guarantee}",
            {**self._about, "owner": owner.id, "guarantee": str(guarantee)},
        )

    def on_positions(self, positions: Mapping[TopicPartition, int]) -> None:
        """Say which partitions were taken over, and from where they are read."""
        shown = [f"{tp} from {offset}" for tp, offset in islice(sorted(positions.items()), _SHOWN)]
        fields = {"positions": {str(tp): offset for tp, offset in positions.items()}}
        line = f"{self._stream} reads {_counted(positions)}: {_cut(shown, len(positions))}"
        self._say(logging.INFO, "assigned", line, {**fields, "after_s": round(self._totals.duration_s, 3)})

    def on_released(self, partitions: Collection[TopicPartition]) -> None:
        """Say which partitions are not the stream's any more."""
        names = [str(tp) for tp in sorted(partitions)]
        line = f"{self._stream} reads {_counted(names)} no more: {_cut(names[:_SHOWN], len(names))}"
        self._say(logging.INFO, "revoked", line, {"partitions": names})

    def on_settled(self, committed: bool) -> None:
        """Say what came of a commit that nobody had answered."""
        outcome = "committed" if committed else "not committed"
        line = f"{self._stream} has settled a commit whose outcome was unknown: {outcome}"
        self._say(logging.INFO, "settled", line, {"committed": committed})

    def on_batch(self, progress: BatchProgress) -> None:
        """Say what it was at DEBUG, and what the last ones were, if that was not said lately."""
        self._totals.add(progress)
        self._since.add(progress)
        if logger.isEnabledFor(logging.DEBUG):
            self._say(logging.DEBUG, "batch", self._batch(progress), self._fields(progress))
        if self._since.duration_s >= self._every_s:
            self._summarise(progress)

    def _batch(self, progress: BatchProgress) -> str:
        workers = len(progress.workers)
        by = f" by {workers} worker{'s' if workers > 1 else ''}" if workers else ""
        return (
            f"{progress.stream} batch {progress.batch}: {thousands(progress.records)} records in "
            f"{progress.duration_s:.2f} s{by}, {thousands(self._totals.records)} in all, lag {_lag(progress)}"
        )

    def _fields(self, progress: BatchProgress) -> Fields:
        return {
            "batch": progress.batch,
            "records": progress.records,
            "bytes": progress.bytes,
            "duration_s": round(progress.duration_s, 6),
            "fetch_s": round(progress.fetch_s, 6),
            "prepare_s": round(progress.prepare_s, 6),
            "claim_s": round(progress.claim_s, 6),
            "write_s": round(progress.write_s, 6),
            "commit_s": round(progress.commit_s, 6),
            "attempt": progress.attempt,
            "records_in_all": self._totals.records,
            "lag": known_lag(progress.lag.values()),
            "ranges": [str(r) for r in progress.ranges],
        }

    def _summarise(self, progress: BatchProgress) -> None:
        last, self._since = self._since, Totals(self._clock)
        fields = {
            "records": last.records,
            "batches": last.batches,
            "dead_letters": last.dead_letters,
            "duration_s": round(last.duration_s, 3),
            "records_in_all": self._totals.records,
            "lag": known_lag(progress.lag.values()),
        }
        line = f"{self._stream}: {last.sentence()}; {thousands(self._totals.records)} in all, lag {_lag(progress)}"
        self._say(logging.INFO, "summary", line, fields)

    def on_stop(self, error: BaseException | None) -> None:
        """Say what was done in all; what it failed with is told by whoever hears of it."""
        for worker, share in sorted(self._totals.workers.items()):
            line = f"worker {worker}: {thousands(share.records)} records in {share.busy_s:.1f} s of its time"
            of_worker = {"worker": worker, "records": share.records, "busy_s": round(share.busy_s, 6)}
            self._say(logging.INFO, "worker", line, of_worker)
        event = "stopped" if error is None else "failed"
        fields: dict[str, object] = {"batches": self._totals.batches, "records": self._totals.records}
        fields |= {"dead_letters": self._totals.dead_letters, "duration_s": round(self._totals.duration_s, 3)}
        if error is not None:
            fields["error"] = type(error).__name__
        self._say(logging.INFO, event, f"{self._stream} {event} after {self._totals.sentence()}".lstrip(), fields)


def _listed(names: object) -> str:
    return ", ".join(map(str, names)) if isinstance(names, list) else str(names)


def _counted(partitions: Collection[object]) -> str:
    return f"{len(partitions)} partition{'' if len(partitions) == 1 else 's'}"


def _cut(shown: list[str], count: int) -> str:
    more = f" and {count - len(shown)} more" if count > len(shown) else ""
    return f"{', '.join(shown)}{more}"


def _lag(progress: BatchProgress) -> str:
    lag = known_lag(progress.lag.values())
    return "not known yet" if lag is None else thousands(lag)


__all__ = ["SUMMARY_INTERVAL_S", "Fields", "StreamLog", "Totals", "about", "log_record", "thousands"]
