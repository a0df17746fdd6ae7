"""How many partitions' offsets go in one request, which the broker stores as one batch; and how long one may take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from confluent_kafka import KafkaError, TopicPartition

from kafka_stream.errors import ConfigurationError, KafkaStreamError, StoreUnavailable

_FIRST_BYTES = 500_000  # half of what brokers take unless they are told otherwise (max.message.bytes)
_LEAST_BYTES = 5_000  # one offset with all that may be kept beside it
_RECORD_BYTES = 400  # of what else the broker keeps with an offset: the group's name, the topic's, times
_FIRST_PATIENCE_S = 4.0
_LONGEST_PATIENCE_S = 10.0
_TOO_LARGE = frozenset(
    {
        KafkaError.INVALID_COMMIT_OFFSET_SIZE,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.UNKNOWN,  # what Kafka 4 answers, within a transaction
    }
)


class OffsetRequests:
    """Cuts offsets into requests, smaller ones after a refusal. One for all producers of a store.

    ``patience_s`` is how long one is waited for. It was seen not to be answered at all while the group's coordinator
    changes, and a new producer's is: so it is given up soon, and later each time in a row, for brokers that are slow.
    """

    def __init__(self) -> None:
        self._bytes = _FIRST_BYTES
        self.patience_s = _FIRST_PATIENCE_S

    def answered(self) -> None:
        """One was."""
        self.patience_s = _FIRST_PATIENCE_S

    def unanswered(self) -> None:
        """One was not."""
        self.patience_s = min(_LONGEST_PATIENCE_S, 2 * self.patience_s)

    def of(self, offsets: Sequence[TopicPartition]) -> Iterator[list[TopicPartition]]:
        """The same offsets, in order, in as few requests as the broker takes; one at least of each."""
        request: list[TopicPartition] = []
        left = self._bytes
        for each in offsets:
            size = size_of(each)
            if size > left and request:
                yield request
                request, left = [], self._bytes
            request.append(each)
            left -= size
        if request:
            yield request

    def refused(self, request: Sequence[TopicPartition], error: KafkaError, where: str) -> KafkaStreamError | None:
        """What an error means if it may be of the request's size: smaller ones are tried, down to a few kilobytes."""
        size = sum(map(size_of, request))
        if error.code() not in _TOO_LARGE or (size <= _LEAST_BYTES and error.code() == KafkaError.UNKNOWN):
            return None
        what = f"the offsets of {len(request):,} partition(s) in one request of about {size:,} bytes"
        if size <= _LEAST_BYTES:
            return ConfigurationError(
                f"{where} does not take {what} ({error.name()}): raise max.message.bytes of topic __consumer_offsets"
            )
        self._bytes = max(_LEAST_BYTES, min(self._bytes, size) // 2)
        return StoreUnavailable(f"{where} did not take {what} ({error.name()}); smaller ones are tried")


def size_of(offset: TopicPartition) -> int:
    """About how many bytes the broker stores for it; rather too many."""
    return _RECORD_BYTES + len(offset.topic) + len((offset.metadata or "").encode())


__all__ = ["OffsetRequests", "size_of"]
