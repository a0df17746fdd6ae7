"""``DirectStream``: what users build, run and embed. A run of it is in ``running/run.py``."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, Unpack

from pydantic import SecretStr

from kafka_stream.engine.loop import Loop, StopRequest
from kafka_stream.engine.preparing import PreparingThread
from kafka_stream.engine.processing import BatchProcessor
from kafka_stream.errors import ConfigurationError
from kafka_stream.failures.rejecting import Rejecting
from kafka_stream.failures.rescue import Rescue
from kafka_stream.guarantee import check_guarantee, check_keeps_letters
from kafka_stream.plugins import store_from_url
from kafka_stream.progress import RunSummary, StreamStatus
from kafka_stream.protocols import (
    BoundStore,
    OffsetStore,
    Sink,
    Source,
    TellingStore,
    WantedTopics,
)
from kafka_stream.running.inside import Inside
from kafka_stream.running.listening import listeners_of, mirrors_of
from kafka_stream.running.run import STOP_TIMEOUT_S, Run
from kafka_stream.running.stream_log import about
from kafka_stream.running.workers import executor_for, with_workers
from kafka_stream.setting_checks import SourceFactory
from kafka_stream.settings import StreamOptions, StreamSettings, TransactionT, checked_bound
from kafka_stream.source.kafka_source import KafkaSource, SourceLimits
from kafka_stream.types import Guarantee, Owner
from kafka_stream.user_code import members_of, sinks_of

REVOKE_TIMEOUT_S = 20.0
LEAST_BUFFERED_RECORDS = 10_000
"""However small batches are: fetching for each of them anew, and pausing in between, costs more than they do."""


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
        self._sinks = sinks_of(self.settings.sink)
        if isinstance(self._store, BoundStore):
            self._store.bind(self.settings.binding())
        if self.settings.on_error == "dead-letter":
            letters_topic = self.settings.binding().dead_letters_topic
            check_keeps_letters(self._store, WantedTopics.of(self.settings.topics), letters_topic)
        self._executor = executor_for(self.settings, self._sinks)
        self._guarantee = check_guarantee(self._sinks, self._store.capabilities, self.settings.guarantee)
        self._mirrors = mirrors_of(self.settings.listeners, self._store)
        self._owner = self._new_owner()
        self._beginning = threading.Lock()
        self._run: Run | None = None
        self._started: Run | None = None

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
        meanwhile, unless a threshold was chosen for it. On another thread neither is touched; the process's end, and
        that of a pool which the thread is of (``asyncio.to_thread``), stop a run that has no ``until``.

        Raises:
            KafkaStreamError: what stopped the stream; user code's own exception is chained.
            RuntimeError: it is running already, or this process is a fork of one where it runs.
        """
        bound = None if until is None else checked_bound(until, "until")
        return self._begin().here(bound)

    def start(self) -> None:
        """Run on a thread of its own, inside another program; touches neither signals nor logging, nor the collector.

        What stops it is logged as one ERROR with its causes, is in ``status()``, and is raised by ``wait()``.
        The process's end stops it, as ``stop`` does; it does not keep the process alive.

        Raises:
            RuntimeError: it is running already, or this process is a fork of one where it runs.
        """
        run = self._begin()
        before, self._started = self._started, run  # at once: a listener of this run may start the next one
        try:
            run.on_thread()
        except BaseException:
            self._started = before
            raise

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """Finish the batch in hand and leave; after ``timeout_s`` the batch will not be committed any more.

        Callable from any thread, more than once, also when nothing runs; what the stream itself calls (a handler, a
        listener, a client's callback) is not made to wait. Returns whether the stream has stopped; a handler that never
        returns cannot be interrupted, but what it does is rolled back.

        Raises:
            RuntimeError: this process is a fork of the one where it runs.
        """
        run = self._current()
        return run is None or run.stop(timeout_s)

    def wait(self, timeout_s: float | None = None) -> RunSummary | None:
        """Wait for a started stream to end; ``None`` if it has not by then.

        Raises:
            KafkaStreamError: what stopped it, as ``run`` would have.
            RuntimeError: it was not started, or this process is a fork of the one where it runs.
        """
        self._current()
        if self._started is None:
            raise RuntimeError(f"stream {self.name!r} was not started")
        return self._started.wait(timeout_s)

    def status(self) -> StreamStatus:
        """A snapshot, from any thread, without I/O.

        Raises:
            RuntimeError: this process is a fork of the one where it runs.
        """
        run = self._current()
        if run is None:
            return StreamStatus(owner=self._owner, guarantee=self._guarantee)
        status = run.status
        return replace(status, positions=dict(status.positions), lag=dict(status.lag))

    def __reduce__(self) -> tuple[type[Self], tuple[StreamSettings]]:
        """Another process builds it anew from its settings, and is another owner."""
        if self._run is not None:
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

    def _current(self) -> Run | None:
        """The latest run, in the process that it is of."""
        if (run := self._run) is not None:
            run.refuse_fork()
        return run

    def _begin(self) -> Run:
        run = self._current()
        with self._beginning:
            if run is not self._run or (run is not None and not run.is_over):
                raise RuntimeError(f"stream {self.name!r} is running already")
            self._run = self._new_run()
            return self._run

    def _new_run(self) -> Run:
        settings = self.settings
        listeners = listeners_of(settings.listeners, self.about)
        self._owner = self._new_owner()
        inside, request = Inside(), StopRequest()
        source, preparing = with_workers(settings, self._sinks, self._executor, self._new_source(inside))
        for mirror in self._mirrors:
            mirror.mirror_through(source.publish_offsets)
        processor = BatchProcessor(
            store=self._store,
            prepare=settings.prepare,
            sinks=self._sinks,
            listeners=listeners,
            transient_errors=settings.transient_errors,
            rescue=self._new_rescue(),
        )
        loop = Loop(
            settings=settings,
            owner=self._owner,
            store=self._store,
            source=source,
            preparing=preparing(PreparingThread(processor, settings.name)),
            guarantee=self._guarantee,
            listeners=listeners,
            request=request,
        )
        listeners.status_through(settings.name, lambda: loop.status)
        return Run(loop, stream=self.name, source=source, request=request, inside=inside)

    def about(self) -> Mapping[str, object]:
        """What it is made of, for logs: names, places, and the settings that were chosen; no secret is in it."""
        return about(self.settings, self._sinks, self._store.describe())

    def _new_rescue(self) -> Rescue | None:
        settings, store = self.settings, self._store
        if settings.on_error == "stop":
            return None
        tell = store.tell if isinstance(store, TellingStore) else lambda error: None
        rules = Rejecting(settings.dead_letters, len(members_of(settings.sink)), tell)  # those behind a filter, too
        return Rescue(rules, stream=settings.name, code_version=settings.code_version)

    def _new_owner(self) -> Owner:
        settings, number, host = self.settings, uuid.uuid4().hex, socket.gethostname()
        if settings.assignment != "group" or isinstance(self._store, BoundStore):  # whose group is its name
            return Owner(number, host, settings.code_version)
        return Owner.member(number, host, settings.code_version, settings.group_id or settings.name)

    def _new_source(self, inside: Inside) -> Source:
        settings = self.settings
        limits = SourceLimits(
            max_buffered_records=max(2 * settings.max_records_per_batch, LEAST_BUFFERED_RECORDS),
            max_buffered_bytes=2 * settings.max_bytes_per_batch,
            revoke_timeout_s=REVOKE_TIMEOUT_S,
        )
        group_id = settings.group_id or settings.name
        if isinstance(settings.kafka, SourceFactory):
            return settings.kafka.source(group_id, settings.topics, limits)
        config = inside.around(settings.kafka_config())
        protocol, instance_id = settings.group_protocol, settings.group_instance_id
        return KafkaSource(config, group_id, settings.topics, limits, protocol, instance_id=instance_id)


def _values(settings: StreamSettings) -> Mapping[str, Any]:
    return {name: getattr(settings, name) for name in settings.model_fields_set}


def _store(store: OffsetStore | SecretStr) -> OffsetStore:
    return store_from_url(store.get_secret_value()) if isinstance(store, SecretStr) else store
