"""``DirectStream``: what users build, run and embed. The loop itself is in ``loop.py``."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import uuid
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from pydantic import SecretStr

from kafka_stream.engine.interpreter import collecting_less_often, switching_often
from kafka_stream.engine.loop import Loop, StopRequest
from kafka_stream.engine.processing import BatchProcessor, FunctionSink
from kafka_stream.errors import ConfigurationError, KafkaStreamError
from kafka_stream.guarantee import check_guarantee
from kafka_stream.plugins import store_from_url
from kafka_stream.progress import Listeners, RunSummary, StreamState, StreamStatus
from kafka_stream.protocols import BoundStore, Listener, OffsetMirror, OffsetStore, Sink, Source
from kafka_stream.settings import (
    Sinks,
    SourceFactory,
    StreamOptions,
    StreamSettings,
    TransactionT,
    Write,
    checked_bound,
)
from kafka_stream.source.kafka_source import KafkaSource, SourceLimits
from kafka_stream.types import Guarantee, Owner

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("kafka_stream")

STOP_TIMEOUT_S = 25.0
REVOKE_TIMEOUT_S = 20.0
LEAST_BUFFERED_RECORDS = 10_000
"""However small batches are: fetching for each of them anew, and pausing in between, costs more than they do."""


class _StopTimedOut(BaseException):
    """Raised in the main thread, in the middle of user code, when a stop's time has run out."""


class DirectStream:
    """Reads Kafka topics in explicit ranges and commits each batch's results and offsets in one transaction.

    Building one validates everything and connects to nothing. Arguments are those of ``StreamSettings``; pass
    ``StreamSettings.from_env()`` first to take them from the environment, with keywords going before it.

    The idea is Spark's direct stream with offsets in the results' own database (koeninger/kafka-exactly-once).

    Raises:
        ConfigurationError: a setting is missing, unknown, contradictory or dangerous.
        UnsupportedGuarantee: sink and store cannot give the ``guarantee`` that was asked for.
    """

    def __init__(
        self, settings: StreamSettings | None = None, /, **options: Unpack[StreamOptions[TransactionT]]
    ) -> None:
        values: dict[str, Any] = {} if settings is None else dict(_values(settings))
        self.settings = StreamSettings.checked({**values, **options})
        if self.settings.sink is None:
            raise ConfigurationError("sink: is missing; give a function write(prepared, transaction) or a sink")
        self._store = _store(self.settings.store)
        self._sinks = _sinks(self.settings.sink)
        if isinstance(self._store, BoundStore):
            self._store.bind(self.settings.binding())
        self._guarantee = check_guarantee(self._sinks, self._store.capabilities, self.settings.guarantee)
        self._mirrors = _mirrors(self.settings.listeners, self._store)
        self._owner = self._new_owner()
        self._request = StopRequest()
        self._source: Source | None = None
        self._loop: Loop | None = None
        self._thread: threading.Thread | None = None
        self._runs_on: threading.Thread | None = None
        self._ended = threading.Event()
        self._ended.set()
        self._failure: BaseException | None = None
        self._summary: RunSummary | None = None

    # ------------------------------------------------------------------------------------------- what it is made of

    @property
    def name(self) -> str:
        """The stream's identity: its positions are stored under it."""
        return self.settings.name

    @property
    def store(self) -> OffsetStore:
        """Where its positions are."""
        return self._store

    @property
    def sinks(self) -> Sequence[Sink]:
        """Where its results go."""
        return self._sinks

    @property
    def guarantee(self) -> Guarantee:
        """What the pairing of sinks and store gives, computed."""
        return self._guarantee

    @property
    def owner(self) -> Owner:
        """This process start, as the store will know it."""
        return self._owner

    def replace(
        self, settings: StreamSettings | None = None, /, **options: Unpack[StreamOptions[TransactionT]]
    ) -> DirectStream:
        """A copy with other settings, for tests: ``stream.replace(kafka=MemoryKafka(), store="sqlite:///t.db")``."""
        values = {**_values(self.settings), **({} if settings is None else _values(settings)), **options}
        return type(self)(StreamSettings.checked(values))

    # --------------------------------------------------------------------------------------------------------- runs

    def run(self, until: Any = None) -> RunSummary:
        """Run until stopped, or, with ``until``, up to ``"latest"``, an aware datetime or ``{TopicPartition: offset}``.

        ``"latest"`` ends before an open transaction; the others do not, if it holds records that belong to the run.

        On the main thread SIGTERM and SIGINT finish the batch in hand and leave within 25 s (a batch that takes longer
        is dropped, uncommitted); a second signal ends the process at once. The garbage collector looks less often
        meanwhile, unless a threshold was chosen for it. On another thread neither is touched.

        Raises:
            KafkaStreamError: what stopped the stream; user code's own exception is chained.
        """
        bound = None if until is None else checked_bound(until, "until")
        loop = self._new_loop()
        try:
            return self._run_here(loop, bound)
        finally:
            self._ended.set()

    def start(self) -> None:
        """Run on a thread of its own, inside another program; touches neither signals nor logging, nor the collector.

        What stops it is logged as one ERROR with its causes, is in ``status()``, and is raised by ``wait()``.

        Raises:
            RuntimeError: it is running already.
        """
        loop = self._new_loop()
        self._failure = self._summary = None
        self._thread = threading.Thread(target=self._run_on_thread, args=(loop,), name=f"kafka-stream-{self.name}")
        self._thread.start()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """Finish the batch in hand and leave; after ``timeout_s`` the batch will not be committed any more.

        Callable from any thread, more than once, also when nothing runs. Returns whether the stream has stopped; a
        handler that never returns cannot be interrupted, but what it does is rolled back.
        """
        self._request.stop = True
        if (source := self._source) is not None:
            source.wake()
        if self._runs_on is threading.current_thread():
            return self._ended.is_set()  # called by a handler or listener, which must return first
        if not self._ended.wait(timeout_s):
            self._request.drop_batch = True
        return self._ended.is_set()

    def wait(self, timeout_s: float | None = None) -> RunSummary | None:
        """Wait for a started stream to end; ``None`` if it has not by then.

        Raises:
            KafkaStreamError: what stopped it, as ``run`` would have.
        """
        if self._thread is None:
            raise RuntimeError(f"stream {self.name!r} was not started")
        if not self._ended.wait(timeout_s):
            return None
        if self._failure is not None:
            raise self._failure
        return self._summary

    def status(self) -> StreamStatus:
        """A snapshot, from any thread, without I/O."""
        if self._loop is None:
            return StreamStatus(owner=self._owner, guarantee=self._guarantee)
        status = self._loop.status
        return replace(status, positions=dict(status.positions), lag=dict(status.lag))

    def __reduce__(self) -> tuple[type[Self], tuple[StreamSettings]]:
        """Another process builds it anew from its settings, and is another owner."""
        if self._loop is not None:
            raise TypeError(
                f"stream {self.name!r} cannot be copied or sent to another process once it was started: "
                "send what builds it"
            )
        return type(self), (self.settings,)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        if error is None:
            self.wait(0)

    # ------------------------------------------------------------------------------------------------------- inside

    def _new_loop(self) -> Loop:
        if self._loop is not None and self._loop.status.state not in (StreamState.STOPPED, StreamState.FAILED):
            raise RuntimeError(f"stream {self.name!r} is running already")
        settings = self.settings
        listeners = Listeners(settings.listeners)
        self._owner = self._new_owner()
        self._request = StopRequest()
        self._source = self._new_source()
        for mirror in self._mirrors:
            mirror.mirror_through(self._source.publish_offsets)
        self._loop = Loop(
            settings=settings,
            owner=self._owner,
            store=self._store,
            source=self._source,
            processor=BatchProcessor(
                store=self._store, prepare=settings.prepare, sinks=self._sinks, listeners=listeners
            ),
            guarantee=self._guarantee,
            listeners=listeners,
            request=self._request,
        )
        self._runs_on = None
        self._ended.clear()
        return self._loop

    def _new_owner(self) -> Owner:
        settings, number, host = self.settings, uuid.uuid4().hex, socket.gethostname()
        if settings.assignment != "group" or isinstance(self._store, BoundStore):  # whose group is its name
            return Owner(number, host, settings.code_version)
        return Owner.member(number, host, settings.code_version, settings.group_id or settings.name)

    def _run_here(self, loop: Loop, until: Any) -> RunSummary:
        self._runs_on = threading.current_thread()
        if self._runs_on is not threading.main_thread():
            return loop.run(until)
        with self._signals(), collecting_less_often(), switching_often():
            try:
                return loop.run(until)
            except _StopTimedOut:
                raise _not_stopped_in_time(self.name, has_batch=loop.status.batch_started_at is not None) from None

    def _new_source(self) -> Source:
        settings = self.settings
        limits = SourceLimits(
            max_buffered_records=max(2 * settings.max_records_per_batch, LEAST_BUFFERED_RECORDS),
            max_buffered_bytes=2 * settings.max_bytes_per_batch,
            revoke_timeout_s=REVOKE_TIMEOUT_S,
        )
        group_id = settings.group_id or settings.name
        if isinstance(settings.kafka, SourceFactory):
            return settings.kafka.source(group_id, settings.topics, limits)
        return KafkaSource(settings.kafka_config(), group_id, settings.topics, limits)

    def _run_on_thread(self, loop: Loop) -> None:
        self._runs_on = threading.current_thread()
        try:
            self._summary = loop.run()
        except BaseException as error:
            self._failure = error
            logger.error("stream %r has failed and reads no more: %s", self.name, error, exc_info=error)
        finally:
            self._ended.set()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT stop this stream while it runs on the main thread."""
        watchdog: list[threading.Timer] = []

        def on_signal(number: int, _frame: FrameType | None) -> None:
            if self._request.drop_batch:
                raise _StopTimedOut
            if self._request.stop:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)  # a second signal leaves at once, as kill -9 would
                return
            self._request.stop = True
            if self._source is not None:
                self._source.wake()
            watchdog.append(threading.Timer(STOP_TIMEOUT_S, self._interrupt, args=(threading.get_ident(), number)))
            watchdog[0].daemon = True
            watchdog[0].start()

        before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for timer in watchdog:
                timer.cancel()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _interrupt(self, main_thread: int, number: int) -> None:
        self._request.drop_batch = True
        signal.pthread_kill(main_thread, number)


def _not_stopped_in_time(name: str, *, has_batch: bool) -> KafkaStreamError:
    if not has_batch:
        return KafkaStreamError(
            f"stream {name!r} was stopped, and had not ended within {STOP_TIMEOUT_S:g} s, because a server did not "
            "answer; it had no batch in hand, so nothing is lost"
        )
    return KafkaStreamError(
        f"stream {name!r} was stopped, and its batch did not finish within {STOP_TIMEOUT_S:g} s: it was dropped, "
        "uncommitted, and will be read again; lower target_batch_duration_s or look at the handler"
    )


def _values(settings: StreamSettings) -> Mapping[str, Any]:
    return {name: getattr(settings, name) for name in settings.model_fields_set}


def _store(store: OffsetStore | SecretStr) -> OffsetStore:
    return store_from_url(store.get_secret_value()) if isinstance(store, SecretStr) else store


def _sinks(sink: Sinks) -> tuple[Sink, ...]:
    several: Sequence[Sink | Write] = sink if isinstance(sink, list | tuple) else [sink]  # type: ignore[list-item]
    return tuple(one if isinstance(one, Sink) else FunctionSink(one) for one in several)


def _mirrors(listeners: Sequence[Listener], store: OffsetStore) -> Sequence[OffsetMirror]:
    found = [listener for listener in listeners if isinstance(listener, OffsetMirror)]
    if found and store.capabilities.transaction == "kafka":
        raise ConfigurationError(
            f"listeners: a mirror has nothing to do, since the offsets in {store.describe()} are the consumer group's "
            "own; leave it out"
        )
    return found
