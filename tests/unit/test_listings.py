"""A list of streams does not end at the one that cannot be read, or may not be looked at."""

from __future__ import annotations

import json
import sqlite3

import pytest
from kazoo.exceptions import NoAuthError

from kafka_stream.errors import SchemaMismatch
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.offset_stores.zookeeper.positions import Positions
from kafka_stream.testing.store_backend import OLDER, P0, STREAM
from tests.command_line import Invoke
from tests.zookeeper_ensemble import Ensemble

DATABASE = "streams.db"
STORE = f"sqlite:///{DATABASE}"


def test_a_row_that_somebody_has_broken_is_told_of_beside_the_other_streams(invoke: Invoke) -> None:
    store = SqlOffsetStore(STORE)
    store.open()
    for stream in ("broken", "orders", "rates"):
        store.initialise(stream, stream, {0: 5}, None)
    store.close()
    connection = sqlite3.connect(DATABASE)
    connection.execute("UPDATE kafka_stream_offsets SET next_offset = -1001 WHERE stream = 'broken'")
    connection.commit()
    connection.close()
    ended = invoke("offsets", "streams", "--store", STORE, "--output", "json")
    assert ended.status == 0
    assert [row["stream"] for row in json.loads(ended.out)] == ["orders", "rates"]
    assert "Stream 'broken' is left out: the offsets table's row of stream 'broken', broken[0], holds" in ended.err
    with pytest.raises(SchemaMismatch, match="next_offset is -1001"):
        SqlOffsetStore(STORE).positions("broken")


def test_a_znode_that_is_not_ours_ends_no_list() -> None:
    ensemble = Ensemble()
    store = ensemble.store()
    store.take_over(STREAM, OLDER, [P0], {})
    root = next(path for path in ensemble.znodes if path.endswith("/kafka_stream"))
    some = ensemble.znodes[root]
    ensemble.znodes |= {f"{root}/%FF": some, f"{root}/{STREAM}/%FF%FE": some, f"{root}/{STREAM}/%FF%FE/0": some}
    assert list(store.streams()) == [STREAM]
    assert list(store.positions(STREAM)) == [P0]


def test_a_stream_whose_znodes_one_may_not_read_ends_no_list(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Ensemble().store()
    for stream in (STREAM, "hidden"):
        store.take_over(stream, OLDER, [P0], {})
    topics = Positions.topics

    def guarded(self: Positions, stream: str) -> list[str]:
        if stream == "hidden":
            raise NoAuthError
        return topics(self, stream)

    monkeypatch.setattr(Positions, "topics", guarded)
    assert list(store.streams()) == [STREAM]
    assert "stream 'hidden' is left out: nobody has granted us to read" in caplog.text
