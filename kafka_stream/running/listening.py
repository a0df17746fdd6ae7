"""Who is told about a run: the listeners that were given, and those that every stream has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kafka_stream.errors import ConfigurationError
from kafka_stream.progress import Listeners
from kafka_stream.protocols import Listener, OffsetMirror, OffsetStore
from kafka_stream.running.stream_log import StreamLog


def listeners_of(given: Sequence[Listener], about: Callable[[], Mapping[str, object]]) -> Listeners:
    """All of them; a log is one, unless another one was put in its place."""
    return Listeners(given if any(isinstance(it, StreamLog) for it in given) else (StreamLog(about()), *given))


def mirrors_of(given: Sequence[Listener], store: OffsetStore) -> Sequence[OffsetMirror]:
    """Those that have offsets written to the consumer group.

    Raises:
        ConfigurationError: the store's offsets are the group's own.
    """
    found = [listener for listener in given if isinstance(listener, OffsetMirror)]
    if found and store.capabilities.transaction == "kafka":
        raise ConfigurationError(
            f"listeners: a mirror has nothing to do, since the offsets in {store.describe()} are the consumer group's "
            "own; leave it out"
        )
    return found


__all__ = ["listeners_of", "mirrors_of"]
