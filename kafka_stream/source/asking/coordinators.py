"""Questions to a group's coordinator, which librdkafka must never be let to give up by itself.

One whose time runs out while its coordinator is looked up ends the process as soon as that one is found: librdkafka
(2.16) has freed what it then counts down (an assertion, ``eonce->refcnt > 0``; its issue 4605, pull request 5397). So
it is given all the time that it takes, an answer is waited for here, and a client that has not given one is let go of:
its questions end with it, and that is safe.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException

REQUEST_S = 3_600.0
"""What a question to a coordinator is given as ``request_timeout``: the most that librdkafka takes."""


def answered(asked: Future[Any], timeout_s: float) -> Any:
    """What a coordinator says. Who made the question lets go of its client if this raises a timeout.

    Raises:
        KafkaException: of any kind; that of a timeout, too.
    """
    try:
        return asked.result(timeout_s)
    except TimeoutError:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None  # noqa: SLF001 - librdkafka's own code


__all__ = ["REQUEST_S", "answered"]
