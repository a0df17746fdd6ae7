"""Pure: a ``multi`` as it goes over the wire. Its size is what ZooKeeper limits, so it is known before it is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from kazoo.exceptions import RolledBackError, RuntimeInconsistency
from kazoo.protocol.serialization import CheckVersion, Transaction

from kafka_stream.errors import ConfigurationError
from kafka_stream.offset_stores.zookeeper.operations import Operation
from kafka_stream.offset_stores.zookeeper.znodes import Layout

DEFAULT_MAX_REQUEST_BYTES = 0xFFFFF
"""ZooKeeper's own default of ``jute.maxbuffer``."""

_NO_VERSION = 2**31 - 1
"""That no znode has: it would have been written two thousand million times."""
_REQUEST_HEADER_BYTES = 8  # xid and type
_MULTI_HEADER_BYTES = 9  # before each operation, and at the end


def size_of(operations: Sequence[Operation]) -> int:
    """The bytes of a request, as the server counts them."""
    return _REQUEST_HEADER_BYTES + len(Transaction(operations).serialize())


def check_size(operations: Sequence[Operation], max_request_bytes: int, where: str) -> None:
    """Refuse what the server would answer by breaking the connection.

    Raises:
        ConfigurationError: it is too large; with its size.
    """
    size = size_of(operations)
    if size > max_request_bytes:
        raise ConfigurationError(
            f"a request of {size:,} bytes ({len(operations):,} operations) is more than the {max_request_bytes:,} that "
            f"{where} takes at once, and nothing of it was sent: lower max_records_per_batch, since a batch's results "
            "and offsets go in one request; or raise jute.maxbuffer on all servers, and max_request_bytes with it"
        )


def in_requests(
    operations: Iterable[Operation], beside: Operation, max_request_bytes: int
) -> Iterator[list[Operation]]:
    """Operations in as few requests as they fit in, with room for one more beside them; at least one request."""
    room = max_request_bytes - size_of([beside])
    request: list[Operation] = []
    left = room
    for operation in operations:
        size = _MULTI_HEADER_BYTES + len(operation.serialize())
        if size > left and request:
            yield request
            request, left = [], room
        request.append(operation)
        left -= size
    yield request


def impossible(layout: Layout) -> CheckVersion:
    """What always fails: behind other operations in a request it tells that those would not have."""
    return CheckVersion(layout.root, _NO_VERSION)


def failure_in(results: Sequence[object]) -> tuple[int, Exception] | None:
    """Which operation made a ``multi`` fail, and how; ``None`` if it was carried out.

    Kazoo returns the errors instead of raising them: those before the one that counts say that they were rolled back,
    those after it that they were not looked at.
    """
    for index, result in enumerate(results):
        if isinstance(result, Exception) and not isinstance(result, RolledBackError | RuntimeInconsistency):
            return index, result
    for index, result in enumerate(results):
        if isinstance(result, Exception):
            return index, result
    return None


__all__ = ["DEFAULT_MAX_REQUEST_BYTES", "check_size", "failure_in", "impossible", "in_requests", "size_of"]
