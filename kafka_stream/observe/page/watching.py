"""A listener that remembers what a page shows of a running stream: the last hour, the last batches, the last errors."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from kafka_stream.observe.health import told
from kafka_stream.observe.page.model import BatchView, Note, Tone
from kafka_stream.observe.page.samples import EVERY_S, Sample, Samples, sample
from kafka_stream.observe.page.ticker import Ticker
from kafka_stream.progress import StreamListener, StreamStatus
from kafka_stream.protocols import BatchProgress

BATCHES_KEPT = 50
ERRORS_KEPT = 10


class StreamWatch(StreamListener):
    """Give one to each stream, and to ``http.app``, for charts at ``/``: an hour of samples, in bounded memory.

    A sample is taken every ``every_s`` seconds from the stream's own status while a run lasts, also while its batch is
    stuck; no server is asked. Of an error the type is kept, and the text if it is ours.
    """

    def __init__(self, every_s: float = EVERY_S, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._every_s = every_s
        self._now = now
        self._lock = threading.Lock()
        self._samples = Samples()
        self._batches: deque[BatchView] = deque(maxlen=BATCHES_KEPT)
        self._errors: deque[Note] = deque(maxlen=ERRORS_KEPT)
        self._ticker: Ticker | None = None
        self.stream: str | None = None
        """The stream's name, from its first run on."""

    def status_through(self, stream: str, status: Callable[[], StreamStatus]) -> None:
        """From now on it is sampled."""
        self.on_stop(None)
        self.stream = stream
        self._ticker = Ticker(lambda: self.look(status()), self._every_s, f"kafka-stream-watch {stream}")
        self._ticker.start()

    def look(self, status: StreamStatus) -> None:
        """Take a sample."""
        self._samples.add(sample(self._now(), status.records, status.positions, status.lag))

    def on_batch(self, progress: BatchProgress) -> None:
        """Remember how long its phases took."""
        phases = (
            ("prepare", progress.prepare_s),
            ("claim", progress.claim_s),
            ("write", progress.write_s),
            ("commit", progress.commit_s),
        )
        with self._lock:
            self._batches.append(BatchView(progress.committed_at, progress.records, phases, progress.attempt))

    def on_retry(self, error: Exception, delay_s: float) -> None:
        """Remember it."""
        self._add(error, Tone.WARNING)

    def on_stop(self, error: BaseException | None) -> None:
        """Remember it, and take no samples any more."""
        if self._ticker is not None:
            self._ticker.stop()
            self._ticker = None
        if error is not None:
            self._add(error, Tone.BAD)

    def _add(self, error: BaseException, tone: Tone) -> None:
        kind, message = told(error)
        with self._lock:
            self._errors.append(Note(kind, message or "its text may hold what is the user's", tone, self._now()))

    def samples(self) -> Sequence[Sample]:
        """The oldest one first."""
        return self._samples.all()

    def batches(self) -> Sequence[BatchView]:
        """The latest ones, the oldest of them first."""
        with self._lock:
            return tuple(self._batches)

    def errors(self) -> Sequence[Note]:
        """The same of what was retried, and what has ended a run."""
        with self._lock:
            return tuple(self._errors)


__all__ = ["BATCHES_KEPT", "ERRORS_KEPT", "StreamWatch"]
