"""What a stream's store remembers of it, looked at beside the stream, by a connection of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pydantic import SecretStr

from kafka_stream.observe.page.looking import StoreLooks
from kafka_stream.observe.page.ticker import Ticker
from kafka_stream.plugins import store_from_url
from kafka_stream.protocols import AdministeredStore, BoundStore, OffsetStore, StreamBinding
from kafka_stream.stream import DirectStream

EVERY_S = 30.0
_LEAVES_S = 5.0


@contextmanager
def looked_at(stream: DirectStream) -> Iterator[StoreLooks | None]:
    """Meanwhile its history and its dead letters are known; ``None`` where only the code can reach the store."""
    store = _another(stream)
    if store is None or not isinstance(store, AdministeredStore):
        yield None
        return
    looks = StoreLooks(store, names=[stream.name])
    ticker = Ticker(looks.look, EVERY_S, f"kafka-stream-store {stream.name}")
    ticker.start()
    try:
        yield looks
    finally:
        ticker.stop(_LEAVES_S)
        store.close()


def _another(stream: DirectStream) -> OffsetStore | None:
    url, kafka = stream.settings.store, stream.settings.kafka
    if not isinstance(url, SecretStr):
        return None
    store = store_from_url(url.get_secret_value())
    if isinstance(store, BoundStore):
        if not isinstance(kafka, Mapping):
            return None
        group = stream.settings.group_id or stream.name
        store.bind(StreamBinding(stream=stream.name, group_id=group, kafka=stream.settings.kafka_config(), shard=None))
    return store


__all__ = ["looked_at"]
