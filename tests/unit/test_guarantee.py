"""The table of the design, cell by cell, and the sentences that refuse."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from kafka_stream import Batch, DirectStream
from kafka_stream.errors import ConfigurationError, UnsupportedGuarantee
from kafka_stream.guarantee import check_guarantee, guarantee_of
from kafka_stream.protocols import RangeSink, Sink, StoreCapabilities
from kafka_stream.settings import Sinks
from kafka_stream.testing import MemoryKafka
from kafka_stream.types import Guarantee, Writes
from kafka_stream.user_code import FunctionSink
from tests.declared_sinks import DeclaredRangeSink, DeclaredSink, declared_sink

SQL = StoreCapabilities("sql", compare_and_set=True, durable_plan=True)
KAFKA = StoreCapabilities("kafka", compare_and_set=False, durable_plan=True)
ZOOKEEPER = StoreCapabilities("zookeeper", compare_and_set=True, durable_plan=True)
THIRD_PARTYS = StoreCapabilities("redis", compare_and_set=True, durable_plan=True)
WITHOUT_PLANS = StoreCapabilities("redis", compare_and_set=True, durable_plan=False)
STORES = [SQL, KAFKA, ZOOKEEPER, THIRD_PARTYS, WITHOUT_PLANS]
NEEDS = ["sql", "kafka", "zookeeper", "redis", "s3", None]
EXACTLY, EFFECTIVELY, AT_LEAST = Guarantee.EXACTLY_ONCE, Guarantee.EFFECTIVELY_ONCE, Guarantee.AT_LEAST_ONCE

WITHIN_THE_TRANSACTION = {Writes.THROUGH_TRANSACTION: EXACTLY}
IDEMPOTENT = {Writes.IDEMPOTENT_BY_RECORD: EFFECTIVELY, Writes.IDEMPOTENT_BY_RANGE: EFFECTIVELY}
TABLE = {
    SQL: {**WITHIN_THE_TRANSACTION, **IDEMPOTENT, Writes.ANYTHING: AT_LEAST},
    KAFKA: {**WITHIN_THE_TRANSACTION, **IDEMPOTENT, Writes.ANYTHING: AT_LEAST},
    ZOOKEEPER: {**WITHIN_THE_TRANSACTION, **IDEMPOTENT, Writes.ANYTHING: AT_LEAST},
    THIRD_PARTYS: {**WITHIN_THE_TRANSACTION, **IDEMPOTENT, Writes.ANYTHING: AT_LEAST},
    WITHOUT_PLANS: {
        **WITHIN_THE_TRANSACTION,
        **IDEMPOTENT,
        Writes.IDEMPOTENT_BY_RANGE: AT_LEAST,
        Writes.ANYTHING: AT_LEAST,
    },
}
CELLS = list(itertools.product(STORES, Writes, NEEDS, Guarantee))
WEAKER = {EXACTLY: [], EFFECTIVELY: [EXACTLY], AT_LEAST: [EXACTLY, EFFECTIVELY]}
"""What cannot be asked for, by what is there."""


def _name(value: Any) -> str:
    if isinstance(value, StoreCapabilities):
        return value.transaction + ("" if value.durable_plan else "-without-plans")
    return str(value)


def refusal(sinks: Sequence[Sink], store: StoreCapabilities, asked: Guarantee) -> str:
    with pytest.raises(UnsupportedGuarantee) as caught:
        check_guarantee(sinks, store, asked)
    return str(caught.value)


@pytest.mark.parametrize(("store", "writes", "needs", "asked"), CELLS, ids=_name)
def test_every_cell_of_the_table(store: StoreCapabilities, writes: Writes, needs: str | None, asked: Guarantee) -> None:
    sink = declared_sink(writes, needs)
    expected = TABLE[store][writes]
    if needs not in (None, store.transaction):
        sentence = refusal([sink], store, asked)
        assert sentence.startswith("my sink writes through a")
    elif asked in WEAKER[expected]:
        sentence = refusal([sink], store, asked)
        assert sentence.startswith(f"{asked} was asked for, but my sink with a")
        assert f"gives {expected}; use " in sentence
        assert sentence.endswith(f"; or ask for guarantee={str(expected)!r} by name")
    else:
        assert check_guarantee([sink], store, asked) is guarantee_of(sink, store) is expected


def test_the_fakes_are_what_they_claim() -> None:
    assert isinstance(declared_sink(Writes.ANYTHING), Sink)
    assert isinstance(declared_sink(Writes.IDEMPOTENT_BY_RANGE), RangeSink)


@pytest.mark.parametrize("store", STORES, ids=_name)
def test_a_plain_function_counts_as_through_the_transaction(store: StoreCapabilities) -> None:
    assert check_guarantee([FunctionSink(lambda prepared, transaction: None)], store, EXACTLY) is EXACTLY


def test_a_foreign_transaction_is_refused_with_the_stores_and_the_sinks_that_would_do() -> None:
    assert refusal([declared_sink(needs="kafka")], SQL, AT_LEAST) == (
        "my sink writes through a Kafka transaction, but the offset store's is an SQL one; use KafkaSink with "
        "KafkaOffsetStore (same cluster) or SqlSink with SqlOffsetStore (same database)"
    )


def test_a_third_partys_transaction_is_named_as_it_names_itself() -> None:
    assert refusal([declared_sink(needs="s3")], ZOOKEEPER, EXACTLY) == (
        "my sink writes through a 's3' transaction, but the offset store's is a ZooKeeper one; use a sink or function "
        "for a 's3' transaction with a store that has one or ZooKeeperSink with ZooKeeperOffsetStore (same ensemble)"
    )


def test_less_than_exactly_once_is_refused_with_all_pairings_that_hold_it_the_stores_own_first() -> None:
    assert refusal([declared_sink(Writes.IDEMPOTENT_BY_RANGE)], KAFKA, EXACTLY) == (
        "exactly-once was asked for, but my sink with a Kafka offset store gives effectively-once; use KafkaSink with "
        "KafkaOffsetStore (same cluster), SqlSink with SqlOffsetStore (same database) or ZooKeeperSink with "
        "ZooKeeperOffsetStore (same ensemble); or ask for guarantee='effectively-once' by name"
    )


def test_less_than_effectively_once_is_refused_with_idempotent_pairings_too() -> None:
    assert refusal([declared_sink(Writes.ANYTHING)], SQL, EFFECTIVELY) == (
        "effectively-once was asked for, but my sink with an SQL offset store gives at-least-once; use SqlSink with "
        "SqlOffsetStore (same database), KafkaSink with KafkaOffsetStore (same cluster), ZooKeeperSink with "
        "ZooKeeperOffsetStore (same ensemble), FileSink with any of these stores or a sink that is idempotent by "
        "record with any store; or ask for guarantee='at-least-once' by name"
    )


def test_the_weakest_of_several_sinks_decides_and_is_named() -> None:
    strong = declared_sink(Writes.THROUGH_TRANSACTION, "sql", "the table")
    weak = declared_sink(Writes.ANYTHING, None, "the webhook")
    middle = declared_sink(Writes.IDEMPOTENT_BY_RANGE, None, "the files")
    assert check_guarantee([strong, middle], SQL, EFFECTIVELY) is EFFECTIVELY
    assert check_guarantee([strong, middle, weak], SQL, AT_LEAST) is AT_LEAST
    assert "the webhook with an SQL offset store gives at-least-once" in refusal([strong, weak, middle], SQL, EXACTLY)


@pytest.mark.parametrize("weak_first", [True, False])
def test_two_sinks_of_one_description_are_two_sinks(weak_first: bool) -> None:
    sinks = [declared_sink(Writes.ANYTHING), declared_sink(Writes.THROUGH_TRANSACTION)]
    assert "gives at-least-once" in refusal(sinks if weak_first else sinks[::-1], SQL, EXACTLY)


@pytest.mark.parametrize("store", STORES, ids=_name)
def test_two_kinds_of_transaction_are_never_one(store: StoreCapabilities) -> None:
    table = declared_sink(needs="sql", name="the table")
    topic = declared_sink(needs="kafka", name="the topic")
    assert refusal([table, declared_sink(Writes.ANYTHING), topic], store, AT_LEAST) == (
        "a batch has one transaction, but the topic writes through a Kafka one, the table writes through an SQL one; "
        "give each a stream of its own: KafkaSink with KafkaOffsetStore (same cluster) or SqlSink with SqlOffsetStore "
        "(same database)"
    )


def test_what_a_sink_says_of_its_writes_may_be_the_plain_word() -> None:
    assert guarantee_of(declared_sink("idempotent by record"), SQL) is EFFECTIVELY  # type: ignore[arg-type]


@pytest.mark.parametrize("writes", ["exactly-once", None, []])
def test_writes_that_nobody_knows_are_refused_with_those_that_are_known(writes: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^my sink says of its writes .*; .* one of Writes.THROUGH_TRANSACTION"
    ):
        guarantee_of(declared_sink(writes), SQL)


@pytest.mark.parametrize(
    "sink",
    [
        DeclaredSink(Writes.IDEMPOTENT_BY_RANGE),
        DeclaredRangeSink(Writes.IDEMPOTENT_BY_RECORD),
        DeclaredRangeSink(Writes.ANYTHING),
    ],
)
def test_only_and_every_sink_that_is_idempotent_by_range_is_told_of_ranges(sink: Sink) -> None:
    with pytest.raises(ConfigurationError, match=r"take_over and discard .* if, and only if, they are 'idempotent by"):
        guarantee_of(sink, SQL)
    assert guarantee_of(DeclaredRangeSink(Writes.IDEMPOTENT_BY_RANGE), SQL) is EFFECTIVELY


def test_a_pairing_that_cannot_hold_is_refused_when_the_stream_is_built() -> None:
    def write(batch: Batch, transaction: Any) -> None:
        raise NotImplementedError

    topic = declared_sink(needs="kafka", name="the topic")
    sinks: list[Sinks] = [topic, [write, topic], (topic, write)]
    for sink in sinks:
        with pytest.raises(UnsupportedGuarantee, match=r"^the topic writes through a Kafka transaction"):
            DirectStream(name="s", topics=["t"], kafka=MemoryKafka({"t": 1}), store="sqlite:///orders.db", sink=sink)
