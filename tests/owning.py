"""One owner of two partitions, with a scripted store and broker."""

from __future__ import annotations

from typing import Any, cast

from kafka_stream.engine.partitions.ownership import Ownership
from kafka_stream.protocols import OffsetStore, Source, TopicInfo
from kafka_stream.types import Owner, StoredPosition, TopicPartition
from tests.fakes import ORDERS_0, ORDERS_1, ScriptedSource, ScriptedStore

ME = Owner("me", "here")


class World:
    """One owner, one store and one broker with topic ``orders`` of two partitions that hold [10, 100)."""

    def __init__(self, on_data_loss: str = "stop") -> None:
        self.source = ScriptedSource({"orders": TopicInfo(2, "id-1")})
        self.store = ScriptedStore()
        for tp in (ORDERS_0, ORDERS_1):
            self.source.log_of(tp, 10, 100)
        self.ownership = self.owner(on_data_loss)

    def owner(self, on_data_loss: str = "stop") -> Ownership:
        return Ownership(
            stream="s",
            owner=ME,
            store=cast("OffsetStore", self.store),
            source=cast("Source", self.source),
            on_data_loss=on_data_loss,
        )

    def stored(self, tp: TopicPartition, next_offset: int, **facts: Any) -> None:
        self.store.stored[tp] = StoredPosition(next_offset, 1, **{"topic_id": "id-1", **facts})

    def recreate(self, end: int) -> None:
        self.source.infos["orders"] = TopicInfo(2, "id-2")
        for tp in (ORDERS_0, ORDERS_1):
            self.source.log_of(tp, 0, end)


def running(on_data_loss: str = "stop") -> World:
    world = World(on_data_loss)
    world.stored(ORDERS_0, 42)
    world.stored(ORDERS_1, 42)
    world.ownership.take_over([ORDERS_0, ORDERS_1])
    return world
