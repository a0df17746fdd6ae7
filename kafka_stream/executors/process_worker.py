"""What a worker's process of ``ProcessExecutor`` does, from its start to its end: one task after the other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

from kafka_stream.errors import KafkaStreamError
from kafka_stream.executors.pipe import send_whole
from kafka_stream.executors.worker import run, worker_name
from kafka_stream.interpreter import collecting_less_often
from kafka_stream.protocols.causes import said
from kafka_stream.protocols.executors import Outcome, PositionGone, Slice

READY = "ready"
SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""What is sent to the whole process group: the driver decides what it means."""

Request: TypeAlias = tuple[bytes, Sequence[Slice]]


def serve(connection: Connection) -> None:
    """Answer each request with an outcome, or with what ``run`` raises, until the other end is closed.

    An outcome's values follow it by themselves: they are large, and need no other form.
    """
    _ignore_signals()
    threading.Thread(target=_end_with_driver, name="kafka-stream-driver-watch", daemon=True).start()
    with collecting_less_often():
        connection.send(READY)
        while (request := _received(connection)) is not None:
            answer = _answer(request)
            if isinstance(answer, Outcome):
                connection.send((replace(answer, values=b""), len(answer.values)))
                send_whole(connection, answer.values)
            else:
                connection.send(answer)


def _received(connection: Connection) -> Request | None:
    try:
        request: Request = connection.recv()
    except (EOFError, OSError):
        return None
    return request


def _answer(request: Request) -> Any:
    try:
        return run(*request)
    except (KafkaStreamError, PositionGone) as error:
        return error
    except Exception as error:  # noqa: BLE001 - whatever it is, the driver must hear of it
        failure = KafkaStreamError(f"worker {worker_name(os.getpid())} failed: {said(error)}")
        failure.__cause__ = error
        return failure


def _ignore_signals() -> None:
    """From here on; they were held back since before the process was started."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _end_with_driver() -> None:
    """Nobody else would end this process, once the driver was killed."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)


__all__ = ["READY", "SIGNALS", "Request", "serve"]
