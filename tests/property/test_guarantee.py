"""The guarantee of any sinks with any store: sinks only ever weaken it, in whatever order they are given."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kafka_stream.errors import UnsupportedGuarantee
from kafka_stream.guarantee import check_guarantee
from kafka_stream.protocols import Sink, StoreCapabilities
from kafka_stream.types import Guarantee, Writes
from tests.declared_sinks import declared_sink

KINDS = ["sql", "kafka", "zookeeper", "a third party's"]
STRENGTH = [Guarantee.AT_LEAST_ONCE, Guarantee.EFFECTIVELY_ONCE, Guarantee.EXACTLY_ONCE]

stores = st.builds(StoreCapabilities, st.sampled_from(KINDS), st.booleans(), st.booleans())
names = st.sampled_from(["one", "another"])
sinks = st.builds(declared_sink, st.sampled_from(Writes), st.sampled_from([*KINDS, None]), names)
several = st.lists(sinks, min_size=1, max_size=5)


def strength(some: list[Sink], store: StoreCapabilities) -> int:
    """Higher is stronger; -1 is what cannot be had at all."""
    try:
        return STRENGTH.index(check_guarantee(some, store, Guarantee.AT_LEAST_ONCE))
    except UnsupportedGuarantee:
        return -1


@given(several, sinks, stores)
def test_one_more_sink_never_strengthens(some: list[Sink], more: Sink, store: StoreCapabilities) -> None:
    assert strength([*some, more], store) == min(strength(some, store), strength([more], store))


@given(several, stores, st.data())
def test_the_order_does_not_matter(some: list[Sink], store: StoreCapabilities, data: st.DataObject) -> None:
    assert strength(data.draw(st.permutations(some)), store) == strength(some, store)


@given(several, stores, st.sampled_from(Guarantee))
def test_what_is_given_is_at_least_what_was_asked_or_it_is_refused_in_one_sentence(
    some: list[Sink], store: StoreCapabilities, asked: Guarantee
) -> None:
    there = strength(some, store)
    try:
        given_: Any = check_guarantee(some, store, asked)
    except UnsupportedGuarantee as refusal:
        assert there < STRENGTH.index(asked)
        assert str(refusal).startswith(("one ", "another ", "a batch has one transaction", f"{asked} was asked for"))
        assert " with " in str(refusal)
        assert not any(end in str(refusal) for end in (". ", "\n"))
    else:
        assert STRENGTH.index(given_) == there >= STRENGTH.index(asked)
