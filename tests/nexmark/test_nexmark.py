"""Nexmark's queries on SQLite, in several runs and small batches, give the rows of plain programs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from kafka_stream import DirectStream
from kafka_stream.testing import MemoryKafka
from tests.nexmark import references
from tests.nexmark.generator import DISORDER_MS, END_MS, START_MS, Event, events, last_events
from tests.nexmark.queries import QUERIES, answer_of

COUNT = 3_000
PARTITIONS = 3
ARRIVED_MS = START_MS + 7_000_000


@pytest.fixture(scope="module")
def arrivals() -> list[tuple[int, Event]]:
    """When each event arrived; the last ones a day later, in each partition."""
    found = [(ARRIVED_MS + 40 * number, event) for number, event in enumerate(events(COUNT, seed=20_260_101))]
    return found + [(ARRIVED_MS + 86_400_000, event) for event in last_events() * PARTITIONS]


def produce(kafka: MemoryKafka, arrivals: list[tuple[int, Event]]) -> None:
    for number, (arrived_at, event) in enumerate(arrivals):
        is_last = event["at"] == END_MS
        partition = number // 3 % PARTITIONS if is_last else number % PARTITIONS
        kafka.produce("nexmark", json.dumps(event), partition=partition, timestamp_ms=arrived_at)


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_gives_the_rows_of_a_plain_program(
    tmp_path: Path, arrivals: list[tuple[int, Event]], name: str
) -> None:
    kafka, url = MemoryKafka({"nexmark": PARTITIONS}), f"sqlite:///{tmp_path / 'nexmark.db'}"
    engine = sa.create_engine(url)
    QUERIES[name]().metadata.create_all(engine)
    for part in (arrivals[:900], arrivals[900:1_350], arrivals[1_350:]):
        produce(kafka, part)
        query = QUERIES[name]()
        DirectStream(
            name=name,
            topics=["nexmark"],
            kafka=kafka,
            store=url,
            prepare=query.prepare,
            sink=query.sink,
            max_records_per_batch=300,
        ).run(until="latest")
    found = answer_of(query, engine)
    engine.dispose()
    arrived = [event for _, event in arrivals]
    expected = references.query_12(arrivals) if name == "query_12" else references.OF_EVENTS[name](arrived)
    assert found == expected
    assert len(found) > 5


def test_the_generator_keeps_its_word() -> None:
    made = events(COUNT, seed=1)
    assert made == events(COUNT, seed=1)
    assert made != events(COUNT, seed=2)
    assert Counter(event["kind"] for event in made) == {"person": 60, "auction": 180, "bid": 2_760}
    largest, most_behind = 0, 0
    for event in made:
        most_behind = max(most_behind, largest - event["at"])
        largest = max(largest, event["at"])
    assert 0 < most_behind <= DISORDER_MS
