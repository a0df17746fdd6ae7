"""A client of librdkafka whose requests are made on a thread of its own, so that who waits for one can give it up.

Not every request keeps to its timeout: ``send_offsets_to_transaction`` was seen to wait for as long as the process
lives, after the broker that coordinates the group had restarted (librdkafka issues 5456 and 5511). No request is
interrupted, either, when a signal comes. So whoever waits does so in Python, and for a bounded time.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from confluent_kafka import KafkaError, KafkaException

from kafka_stream.source.renewed import Renewed

# ruff: noqa: SLF001 - librdkafka's own codes begin with an underscore

REQUEST_TIMEOUT_S = 10.0
"""For an answer to a question that changes nothing."""
END_S = 2.0
"""For a client to end, before nobody waits for it any more."""
GRACE_S = 1.0
"""How much longer than its own timeout a request is waited for."""

_LISTENS_EVERY_S = 0.2

_librdkafka = logging.getLogger("kafka_stream.librdkafka")

Client = TypeVar("Client")
T = TypeVar("T")


class Waits:
    """What is being waited for: written by those who wait, read from any thread."""

    def __init__(self) -> None:
        self._since: dict[int, tuple[float, str]] = {}

    def begin(self, who: object, doing: str) -> None:
        """Somebody waits from now on."""
        self._since[id(who)] = time.monotonic(), doing

    def end(self, who: object) -> None:
        """And does not any more."""
        self._since.pop(id(who), None)

    def longest(self) -> tuple[str, float] | None:
        """What has been waited for longest, and for how many seconds."""
        since, doing = min(self._since.copy().values(), default=(0.0, ""))
        return (doing, time.monotonic() - since) if doing else None


class GivenUp(Exception):
    """A request has not returned in time. Whether it takes effect is unknown, and its client is not used any more."""


class _Answer:
    """What becomes of one request."""

    def __init__(self, request: Callable[[Any], Any]) -> None:
        self._request = request
        self._value: Any = None
        self._error: BaseException | None = None
        self._pending = threading.Lock()
        self._pending.acquire()

    def make(self, client: Any) -> None:
        """Make the request, on the client's thread."""
        try:
            self._value = self._request(client)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            _forget_frames(error)
            self._error = error
        finally:
            del client
            self._pending.release()

    def is_there(self, timeout_s: float) -> bool:
        """Wait for it; a signal's handler may raise meanwhile.

        A signal that comes just before a lock is waited for, or to another thread, interrupts no wait, and its handler
        runs behind it: so no single one is long.
        """
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > _LISTENS_EVERY_S:
            if self._pending.acquire(timeout=_LISTENS_EVERY_S):
                return True
        return self._pending.acquire(timeout=max(left_s, 0.0))

    def get(self) -> Any:
        """The value, or the error raised."""
        error, self._error = self._error, None
        if error is None:
            return self._value
        try:
            raise error
        finally:
            del error  # with its traceback it would keep this frame, and so the client, until a collection


class Requests(Generic[Client]):
    """One client, and the thread that makes its requests in order. Used by one thread at a time.

    A request that was given up goes on in its thread, which nobody waits for: the client ends there when it returns, or
    with the process. The client's own end, too, is waited for by nobody but that thread; ``at_end`` is called there.
    """

    def __init__(self, client: Client, waits: Waits, at_end: Callable[[Client], object] = lambda _: None) -> None:
        self._waits = waits
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._held = [client]  # and nowhere else, so that the thread is the last to let go of it
        self._thread = threading.Thread(
            target=copy_context().run,  # what the client logs is of the stream for which it was made
            args=(_serve, self._queue, client, at_end),
            name="kafka-stream-requests",
            daemon=True,
        )
        self._thread.start()
        self._leave = weakref.finalize(self, _leave, self._queue, self._held)
        self._leave.atexit = False

    @property
    def client(self) -> Client:
        """The client, for what does not wait.

        Raises:
            GivenUp: it is not used any more.
        """
        if not self._held:
            raise GivenUp("its client was given up")
        return self._held[0]

    def ask(self, request: Callable[[Client], T], timeout_s: float, doing: str) -> T:
        """What a request gives, or raises. It gets ``timeout_s`` and a little more, since it has its own timeout.

        Raises:
            GivenUp: it has not returned by then, or an earlier one has not.
        """
        if not self._held:
            raise GivenUp(f"its client was given up before {doing}")
        answer, arrived = _Answer(request), False
        self._waits.begin(self, doing)
        self._queue.put(answer)
        try:
            arrived = answer.is_there(timeout_s + GRACE_S)
        finally:
            self._waits.end(self)
            if not arrived:  # time has run out, or a signal's handler has raised
                self.leave()
        if not arrived:
            raise GivenUp(f"no answer came within {timeout_s + GRACE_S:g} s while {doing}")
        return answer.get()  # type: ignore[no-any-return]

    def leave(self) -> None:
        """Let go of the client: its thread ends it, after what it is at. May be called again."""
        self._leave()

    def end(self, timeout_s: float) -> None:
        """Let go of the client, and wait for its end for a little."""
        self.leave()
        self._thread.join(timeout_s)


def _leave(queue: SimpleQueue[Any], held: list[Any]) -> None:
    held.clear()
    queue.put(None)


def _serve(queue: SimpleQueue[Any], client: Any, at_end: Callable[[Any], object]) -> None:
    """Make the requests, and end the client. Knows nothing of who waits, so that this one can be forgotten."""
    while (answer := queue.get()) is not None:
        answer.make(client)
        del answer
    at_end(client)
    del client  # an error that is kept has this frame, too


def _forget_frames(error: BaseException | None) -> None:
    """Let go of what the frames of an error hold, which may be kept for long: the client would end where it is not."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def answered(request: Callable[[], T]) -> T:
    """What a request to the client gives.

    Where the client fails for good, confluent-kafka (2.16) goes on to call ``on_delivery`` and the logger with its
    fatal error set already. Python then reports a ``SystemError`` that was caused by it, or, if one of them has cleared
    it, one without a cause. Such a request is made again: the client answers it with its fatal error, and does not call
    back in between a second time (docs/decisions/0012).
    """
    try:
        return request()
    except SystemError as error:
        if isinstance(error.__cause__, KafkaException):
            raise error.__cause__ from None
        _librdkafka.info("the client's error was lost, so the request is made again: %s", error)
        return request()


def asked(client: Renewed[Requests[Client]], request: Callable[[Client], T], timeout_s: float, doing: str) -> T:
    """What a client answers; one that finds no broker, or does not return, is replaced.

    Raises:
        KafkaException: of any kind; that of a timeout, too, where the client does not keep to it.
    """
    try:
        return client.client.ask(request, timeout_s, doing)
    except GivenUp as error:
        failure = KafkaException(KafkaError(KafkaError._TIMED_OUT, str(error)))
        client.failed(failure.args[0])
        raise failure from error
    except KafkaException as error:
        client.failed(error.args[0])
        raise


__all__ = ["END_S", "GRACE_S", "REQUEST_TIMEOUT_S", "GivenUp", "Requests", "Waits", "answered", "asked"]
