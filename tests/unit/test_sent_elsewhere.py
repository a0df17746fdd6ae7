"""Settings and streams on their way to another process: what cannot go there is named."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_stream import DirectStream, StreamSettings
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.testing import MemoryKafka
from tests.refusing import write

BASE: Mapping[str, Any] = {
    "name": "orders",
    "topics": ["orders"],
    "kafka": {"bootstrap.servers": "127.0.0.1:1", "sasl.password": "hunter2"},
    "store": "postgresql://app:hunter2@db/shop",
    "sink": write,
}


def _settings(**changes: Any) -> StreamSettings:
    return StreamSettings.checked({**BASE, **changes})


def test_settings_arrive_with_their_secrets() -> None:
    arrived = pickle.loads(pickle.dumps(_settings()))
    assert arrived == _settings()
    assert arrived.kafka_config()["sasl.password"] == "hunter2"
    assert arrived.model_fields_set == _settings().model_fields_set


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sink", lambda: lambda batch, transaction: None),
        ("prepare", lambda: lambda batch: None),
        ("kafka", lambda: MemoryKafka({"orders": 1})),
        ("store", lambda: SqlOffsetStore(sa.create_engine("sqlite://", poolclass=sa.StaticPool))),
        ("kafka", lambda: {"bootstrap.servers": "127.0.0.1:1", "error_cb": lambda error: None}),
    ],
    ids=["sink", "prepare", "memory-kafka", "store", "callback"],
)
def test_what_cannot_be_sent_is_named(name: str, value: Callable[[], Any]) -> None:
    made = value()
    for sent in (_settings(**{name: made}), DirectStream(**{**BASE, name: made})):
        with pytest.raises(
            TypeError, match=rf"of stream 'orders' cannot be sent to another process because of {name}: "
        ):
            pickle.dumps(sent)


def _described(stream: DirectStream) -> tuple[str, str, str]:
    return stream.name, stream.store.describe(), stream.status().state


def test_a_stream_that_was_not_started_is_built_anew_in_another_process() -> None:
    stream = DirectStream(**BASE)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(_described, stream).result(60) == _described(stream)
    assert pickle.loads(pickle.dumps(stream)).owner.id != stream.owner.id


def test_a_stream_that_was_started_stays_where_it_is(tmp_path: Path) -> None:
    stream = DirectStream(**{**BASE, "kafka": MemoryKafka({"orders": 1}), "store": f"sqlite:///{tmp_path}/a.db"})
    stream.run(until="latest")
    for send in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="stream 'orders' cannot be copied or sent to another process once it was"):
            send(stream)
