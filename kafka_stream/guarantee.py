"""Pure: (sinks, store) into the guarantee that holds, or a refusal that names the pairings that would do.

What only a connection can tell (whether two clusters are the same one) is asked by the stores when a stream starts.
"""

from __future__ import annotations

from collections.abc import Sequence

from kafka_stream.errors import ConfigurationError, UnsupportedGuarantee
from kafka_stream.protocols import (
    BoundStore,
    DeadLetterStore,
    OffsetStore,
    RangeSink,
    Sink,
    StoreCapabilities,
    WantedTopics,
)
from kafka_stream.types import Guarantee, Writes

_STRENGTH = (Guarantee.AT_LEAST_ONCE, Guarantee.EFFECTIVELY_ONCE, Guarantee.EXACTLY_ONCE)
_KINDS = {"kafka": "a Kafka", "sql": "an SQL", "zookeeper": "a ZooKeeper"}
_PAIRINGS = {
    "sql": "SqlSink with SqlOffsetStore (same database)",
    "kafka": "KafkaSink with KafkaOffsetStore (same cluster)",
    "zookeeper": "ZooKeeperSink with ZooKeeperOffsetStore (same ensemble)",
}
_IDEMPOTENT = ("FileSink with any of these stores", "a sink that is idempotent by record with any store")


def guarantee_of(sink: Sink, store: StoreCapabilities) -> Guarantee:
    """What one sink promises with this store.

    Raises:
        UnsupportedGuarantee: the sink needs a transaction that the store does not offer.
        ConfigurationError: what the sink says of itself cannot be.
    """
    writes = _writes(sink)
    if sink.needs is not None and sink.needs != store.transaction:
        would_do = _either([_pairing(sink.needs), _pairing(store.transaction)])
        raise UnsupportedGuarantee(
            f"{sink.describe()} writes through {_a(sink.needs)} transaction, but the offset store's is "
            f"{_a(store.transaction)} one; use {would_do}"
        )
    if writes is Writes.THROUGH_TRANSACTION:
        return Guarantee.EXACTLY_ONCE
    if writes is Writes.IDEMPOTENT_BY_RECORD or (writes is Writes.IDEMPOTENT_BY_RANGE and store.durable_plan):
        return Guarantee.EFFECTIVELY_ONCE
    return Guarantee.AT_LEAST_ONCE


def check_guarantee(sinks: Sequence[Sink], store: StoreCapabilities, asked: Guarantee) -> Guarantee:
    """The weakest guarantee among the sinks, if it is at least the one asked for.

    Raises:
        UnsupportedGuarantee: it is weaker, or some sink cannot write with this store at all.
        ConfigurationError: what a sink says of itself cannot be.
    """
    _refuse_two_transactions(sinks)
    found = [(guarantee_of(sink, store), sink) for sink in sinks]
    weakest, sink = min(found, key=lambda pair: _STRENGTH.index(pair[0]))
    if _STRENGTH.index(weakest) < _STRENGTH.index(asked):
        raise UnsupportedGuarantee(
            f"{asked} was asked for, but {sink.describe()} with {_a(store.transaction)} offset store gives {weakest}; "
            f"use {_either(_what_would_do(asked, store))}; or ask for guarantee={str(weakest)!r} by name"
        )
    return weakest


def check_keeps_letters(store: OffsetStore, wanted: WantedTopics, letters_topic: str | None) -> None:
    """Whether records that fail can be set aside where the offsets are, and for good.

    Raises:
        UnsupportedGuarantee: the store cannot.
        ConfigurationError: the topic that they would go to is among those that the stream reads.
    """
    if isinstance(store, BoundStore) and letters_topic in wanted:
        raise ConfigurationError(
            f"topics: the stream would read its own dead letters, in topic {letters_topic!r}; give a pattern that does "
            "not match it, or another name, DeadLetters(topic=…)"
        )
    if not isinstance(store, DeadLetterStore):
        raise UnsupportedGuarantee(
            f'on_error="dead-letter" sets records aside in the transaction of the offsets, and {store.describe()} '
            "cannot do that (protocols.DeadLetterStore); keep the offsets in a database, ZooKeeper or Kafka"
        )


def _writes(sink: Sink) -> Writes:
    if sink.writes not in tuple(Writes):
        raise ConfigurationError(
            f"{sink.describe()} says of its writes {sink.writes!r}; a sink's writes are one of "
            f"{', '.join(f'Writes.{known.name}' for known in Writes)}"
        )
    writes = Writes(sink.writes)
    if (writes is Writes.IDEMPOTENT_BY_RANGE) is not isinstance(sink, RangeSink):
        raise ConfigurationError(
            f"{sink.describe()} says of its writes {str(writes)!r}, but a sink has the methods take_over and discard "
            f"(kafka_stream.protocols.RangeSink) if, and only if, they are {str(Writes.IDEMPOTENT_BY_RANGE)!r}"
        )
    return writes


def _refuse_two_transactions(sinks: Sequence[Sink]) -> None:
    by_kind = {sink.needs: sink for sink in reversed(sinks) if sink.needs is not None}
    if len(by_kind) > 1:
        needs = ", ".join(f"{sink.describe()} writes through {_a(kind)} one" for kind, sink in by_kind.items())
        raise UnsupportedGuarantee(
            f"a batch has one transaction, but {needs}; give each a stream of its own: "
            f"{_either([_pairing(kind) for kind in by_kind])}"
        )


def _what_would_do(asked: Guarantee, store: StoreCapabilities) -> Sequence[str]:
    """Every kind of pairing that holds what was asked, the store's own first."""
    kinds = sorted({*_PAIRINGS, store.transaction}, key=lambda kind: (kind != store.transaction, kind))
    through = [_pairing(kind) for kind in kinds]
    return through if asked is Guarantee.EXACTLY_ONCE else [*through, *_IDEMPOTENT]


def _pairing(kind: str) -> str:
    return _PAIRINGS.get(kind, f"a sink or function for {_a(kind)} transaction with a store that has one")


def _a(kind: str) -> str:
    return _KINDS.get(kind, f"a {kind!r}")


def _either(choices: Sequence[str]) -> str:
    *others, last = choices
    return f"{', '.join(others)} or {last}" if others else last
