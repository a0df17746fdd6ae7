"""The table of the design, cell by cell, and the sentences that refuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from kafka_stream.errors import UnsupportedGuarantee
from kafka_stream.guarantee import check_guarantee, guarantee_of
from kafka_stream.processing import FunctionSink
from kafka_stream.protocols import Sink, StoreCapabilities
from kafka_stream.types import Guarantee, Writes

SQL = StoreCapabilities("sql", compare_and_set=True, durable_plan=True)
SQL_WITHOUT_PLANS = StoreCapabilities("sql", compare_and_set=True, durable_plan=False)
KAFKA = StoreCapabilities("kafka", compare_and_set=False, durable_plan=True)
ZOOKEEPER = StoreCapabilities("zookeeper", compare_and_set=True, durable_plan=True)
STORES = [SQL, KAFKA, ZOOKEEPER]
EXACTLY, EFFECTIVELY, AT_LEAST = Guarantee.EXACTLY_ONCE, Guarantee.EFFECTIVELY_ONCE, Guarantee.AT_LEAST_ONCE


@dataclass(frozen=True)
class DeclaredSink:
    writes: Writes
    needs: str | None = None
    name: str = "my sink"

    def describe(self) -> str:
        return self.name

    def prepare(self, prepared: Any) -> Any:
        return prepared

    def write(self, prepared: Any, transaction: Any) -> None:
        raise NotImplementedError


def _name(value: Any) -> str:
    return value.transaction if isinstance(value, StoreCapabilities) else str(value)


def test_the_declared_sink_is_a_sink() -> None:
    assert isinstance(DeclaredSink(Writes.ANYTHING), Sink)


@pytest.mark.parametrize("store", STORES, ids=_name)
def test_through_the_stores_own_transaction_is_exactly_once(store: StoreCapabilities) -> None:
    sink = DeclaredSink(Writes.THROUGH_TRANSACTION, needs=store.transaction)
    assert check_guarantee([sink], store, EXACTLY) is EXACTLY


@pytest.mark.parametrize("store", STORES, ids=_name)
def test_a_plain_function_counts_as_through_the_transaction(store: StoreCapabilities) -> None:
    assert check_guarantee([FunctionSink(lambda prepared, transaction: None)], store, EXACTLY) is EXACTLY


@pytest.mark.parametrize("store", STORES, ids=_name)
@pytest.mark.parametrize("needs", ["sql", "kafka", "zookeeper", "s3"])
@pytest.mark.parametrize("asked", Guarantee)
def test_a_transaction_that_the_store_does_not_offer_is_refused_whatever_is_asked(
    store: StoreCapabilities, needs: str, asked: Guarantee
) -> None:
    sink = DeclaredSink(Writes.THROUGH_TRANSACTION, needs=needs)
    if needs == store.transaction:
        assert guarantee_of(sink, store) is EXACTLY
        return
    with pytest.raises(UnsupportedGuarantee, match=r"my sink writes through an? .* transaction, but the offset store"):
        check_guarantee([sink], store, asked)


def test_the_refusal_names_the_store_that_would_do() -> None:
    with pytest.raises(
        UnsupportedGuarantee,
        match=r"^my sink writes through a Kafka transaction, but the offset store offers an SQL one; use a Kafka store "
        r"in the same place that the results go to$",
    ):
        guarantee_of(DeclaredSink(Writes.THROUGH_TRANSACTION, needs="kafka"), SQL)


@pytest.mark.parametrize("store", STORES, ids=_name)
@pytest.mark.parametrize("writes", [Writes.IDEMPOTENT_BY_RECORD, Writes.IDEMPOTENT_BY_RANGE])
def test_idempotent_writes_are_effectively_once(writes: Writes, store: StoreCapabilities) -> None:
    assert check_guarantee([DeclaredSink(writes)], store, EFFECTIVELY) is EFFECTIVELY
    with pytest.raises(
        UnsupportedGuarantee, match=r"exactly-once was asked for, but my sink .* gives effectively-once"
    ):
        check_guarantee([DeclaredSink(writes)], store, EXACTLY)


def test_idempotent_by_range_rests_on_plans_that_survive() -> None:
    sink = DeclaredSink(Writes.IDEMPOTENT_BY_RANGE)
    assert guarantee_of(sink, SQL_WITHOUT_PLANS) is AT_LEAST
    with pytest.raises(UnsupportedGuarantee, match="gives at-least-once"):
        check_guarantee([sink], SQL_WITHOUT_PLANS, EFFECTIVELY)
    assert guarantee_of(DeclaredSink(Writes.IDEMPOTENT_BY_RECORD), SQL_WITHOUT_PLANS) is EFFECTIVELY


@pytest.mark.parametrize("store", STORES, ids=_name)
def test_anything_else_is_at_least_once_and_only_by_name(store: StoreCapabilities) -> None:
    sink = DeclaredSink(Writes.ANYTHING)
    assert check_guarantee([sink], store, AT_LEAST) is AT_LEAST
    for asked in (EXACTLY, EFFECTIVELY):
        with pytest.raises(UnsupportedGuarantee, match=f"{asked} was asked for, but my sink") as caught:
            check_guarantee([sink], store, asked)
        assert "or ask for guarantee='at-least-once' by name" in str(caught.value)
        assert "write through the store's" in str(caught.value)


def test_a_stronger_pairing_than_asked_for_is_told_as_what_it_is() -> None:
    assert check_guarantee([DeclaredSink(Writes.THROUGH_TRANSACTION, "sql")], SQL, AT_LEAST) is EXACTLY


def test_the_weakest_of_several_sinks_decides_and_is_named() -> None:
    strong = DeclaredSink(Writes.THROUGH_TRANSACTION, "sql", "the table")
    weak = DeclaredSink(Writes.ANYTHING, None, "the webhook")
    middle = DeclaredSink(Writes.IDEMPOTENT_BY_RECORD, None, "the cache")
    assert check_guarantee([strong, middle], SQL, EFFECTIVELY) is EFFECTIVELY
    with pytest.raises(UnsupportedGuarantee, match="the webhook with an SQL offset store gives at-least-once"):
        check_guarantee([strong, weak, middle], SQL, EXACTLY)


@pytest.mark.parametrize("weak_first", [True, False])
def test_two_sinks_of_one_description_are_two_sinks(weak_first: bool) -> None:
    sinks = [DeclaredSink(Writes.ANYTHING), DeclaredSink(Writes.THROUGH_TRANSACTION)]
    with pytest.raises(UnsupportedGuarantee, match="gives at-least-once"):
        check_guarantee(sinks if weak_first else sinks[::-1], SQL, EXACTLY)
