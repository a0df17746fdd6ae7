"""One run of a stream: the thread that its loop has, how it is stopped, and what came of it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from kafka_stream.engine.loop import Loop, StopRequest
from kafka_stream.errors import KafkaStreamError
from kafka_stream.interpreter import collecting_less_often, switching_often
from kafka_stream.progress import RunSummary, StreamState, StreamStatus
from kafka_stream.protocols import Source
from kafka_stream.running.inside import Inside
from kafka_stream.running.log_context import logged_as
from kafka_stream.running.process_end import forget, is_shut_down, pool_of, stop_at_exit
from kafka_stream.running.stop_signals import StopSignals, StopTimedOut

logger = logging.getLogger("kafka_stream")

STOP_TIMEOUT_S = 25.0
_LOOK_S = 0.5
"""How often is looked whether the pool that a run is in has been shut down."""


class Run:
    """Begins once, on the thread of whoever calls ``here`` or on one of its own, and is over when its loop is.

    One that follows it has nothing of it: a listener that hears of the end may begin the next.
    """

    def __init__(self, loop: Loop, *, stream: str, source: Source, request: StopRequest, inside: Inside) -> None:
        self.stream = stream
        self.process_id = os.getpid()
        self.request = request
        self._loop = loop
        self._source = source
        self._inside = inside
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._summary: RunSummary | None = None

    @property
    def status(self) -> StreamStatus:
        """The loop's, without I/O."""
        return self._loop.status

    @property
    def is_over(self) -> bool:
        """Whether another run may begin."""
        return self._ended.is_set() or self.status.state in (StreamState.STOPPED, StreamState.FAILED)

    def refuse_fork(self) -> None:
        """A process that was forked off meanwhile has a copy of the run that nothing moves.

        Raises:
            RuntimeError: this is such a process.
        """
        if self.process_id != os.getpid() and not self.is_over:
            raise RuntimeError(
                f"stream {self.stream!r} runs in process {self.process_id}; this one ({os.getpid()}) was forked from "
                "it and has none of its threads: start the stream after the fork, such as in the application's "
                "lifespan, or in gunicorn's post_worker_init"
            )

    # ------------------------------------------------------------------------------------------------------ its thread

    def here(self, until: Any = None) -> RunSummary:
        """Run on the calling thread; with the main thread come the signals, the collector and the turns of threads."""
        try:
            if threading.current_thread() is threading.main_thread():
                return self._on_main_thread(until)
            if until is not None:  # it ends by itself, and whoever waits for its thread waits for that
                return self._run(until)
            with self._ended_with_process(), self._ended_with_pool(pool_of(threading.current_thread())):
                return self._run()
        finally:
            self._ended.set()

    def on_thread(self) -> None:
        """Run on a thread of its own. A daemon: the process's end stops it, and does not wait for ever."""
        thread = threading.Thread(target=self._on_thread, name=f"kafka-stream-{self.stream}", daemon=True)
        stop_at_exit(self)
        try:
            thread.start()
        except BaseException:
            forget(self)
            self._ended.set()
            raise

    def _on_thread(self) -> None:
        try:
            self._summary = self._run()
        except BaseException as error:
            self._failure = error
            fields = {"event": "error", "stream": self.stream, "error": type(error).__name__}
            logger.error("stream %r has failed and reads no more: %s", self.stream, error, exc_info=error, extra=fields)
        finally:
            forget(self)
            self._ended.set()

    def _on_main_thread(self, until: Any) -> RunSummary:
        signals = StopSignals(self, STOP_TIMEOUT_S)
        try:
            with signals.handled(), collecting_less_often(), switching_often():
                return self._run(until)
        except StopTimedOut as interrupted:
            raise KafkaStreamError(str(interrupted)) from None

    def _run(self, until: Any = None) -> RunSummary:
        with logged_as(self.stream), self._inside.entered():
            return self._loop.run(until)

    @contextmanager
    def _ended_with_process(self) -> Iterator[None]:
        stop_at_exit(self)
        try:
            yield
        finally:
            forget(self)

    @contextmanager
    def _ended_with_pool(self, pool: ThreadPoolExecutor | None) -> Iterator[None]:
        """A pool that is shut down waits for its threads, and nobody would stop this one."""
        if pool is not None:
            name = f"kafka-stream-pool-{self.stream}"
            threading.Thread(target=self._follow, args=(pool,), name=name, daemon=True).start()
        yield

    def _follow(self, pool: ThreadPoolExecutor) -> None:
        while not self._ended.wait(_LOOK_S):
            if is_shut_down(pool):
                self.stop(STOP_TIMEOUT_S)
                return

    # -------------------------------------------------------------------------------------------------------- its end

    def ask_to_stop(self) -> None:
        """Have it end after the batch in hand, and do not wait."""
        self.request.stop = True
        self._source.wake()

    def stop(self, timeout_s: float) -> bool:
        """Ask it to end and wait, unless this is called by what it runs; after ``timeout_s`` the batch is dropped."""
        self.ask_to_stop()
        if not self._inside.is_here() and not self._ended.wait(timeout_s):
            self.drop_batch()
        return self._ended.is_set()

    def wait(self, timeout_s: float | None) -> RunSummary | None:
        """What a run on a thread of its own came to, or raises; ``None`` if it has not ended by then."""
        if not self._ended.wait(timeout_s):
            return None
        if self._failure is not None:
            raise self._failure
        return self._summary

    def drop_batch(self) -> None:
        """The batch in hand, if any, may not be committed any more."""
        self.request.drop_batch = True

    def what_takes_so_long(self) -> str:
        """What a stop whose time has run out has to say."""
        status = self.status
        if status.batch_started_at is None:
            return (
                f"stream {self.stream!r} was stopped, and had not ended within {STOP_TIMEOUT_S:g} s, because a server "
                "did not answer; it had no batch in hand, so nothing is lost"
            )
        return (
            f"stream {self.stream!r} was stopped, and its batch did not finish within {STOP_TIMEOUT_S:g} s: it "
            "was dropped, uncommitted, and will be read again; lower target_batch_duration_s or look at the "
            "handler"
        )


__all__ = ["STOP_TIMEOUT_S", "Run"]
