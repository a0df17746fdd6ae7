"""What is compared with what where a stream keeps state: totals, windows, what was seen."""

from __future__ import annotations

from benchmarks.contest import PEERS_PYTHON, Contender, Goal, Work
from benchmarks.records import KEYS

_CONTENDERS = "benchmarks.contenders.aggregates:"
_INSERTS = "SqlSink, plain inserts"
_MERGE, _STATE, _WINDOWS = "SqlSink, on_conflict=Merge(…)", "StateSink", "WindowSink"
_LOOP = "hand-written loop, executemany"
_QUIX, _SPARK = "Quix Streams", "Spark, foreachBatch and upsert"

_KEYS_OF_TOTALS, _KEYS_OF_WINDOWS = 100_000, KEYS
_KEY_PER_RECORD = 10**12
_FEW_TWICE = 10**8
"""Of a million records one in two hundred has a key that another one had."""


def _inserts(keys: int, name: str = _INSERTS) -> Contender:
    return Contender(name, f"{_CONTENDERS}entries", keys=keys)


def _totals(name: str, function: str, **options: bool) -> Contender:
    return Contender(name, function, keys=_KEYS_OF_TOTALS, options=options)


_GOALS_OF_MERGE = (Goal(_MERGE, "rate", "at least", 0.7), Goal(_MERGE, "rate", "at least", 3.0, beside=_LOOP))


WORKS = (
    Work(
        "totals",
        "Running totals of 100,000 keys, into PostgreSQL",
        _inserts(_KEYS_OF_TOTALS),
        (
            _totals(_MERGE, f"{_CONTENDERS}merged"),
            _totals(_STATE, f"{_CONTENDERS}updated"),
            _totals(_LOOP, "benchmarks.peers.hand_written:upserting"),
        ),
        _GOALS_OF_MERGE,
        server="postgres",
    ),
    Work(
        "totals-json",
        "Running totals of 100,000 keys, amounts parsed from JSON",
        _totals(_INSERTS, f"{_CONTENDERS}entries", parses=True),
        (
            _totals(_MERGE, f"{_CONTENDERS}merged", parses=True),
            _totals(_LOOP, "benchmarks.peers.hand_written:upserting", parses=True),
        ),
        _GOALS_OF_MERGE,
        server="postgres",
    ),
    Work(
        "windows",
        "Tumbling windows of 10,000 keys, into PostgreSQL",
        _inserts(_KEYS_OF_WINDOWS),
        (Contender(_WINDOWS, f"{_CONTENDERS}windows"),),
        (Goal(_WINDOWS, "rate", "at least", 0.5),),
        server="postgres",
    ),
    Work(
        "memory-windows",
        "Peak memory of tumbling windows, by keys",
        Contender("10,000 keys", f"{_CONTENDERS}windows"),
        (Contender("a key per record", f"{_CONTENDERS}windows", keys=_KEY_PER_RECORD),),
        (Goal("a key per record", "peak_mb", "at most", 1.15),),
        figure="peak_mb",
        server="postgres",
    ),
    Work(
        "deduplicate",
        "Entries without duplicates, into PostgreSQL",
        _inserts(_FEW_TWICE, "SqlSink, plain inserts of all"),
        (Contender("Deduplicate before the SqlSink", f"{_CONTENDERS}deduplicated", keys=_FEW_TWICE),),
        (),
        server="postgres",
    ),
)

_QUIX_SHARE = 0.2
"""It takes minutes for what others do in seconds; a rate is a rate."""


def _peer(name: str, function: str, share: float = 1.0, keys: int = _KEYS_OF_TOTALS) -> Contender:
    return Contender(name, f"benchmarks.peers.{function}", share=share, keys=keys, python=PEERS_PYTHON)


_PEERS_OF_TOTALS = (
    _peer(_SPARK, "spark:totals"),
    _peer(f"{_SPARK}, warm", "spark:totals_once_warm"),
    _peer(f"{_QUIX}, totals in its state", "quix_state:totals", _QUIX_SHARE),
    _peer(f"{_QUIX}, current totals of a window", "quix_state:totals_in_a_window", _QUIX_SHARE),
)
_QUIX_WINDOWS = _peer(f"{_QUIX}, tumbling windows", "quix_state:windows", _QUIX_SHARE, _KEYS_OF_WINDOWS)

PEERS = (
    Work(
        "peers-totals",
        "Running totals of 100,000 keys, beside peers",
        _inserts(_KEYS_OF_TOTALS),
        (
            _totals(_MERGE, f"{_CONTENDERS}merged"),
            _totals(_LOOP, "benchmarks.peers.hand_written:upserting"),
            *_PEERS_OF_TOTALS,
        ),
        (
            Goal(_MERGE, "rate", "at least", 3.0, beside=_LOOP),
            *(Goal(_MERGE, "rate", "at least", 1.0, beside=peer.name) for peer in _PEERS_OF_TOTALS),
        ),
        server="postgres",
    ),
    Work(
        "peers-windows",
        "Tumbling windows of 10,000 keys, beside a peer",
        _inserts(_KEYS_OF_WINDOWS),
        (Contender(_WINDOWS, f"{_CONTENDERS}windows"), _QUIX_WINDOWS),
        (Goal(_WINDOWS, "rate", "at least", 1.0, beside=_QUIX_WINDOWS.name),),
        server="postgres",
    ),
)
