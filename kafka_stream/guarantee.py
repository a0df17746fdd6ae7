"""Pure: (sinks, store) into the guarantee that holds, or a refusal that names what would do."""

from __future__ import annotations

from collections.abc import Sequence

from kafka_stream.errors import UnsupportedGuarantee
from kafka_stream.protocols import Sink, StoreCapabilities
from kafka_stream.types import Guarantee, Writes

_STRENGTH = (Guarantee.AT_LEAST_ONCE, Guarantee.EFFECTIVELY_ONCE, Guarantee.EXACTLY_ONCE)
_STORE_NAMES = {"sql": "an SQL store", "kafka": "a Kafka store", "zookeeper": "a ZooKeeper store"}


def guarantee_of(sink: Sink, store: StoreCapabilities) -> Guarantee:
    """What one sink promises with this store.

    Raises:
        UnsupportedGuarantee: the sink needs a transaction that the store does not offer.
    """
    if sink.needs is not None and sink.needs != store.transaction:
        raise UnsupportedGuarantee(
            f"{sink.describe()} writes through {_article(sink.needs)} transaction, but the offset store offers "
            f"{_article(store.transaction)} one; use {_STORE_NAMES.get(sink.needs, sink.needs + ' offsets')} in the "
            "same place that the results go to"
        )
    if sink.writes is Writes.THROUGH_TRANSACTION:
        return Guarantee.EXACTLY_ONCE
    if sink.writes is Writes.IDEMPOTENT_BY_RECORD:
        return Guarantee.EFFECTIVELY_ONCE
    if sink.writes is Writes.IDEMPOTENT_BY_RANGE and store.durable_plan:
        return Guarantee.EFFECTIVELY_ONCE
    return Guarantee.AT_LEAST_ONCE


def check_guarantee(sinks: Sequence[Sink], store: StoreCapabilities, asked: Guarantee) -> Guarantee:
    """The weakest guarantee among the sinks, if it is at least the one asked for.

    Raises:
        UnsupportedGuarantee: it is weaker, or some sink cannot write with this store at all.
    """
    found = [(guarantee_of(sink, store), sink) for sink in sinks]
    weakest, sink = min(found, key=lambda pair: _STRENGTH.index(pair[0]))
    if _STRENGTH.index(weakest) < _STRENGTH.index(asked):
        raise UnsupportedGuarantee(
            f"{asked} was asked for, but {sink.describe()} with {_article(store.transaction)} offset store gives "
            f"{weakest}: {_what_would_do(asked)}, or ask for guarantee={str(weakest)!r} by name"
        )
    return weakest


def _what_would_do(asked: Guarantee) -> str:
    if asked is Guarantee.EXACTLY_ONCE:
        return "write through the store's own transaction (SQL rows with an SQL store in the same database)"
    return "write through the store's transaction, or make the writes idempotent by record or by range"


def _article(kind: str) -> str:
    return {"sql": "an SQL", "zookeeper": "a ZooKeeper", "kafka": "a Kafka"}.get(kind, f"a {kind}")
