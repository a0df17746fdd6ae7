"""One world that process starts share: the records, the offsets and the results, and copies of the stream in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kafka_stream.failures.strategies import ExponentialBackoff
from kafka_stream.protocols import Listener, OffsetStore
from kafka_stream.stream import DirectStream
from kafka_stream.testing.exactly_once.feeds import Feed
from kafka_stream.testing.exactly_once.keeps import Keep
from kafka_stream.testing.exactly_once.records import Place
from kafka_stream.testing.exactly_once.results import Results
from kafka_stream.types import Guarantee

_AT_ONCE = ExponentialBackoff(initial_s=0.001, maximum_s=1.0)


@dataclass
class World:
    """The records of ``feed`` on their way into ``keep``, by a stream that is called ``name`` there."""

    feed: Feed
    keep: Keep
    name: str
    make: Callable[[], DirectStream]
    _looking: OffsetStore | None = field(default=None, init=False)

    def copy(self, batch_records: int, listeners: Sequence[Listener]) -> DirectStream:
        """The stream as a new process would build it, in this world."""
        stream = self.make()
        options = self.options(stream, batch_records) | {"store": self.keep.for_run()}
        return stream.replace(**options, kafka=self.feed.kafka(), listeners=listeners)

    def options(self, stream: DirectStream, batch_records: int) -> dict[str, Any]:
        """What is other than in the user's settings, but for Kafka and the listeners."""
        return {
            "name": self.name,
            "group_id": None,
            "topics": list(self.feed.topics(stream.settings.topics)),
            "store": self.keep.store,
            "start": "earliest",
            "assignment": "static",
            "executor": None,
            "max_records_per_batch": batch_records,
            "max_records_per_partition": None,
            "max_rate_per_partition": None,
            "interval_s": None,
            "retry": _AT_ONCE,
            "history_days": 0,
        }

    @cached_property
    def is_exact(self) -> bool:
        """Whether results and offsets move together; else a place that is written first is ahead of them."""
        return self.copy(1, ()).guarantee is Guarantee.EXACTLY_ONCE

    def results(self) -> Results:
        """What is there now."""
        return self.keep.results()

    def committed(self) -> int | None:
        """How many of the records are committed, in the order in which they were given; ``None`` if it is a mixture."""
        if self._looking is None:
            self._looking = self.copy(1, ()).store
            self._looking.open()
        stored = self._looking.positions(self.name)
        offsets = {tp: position.next_offset for tp, position in stored.items()}
        return _leading(self.feed.places, offsets)

    def close(self) -> None:
        """Give back what was opened to look."""
        if self._looking is not None:
            self._looking.close()


def _leading(places: Sequence[Place], offsets: Mapping[Any, int]) -> int | None:
    done = [place.offset < offsets.get(place.topic_partition, 0) for place in places]
    count = sum(done)
    return count if all(done[:count]) else None


__all__ = ["World"]
