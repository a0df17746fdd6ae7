"""Streams by pattern, while topics are created and deleted: with crashes, transient failures, and other process starts.

Of every topic that is there in the end each record is in the results once, in order, whenever the topic was created; of
those that were deleted none is there twice. Only what a first start with ``latest`` finds begins at its end.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_stream.errors import StoreUnavailable
from kafka_stream.testing import MemoryKafka
from tests.property.accidents import DEATHS, Change, Death, Killed, change_meanwhile, check_order, die_at
from tests.property.worlds import MemoryWorld, Row, SqliteWorld, World
from tests.simulation import ResultsStore, Simulation

PATTERN = "^orders-.*"


class Topics:
    """A Kafka whose topics come and go; ``wanted`` is what a reader by pattern must get of those that are there."""

    def __init__(self) -> None:
        self.kafka = MemoryKafka()
        self.visible: list[Row] = []
        self.wanted: list[Row] = []
        self._created = 0

    def names(self) -> list[str]:
        return list(self.kafka.topic_names())

    def create(self, kind: int, partitions: int) -> None:
        prefix = "other" if kind == 0 else "orders"
        self._created += 1
        self.kafka.create_topic(f"{prefix}-{self._created}", partitions)
        self.produce(self._created, partitions)

    def produce(self, which: int, count: int) -> None:
        for number in range(count) if self.names() else ():
            topic = self.names()[which % len(self.names())]
            partition = number % len(self.kafka.partitions([topic]))
            row = topic, partition, self.kafka.produce(topic, "xyz", partition=partition)
            self.visible.append(row)
            if topic.startswith("orders-"):
                self.wanted.append(row)

    def delete(self, which: int, _: int) -> None:
        if self.names():
            gone = self.names()[which % len(self.names())]
            self.kafka.delete_topic(gone)
            self.wanted = [row for row in self.wanted if row[0] != gone]


CHANGES = st.tuples(
    st.sampled_from(["create", "create", "produce", "produce", "delete"]), st.integers(0, 5), st.integers(1, 3)
)


@dataclass(frozen=True)
class Plan:
    """One process start: what happens to the topics before and meanwhile, and what goes wrong."""

    before: list[Change]
    meanwhile: list[Change]
    settings: dict[str, Any]
    bounded: bool
    die_at: Death
    store_is_away: dict[str, int]


PLANS = st.builds(
    Plan,
    before=st.lists(CHANGES, max_size=4),
    meanwhile=st.lists(CHANGES, max_size=6),
    settings=st.fixed_dictionaries(
        {"assignment": st.sampled_from(["static", "group"]), "max_records_per_batch": st.integers(1, 10)}
    ),
    bounded=st.booleans(),
    die_at=DEATHS,
    store_is_away=st.dictionaries(
        st.sampled_from(["open", "initialise", "take_over", "begin", "commit", "reclaim"]), st.integers(1, 2)
    ),
)


def _process(topics: Topics, world: World, plan: Plan, start: str) -> None:
    store = ResultsStore(world.process())
    store.failures = {name: [StoreUnavailable("away")] * times for name, times in plan.store_is_away.items()}
    if start == "latest" and not store.positions("s"):
        topics.wanted.clear()  # a first start: what is there now is not read
    run = Simulation(
        topics.kafka, store, sink=world.sink(lambda _: None), topics=[PATTERN], start=start, **plan.settings
    )
    die_at(run, plan.die_at)
    change_meanwhile(run, plan.meanwhile, topics, every_s=2.5)
    run.at(30.0, run.stop)
    with contextlib.suppress(Killed):
        run.run("latest" if plan.bounded else None)


def _check(plans: list[Plan], start: str, world: World) -> None:
    topics = Topics()
    for plan in plans:
        for change, one, two in plan.before:
            getattr(topics, change)(one, two)
        _process(topics, world, plan, start)
        for topic in topics.names():
            check_order([row for row in world.rows() if row[0] == topic])
        assert set(world.rows()) <= set(topics.visible)
    last = Plan([], [], {"assignment": "static"}, bounded=True, die_at=None, store_is_away={})
    _process(topics, world, last, start)
    rows = world.rows()
    assert len(rows) == len(set(rows)), "repeated"
    there = {name for name in topics.names() if name.startswith("orders-")}
    assert sorted(row for row in rows if row[0] in there) == sorted(topics.wanted)
    assert not any(row[0].startswith("other-") for row in rows)


@pytest.mark.parametrize(("make", "examples"), [(MemoryWorld, 80), (SqliteWorld, 8)], ids=["memory", "sqlite"])
def test_every_record_of_the_topics_that_match_is_in_the_results_once(
    make: type[MemoryWorld | SqliteWorld], examples: int
) -> None:
    @settings(max_examples=examples * (10 if settings.get_current_profile_name() == "thorough" else 1))
    @given(st.lists(PLANS, min_size=1, max_size=4), st.sampled_from(["earliest", "latest"]))
    def check(plans: list[Plan], start: str) -> None:
        world = make()
        try:
            _check(plans, start, world)
        finally:
            world.close()

    check()
