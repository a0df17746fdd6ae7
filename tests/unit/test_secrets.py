"""No secret is shown by what a debugger, a log line or a traceback with local variables prints of our own objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.offset_stores.zookeeper import ZooKeeperOffsetStore
from kafka_stream.protocols import OffsetStore, StreamBinding
from kafka_stream.source.kafka_source import KafkaSource, SourceLimits
from kafka_stream.stream import DirectStream

SECRET = "hunter2"
KAFKA = {"bootstrap.servers": "127.0.0.1:1", "sasl.username": "app", "sasl.password": SECRET, "log_level": 0}


def shown(value: Any, seen: set[int] | None = None) -> Iterator[str]:
    """What is printed of an object, and of the objects of ours that it is made of."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    yield repr(value)
    yield str(value)
    if type(value).__module__.startswith("kafka_stream."):
        for each in getattr(value, "__dict__", {}).values():
            yield from shown(each, seen)


def kafka_store() -> OffsetStore:
    own = KafkaOffsetStore({"ssl.key.password": SECRET})
    own.bind(StreamBinding("orders", "orders", KAFKA, "static"))
    return own


STORES: Mapping[str, Callable[[], OffsetStore]] = {
    "kafka": kafka_store,
    "kafka by its own": lambda: KafkaOffsetStore(KAFKA),
    "sql": lambda: SqlOffsetStore(f"postgresql://app:{SECRET}@127.0.0.1/orders"),
    "sql by option": lambda: SqlOffsetStore(f"postgresql://app@127.0.0.1/orders?password={SECRET}"),
    "zookeeper": lambda: ZooKeeperOffsetStore(f"zookeeper://app:{SECRET}@127.0.0.1/orders"),
    "zookeeper by option": lambda: ZooKeeperOffsetStore(
        f"zookeeper://127.0.0.1/orders?use_ssl=true&certfile=/c.pem&keyfile=/k.pem&keyfile_password={SECRET}"
    ),
    "zookeeper by auth": lambda: ZooKeeperOffsetStore("127.0.0.1", auth=("digest", f"app:{SECRET}")),
}


@pytest.mark.parametrize("store", STORES)
def test_a_store_shows_no_secret(store: str) -> None:
    assert SECRET not in " ".join(shown(STORES[store]()))


@pytest.mark.parametrize("store", ["sqlite:///orders.db", f"postgresql://app:{SECRET}@127.0.0.1/orders"])
def test_a_stream_shows_no_secret(store: str) -> None:
    stream = DirectStream(name="orders", topics=["orders"], kafka=KAFKA, store=store, sink=print)
    assert SECRET not in " ".join(shown(stream))
    assert "sasl.username" in " ".join(shown(stream))


def test_a_source_shows_no_secret() -> None:
    limits = SourceLimits(max_buffered_records=1, max_buffered_bytes=1, revoke_timeout_s=1)
    assert SECRET not in " ".join(shown(KafkaSource(KAFKA, "orders", ["orders"], limits)))
