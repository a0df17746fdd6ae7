"""``assert_exactly_once`` lets right handlers through, and names the first record that a wrong one loses or repeats."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_stream import Batch, DirectStream
from kafka_stream.errors import ConfigurationError
from kafka_stream.sinks.files import FileSink
from kafka_stream.testing import (
    MemoryKafka,
    MemoryOffsetStore,
    NotExactlyOnce,
    RecordLost,
    RecordRepeated,
    ResultsDiffer,
    StreamStopped,
    WrittenOutside,
    assert_exactly_once,
    message,
)
from kafka_stream.types import OF_EVERY_BATCH, OffsetRange, TopicPartition
from tests.unit.exactly_once import handlers
from tests.unit.exactly_once.handlers import ORDERS, Make

SEED = 20_240_229


def ids(records: Iterable[str]) -> list[int]:
    """What is told of each of the first records: their numbers are their places."""
    return list(range(len(list(records))))


@pytest.fixture
def shop(tmp_path: Path) -> str:
    """A database with the handlers' tables."""
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    engine = sa.create_engine(url)
    handlers.metadata.create_all(engine)
    engine.dispose()
    return url


# What is right --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "results"),
    [(handlers.writes, handlers.orders), (handlers.by_sink, None), (handlers.adds_up, [handlers.totals])],
)
def test_a_right_handler_survives_a_crash_at_every_point(make: Make, results: Any) -> None:
    survived = assert_exactly_once(make, ORDERS, results=results, seed=SEED)
    assert set(survived.crashes) == set(OF_EVERY_BATCH)
    assert sum(survived.crashes.values()) >= len(OF_EVERY_BATCH) + 15
    assert (survived.records, survived.seed) == (40, SEED)
    assert str(survived).startswith("40 records went through ")


def test_a_stream_as_it_is_and_a_single_record_will_do() -> None:
    survived = assert_exactly_once(handlers.by_sink(), ORDERS[:1], kills=3)
    assert set(survived.crashes) == set(OF_EVERY_BATCH), "until the commit a record may die as often as one likes"


def test_rows_in_memory_are_results_and_messages_have_topics_and_keys() -> None:
    def write(batch: Batch, transaction: Any) -> None:
        transaction.rows += [(m.topic(), m.key(), m.value(), dict(m.headers() or [])) for m in batch]

    def make() -> DirectStream:
        return DirectStream(
            name="s", topics=["orders", "payments"], kafka=MemoryKafka(), store=MemoryOffsetStore(), sink=write
        )

    records = [
        message(str(n), key=f"k{n}", topic=("orders", "payments")[n % 2], headers=[("n", b"1")]) for n in range(12)
    ]
    assert_exactly_once(make, [*records, "of the first topic", None], seed=SEED, kills=4)


def test_files_are_ahead_of_their_offsets_until_the_end(tmp_path: Path) -> None:
    """They are replaced when their range is written again."""

    def make() -> DirectStream:
        sink = FileSink(tmp_path, handlers.rows_of)
        return handlers.stream(sink, store=MemoryOffsetStore(), guarantee="effectively-once")

    def found() -> list[int]:
        lines = [line for file in tmp_path.glob("*.jsonl") for line in file.read_text().splitlines()]
        return [int(re.findall(r'"id": ?(\d+)', line)[0]) for line in lines]

    store = MemoryOffsetStore()
    assert_exactly_once(make, ORDERS, results=found, expected=ids, store=store, seed=SEED, kills=5)


def test_the_same_seed_does_the_same() -> None:
    first, second = (assert_exactly_once(handlers.by_sink, ORDERS[:9], seed=3, kills=2) for _ in range(2))
    assert first == second
    drawn = {assert_exactly_once(handlers.by_sink, ORDERS[:1], kills=0).seed for _ in range(2)}
    assert len(drawn) == 2


# What is wrong --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "results", "kind", "place", "said"),
    [
        (
            handlers.remembers,
            handlers.orders,
            RecordLost,
            2,
            r"its result \(0, 1\) is not there, and has to be there once",
        ),
        (handlers.skips, handlers.orders, RecordLost, 1, r"its result \(1, 2\) is not there"),
        (
            handlers.remembers_totals,
            handlers.totals,
            RecordRepeated,
            1,
            "what the records come to with its batch twice",
        ),
        (handlers.counts_up, handlers.orders, ResultsDiffer, 2, r"there is \(2, 3\), and should be \(2, 2\)"),
    ],
    ids=["remembers", "skips", "remembers totals", "counts up"],
)
def test_what_a_handler_keeps_in_memory_is_found(
    make: Make, results: sa.Table, kind: type[NotExactlyOnce], place: int, said: str
) -> None:
    with pytest.raises(kind, match=said) as caught:
        assert_exactly_once(make, ORDERS, results=results, seed=SEED)
    assert caught.value.place is not None
    assert (caught.value.place.topic_partition, caught.value.place.offset) == (TopicPartition("orders", 0), place)
    assert caught.value.seed == SEED
    assert f"seed={SEED}" in str(caught.value)
    assert caught.value.crash in str(caught.value)


@pytest.mark.parametrize("make", [handlers.tells, handlers.tells_in_prepare])
def test_an_effect_outside_of_the_transaction_is_found_by_a_batch_that_is_rolled_back(
    make: Callable[[list[int]], Make], shop: str
) -> None:
    told: list[int] = []
    with pytest.raises(WrittenOutside, match="is there, although its batch was not committed") as caught:
        assert_exactly_once(make(told), ORDERS, results=lambda: told, expected=ids, store=shop, seed=SEED)
    assert str(caught.value).startswith("orders[0]@0 (record 0) was written outside of its batch's transaction")
    assert re.search("killed at .*batches were rolled back once at after_write", caught.value.crash)
    assert told[0] == 0, "it ends with the first one"
    assert len(told) <= 2, "but for one that is prepared ahead"


def test_a_handler_that_commits_by_itself_is_found_without_a_crash() -> None:
    with pytest.raises(StreamStopped, match=r"without any crash: TransactionEscaped: .*the handler committed it"):
        assert_exactly_once(handlers.commits_itself, ORDERS, results=handlers.orders)


def test_a_handler_that_fails_after_a_crash_is_told_with_the_crash(shop: str) -> None:
    seen: list[tuple[OffsetRange, ...]] = []

    def make() -> DirectStream:
        def write(batch: Batch, transaction: Any) -> None:
            if batch.ranges in seen:
                raise RuntimeError("this was here already")
            seen.append(batch.ranges)
            transaction.connection.execute(handlers.orders.insert(), handlers.rows_of(batch))

        return handlers.stream(write)

    with pytest.raises(StreamStopped, match=r"ProcessingError: .*RuntimeError: this was here already") as caught:
        assert_exactly_once(make, ORDERS, results=list, expected=lambda records: [], store=shop, seed=SEED)
    assert "whose batches were rolled back once" in caught.value.crash
    assert isinstance(caught.value.__cause__, Exception)


# What does not follow -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "options", "said"),
    [
        (handlers.writes, {}, "give results= as the sqlalchemy Table"),
        (handlers.writes, {"results": 7}, "results is a int"),
        (handlers.writes, {"results": list, "store": "sqlite://"}, "say it with expected="),
        (7, {}, "stream is a int"),
        ("nowhere:stream", {}, "there is no module 'nowhere'"),
        (handlers.to_kafka, {}, "memory has no place"),
    ],
)
def test_what_does_not_follow_is_asked_for(stream: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        assert_exactly_once(stream, ORDERS, **options)


def test_records_are_of_the_streams_topics_and_there_are_some() -> None:
    with pytest.raises(ValueError, match="there are no records"):
        assert_exactly_once(handlers.by_sink, [])
    with pytest.raises(ValueError, match="records of topic 'payments', which the stream does not read"):
        assert_exactly_once(handlers.by_sink, [message("x", topic="payments")])


def test_tables_with_rows_of_somebody_elses_are_not_emptied(shop: str) -> None:
    engine = sa.create_engine(shop)
    with engine.begin() as connection:
        connection.execute(handlers.totals.insert().values(customer="ada", amount=1))
    with pytest.raises(ConfigurationError, match=r"table totals has 1 row\(s\), and would be emptied"):
        assert_exactly_once(handlers.by_sink, ORDERS, store=shop)
    with engine.begin() as connection:
        connection.execute(handlers.totals.delete())
    assert_exactly_once(handlers.by_sink, ORDERS, store=shop, seed=SEED)
    engine.dispose()
