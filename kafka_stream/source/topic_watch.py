"""Looks at the topics that are asked for on a thread of their own: a broker that does not answer holds up nobody."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from threading import Lock, Thread

from kafka_stream.errors import BrokerUnavailable, KafkaStreamError, TopicNotFound
from kafka_stream.protocols import Look, OffsetAt, TopicInfo
from kafka_stream.types import TopicPartition

logger = logging.getLogger("kafka_stream.source")

Ask = Callable[[Mapping[TopicPartition, int]], Look]


class TopicWatch:
    """One look at a time, each on a daemon thread that ends with its answer; ``wake`` is called when there is one.

    How long a look takes is bounded by ``ask``.
    """

    def __init__(self, ask: Ask, wake: Callable[[], None], name: str) -> None:
        self._ask = ask
        self._wake = wake
        self._name = name
        self._lock = Lock()
        self._is_looking = False
        self._answer: Look | KafkaStreamError | None = None
        self.trouble: BrokerUnavailable | None = None
        """What the last look ran into, if it had no answer; any thread may look."""

    def begin(self, positions: Mapping[TopicPartition, int]) -> None:
        """Look, unless somebody is looking."""
        with self._lock:
            if self._is_looking:
                return
            self._is_looking = True
        Thread(target=copy_context().run, args=(self._look, dict(positions)), name=self._name, daemon=True).start()

    def answer(self) -> Look | None:
        """What was seen since the last call; raises what came in its place."""
        with self._lock:
            answer, self._answer = self._answer, None
        if isinstance(answer, KafkaStreamError):
            raise answer
        return answer

    def _look(self, positions: Mapping[TopicPartition, int]) -> None:
        answer: Look | KafkaStreamError
        try:
            answer = self._ask(positions)
        except KafkaStreamError as error:
            answer = error
        except Exception as error:  # noqa: BLE001 - the loop must hear of it, and look again
            answer = BrokerUnavailable(f"the topics could not be looked at: {error!r}")
            answer.__cause__ = error
        self.trouble = answer if isinstance(answer, BrokerUnavailable) else None
        with self._lock:
            self._is_looking, self._answer = False, answer
        self._wake()


def look_at(
    topics: Mapping[str, TopicInfo],
    positions: Mapping[TopicPartition, int],
    offsets: Callable[[Sequence[TopicPartition], OffsetAt], Mapping[TopicPartition, int]],
) -> Look:
    """What there is to see of topics that were found; without their ends, if nobody says them."""
    there = [tp for tp in sorted(positions) if tp.topic in topics and tp.partition < topics[tp.topic].partitions]
    try:
        stable = offsets(there, OffsetAt.LATEST)
        waiting = [tp for tp in there if positions[tp] >= stable[tp]]
        ends = offsets(waiting, OffsetAt.HIGH_WATERMARK) if waiting else {}
    except (BrokerUnavailable, TopicNotFound) as error:  # the latter has changed just now, or does so
        logger.warning("the ends could not be looked at, and will be again: %s", error)
        return Look(topics, {})
    return Look(topics, stable, {tp: stable[tp] for tp in waiting if ends[tp] > stable[tp]})


__all__ = ["TopicWatch", "look_at"]
