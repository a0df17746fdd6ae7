"""What looks at a store find, and what is left of it while somebody does not answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from kafka_stream.errors import BrokerUnavailable, StoreUnavailable
from kafka_stream.observe.page.beside import looked_at
from kafka_stream.observe.page.looking import SELDOM, StoreLooks
from kafka_stream.observe.page.model import StreamView, Tone
from kafka_stream.protocols import AdministeredStore, Change, TopicInfo
from kafka_stream.source.cluster import Cluster
from kafka_stream.stream import DirectStream
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from tests.admin_fakes import KINDS, ME, STREAM, Brokers, execute_change, new_stores, started
from tests.fakes import ORDERS_0, ORDERS_1
from tests.replays import keep, letter
from tests.simulation import eventually


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 31, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def after(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Asked(Brokers):
    """Brokers as a cluster is asked, which may be away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False

    def existing_topics(self, names: Sequence[str]) -> Mapping[str, TopicInfo]:
        if self.away:
            raise BrokerUnavailable("no broker answers at kafka:9092")
        return self.topics(names)


def _looks(store: AdministeredStore, brokers: Asked | None = None, **options: Any) -> StoreLooks:
    return StoreLooks(store, None if brokers is None else lambda: cast("Cluster", brokers), **options)


def _only(looks: StoreLooks) -> StreamView:
    looks.look()
    (view,) = looks.views()
    return view


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_store_knows(kind: str, tmp_path: Path) -> None:
    with new_stores(kind, tmp_path) as make:
        store, clock = started(make()), Clock()
        store.take_over(STREAM, ME, [ORDERS_0], {})
        looks = _looks(store, now=clock)
        view = _only(looks)
        assert (view.name, view.state, view.tone, view.lag) == (STREAM, "owned", Tone.GOOD, None)
        assert "me-1f3a" in dict(view.facts)["owners"]
        assert [(each.partition, each.next_offset) for each in view.partitions] == [(0, 40), (1, 40)]
        assert (view.history, view.letters) == ((), ())
        assert looks.notes() == ()
        execute_change(store, [Change(ORDERS_0, 90), Change(ORDERS_1, 10)])
        clock.after(10)
        view = _only(looks)
        assert [each.next_offset for each in view.partitions] == [90, 10]
        assert [each.rate for each in view.partitions] == [5, None]
        assert view.rate == 5
        assert view.history == ()
        clock.after(SELDOM.total_seconds())
        assert [(each.kind, each.where) for each in _only(looks).history or ()] == [
            ("reset", "2 partitions of orders, by +20 offsets in all")
        ]


def test_what_brokers_know_beside_it() -> None:
    brokers = Asked()
    looks = _looks(started(MemoryOffsetStore()), brokers)
    view = _only(looks)
    assert (view.state, view.tone, view.lag) == ("not running", Tone.WARNING, 60)
    assert [(each.lag, each.marks) for each in view.partitions] == [(50, ("end pinned",)), (10, ())]
    said = {note.about: note.sentence for note in view.notes}
    assert "an open transaction keeps the end at 90" in said["orders[0] end pinned"]
    assert said["new partitions"].startswith("orders[2]: ")
    brokers.away = True
    assert _only(looks).lag is None
    assert [(note.about, note.sentence) for note in looks.notes()] == [("brokers", "no broker answers at kafka:9092")]


class Away(MemoryOffsetStore):
    """A store that a test takes away."""

    away = False

    def streams(self) -> Sequence[str]:
        if self.away:
            raise StoreUnavailable("postgresql://db/shop does not answer")
        return super().streams()


def test_a_store_that_does_not_answer_leaves_what_is_known() -> None:
    store = Away()
    looks = _looks(started(store))
    assert [note.sentence for note in looks.notes()] == ["it has not answered yet"]
    before = _only(looks)
    store.away = True
    assert _only(looks) == before
    assert [(note.about, note.tone) for note in looks.notes()] == [("store", Tone.BAD)]
    store.away = False
    _only(looks)
    assert looks.notes() == ()


def test_streams_that_are_named_alone() -> None:
    store = MemoryOffsetStore()
    for name in ("orders", "payments", "users"):
        store.initialise(name, name, {0: 7}, None)
    looks = _looks(store, names=["users", "absent"])
    looks.look()
    assert [view.name for view in looks.views()] == ["users"]
    assert [(note.about, note.sentence) for note in looks.notes()] == [
        ("absent", "there is no such stream in the store")
    ]


def test_dead_letters_are_counted() -> None:
    store = MemoryOffsetStore()
    store.initialise(STREAM, "orders", dict.fromkeys(range(3), 10), None)
    keep(store, [letter(3, error="shop.BadOrder"), letter(5, error="shop.BadOrder")])
    assert [(each.error, each.status, each.letters) for each in _only(_looks(store)).letters or ()] == [
        ("BadOrder", "waiting", 2)
    ]


def _stream(store: Any) -> DirectStream:
    kafka = MemoryKafka({"orders": 1})
    return DirectStream(
        name="orders", topics=["orders"], kafka=kafka, store=store, sink=print, assignment="static", listeners=()
    )


def test_a_stream_s_own_store_is_looked_at_by_another_connection(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/orders.db"
    stream = _stream(url)
    started(cast("AdministeredStore", stream.store))
    with looked_at(stream) as looks:
        assert looks is not None
        eventually(looks.views, "a look")
        assert looks.views()[0].history == ()
    with looked_at(_stream(MemoryOffsetStore())) as looks:
        assert looks is None
