"""The examples of state: both ways of each come to the same, and to what a plain program counts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa

from examples import sliding_clicks, word_count
from examples.sample_data import sample
from kafka_stream.testing import MemoryKafka


class Run:
    """An example's stream over its samples, in two runs and small batches."""

    def __init__(self, example: ModuleType, folder: Path, count: int) -> None:
        self.engine = sa.create_engine(f"sqlite:///{folder / 'state.db'}")
        example.metadata.create_all(self.engine)
        (topic,) = example.stream.settings.topics
        self.values: list[dict[str, Any]] = []
        kafka = MemoryKafka({topic: 2})
        stream = example.stream.replace(kafka=kafka, store=str(self.engine.url), max_records_per_batch=100)
        for number, (key, value) in enumerate(sample(topic, count)):
            assert value is not None
            self.values.append(value)
            kafka.produce(topic, json.dumps(value), key=key, partition=number % 2)
            if number == count // 2:
                stream.run(until="latest")
        stream.run(until="latest")

    def rows(self, query: Any) -> list[tuple[Any, ...]]:
        """What a query gives."""
        with self.engine.connect() as connection:
            return list(map(tuple, connection.execute(query)))


@pytest.fixture
def words(tmp_path: Path) -> Iterator[Run]:
    found = Run(word_count, tmp_path, 500)
    yield found
    found.engine.dispose()


@pytest.fixture
def clicks(tmp_path: Path) -> Iterator[Run]:
    found = Run(sliding_clicks, tmp_path, 1_500)
    yield found
    found.engine.dispose()


def test_words_are_counted_alike_by_state_and_by_merging(words: Run) -> None:
    expected = Counter(word for value in words.values for word in value["line"].split())
    assert dict(words.rows(sa.select(word_count.word_counts))) == expected
    assert dict(words.rows(sa.select(word_count.merged_word_counts))) == expected


def test_a_window_that_slides_has_what_a_query_over_minutes_gives(clicks: Run) -> None:
    """As long as no click comes too late, which is so in the samples."""
    table = sliding_clicks.popular_pages
    windows = clicks.rows(sa.select(table.c.window_end, table.c.page, table.c.clicks))
    assert clicks.rows(sa.select(sliding_clicks.metadata.tables["popular_pages_late"])) == []
    ends = {end for end, _, _ in windows}
    assert len(ends) > 20
    for end in ends:
        aware = end.replace(tzinfo=UTC)
        closed = {page: count for at, page, count in windows if at == end}
        assert closed == dict(clicks.rows(sliding_clicks.last_ten_minutes(aware)))
        latest_ms = int(aware.timestamp()) * 1_000
        plain = Counter(it["page"] for it in clicks.values if latest_ms - 600_000 <= it["at_ms"] < latest_ms)
        assert closed == plain
