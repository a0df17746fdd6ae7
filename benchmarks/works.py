"""What is compared with what, and what is to be reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.contest import PEERS_PYTHON, Contender, Goal, Work

_IN_POSTGRES = "benchmarks.contenders.postgres:"
_OF_FAILING = "benchmarks.contenders.failing:"
_OURS = "kafka-stream"

_Named = tuple[str, Mapping[str, Any]]
"""A contender's name, and its options."""


def _single(share: float) -> Work:
    return Work(
        "small-batches",
        "Batches of one record each, into PostgreSQL",
        Contender("INSERT + UPDATE", f"{_IN_POSTGRES}single_limit", share=share),
        (
            Contender("claim, INSERT, advance by psycopg", f"{_IN_POSTGRES}single_claimed", share=share),
            Contender("INSERT + UPDATE by SQLAlchemy", f"{_IN_POSTGRES}single_by_hand", share=share),
            Contender(_OURS, f"{_IN_POSTGRES}single", share=share),
        ),
        (Goal(_OURS, "seconds", "at most", 1.3),),
        figure="seconds",
        server="postgres",
    )


def _latency(rate: int, goal: Goal) -> Work:
    options = {"rate": rate}
    return Work(
        f"latency-{rate}",
        f"From produce to a visible row, {rate:,} records/s",
        Contender("hand-written loop", "benchmarks.contenders.latency:poll_loop", options=options),
        (
            Contender("polling alone, nothing stored", "benchmarks.contenders.latency:poll_alone", options=options),
            Contender(_OURS, "benchmarks.contenders.latency:stream", options=options),
        ),
        (goal,),
        figure="p99_ms",
        server="postgres",
        paced=True,
    )


_PLACES = {"early": 0.01, "in the middle": 0.5, "late": 0.99}


def _failing() -> Work:
    names = {
        f"one refused in {w}, {n}": {"where": w, "at": at} for w in ("COPY", "prepare") for n, at in _PLACES.items()
    }
    return Work(
        "failing",
        "A batch of 50,000 in which a record fails, into PostgreSQL",
        Contender("none fails", f"{_OF_FAILING}batch", share=0.05),
        tuple(Contender(name, f"{_OF_FAILING}batch", share=0.05, options=it) for name, it in names.items()),
        tuple(Goal(name, "seconds", "at most", 3.0) for name in names),
        figure="seconds",
        server="postgres",
        least_records=1_000_000,
    )


def _unharmed(size: int, share: float) -> Work:
    stops, sets_aside = ({"size": size, "on_error": it} for it in ("stop", "dead-letter"))
    title = f"Batches of {size:,} in which nothing fails, into PostgreSQL"
    return _beside(
        f"unharmed-{size}", title, share, ('on_error="stop"', stops), ('on_error="dead-letter"', sets_aside), 1.05
    )


def _metrics(size: int, share: float) -> Work:
    without, told = ({"size": size, "metrics": it} for it in (False, True))
    title = f"Batches of {size:,} with metrics, into PostgreSQL"
    return _beside(f"metrics-{size}", title, share, ("without metrics", without), ("PrometheusListener", told), 1.01)


def _beside(name: str, title: str, share: float, plain: _Named, other: _Named, goal: float) -> Work:
    """What an option costs the same batches."""
    limit, contender = (
        Contender(its, f"{_OF_FAILING}unharmed", share=share, options=options) for its, options in (plain, other)
    )
    goals = (Goal(contender.name, "seconds", "at most", goal),)
    return Work(name, title, limit, (contender,), goals, figure="seconds", server="postgres")


WORKS = (
    Work(
        "read",
        "Read only",
        Contender("consume(10_000) loop", "benchmarks.contenders.reading:bare_loop"),
        (Contender(_OURS, "benchmarks.contenders.reading:stream"),),
        (Goal(_OURS, "rate", "at least", 0.90),),
    ),
    Work(
        "postgres",
        "Kafka → PostgreSQL, SqlSink",
        Contender("binary COPY of encoded rows", f"{_IN_POSTGRES}copy_limit"),
        (
            Contender(_OURS, f"{_IN_POSTGRES}sink"),
            Contender(f"{_OURS}, defaults", f"{_IN_POSTGRES}sink_at_defaults"),
        ),
        (Goal(_OURS, "rate", "at least", 0.80),),
        server="postgres",
    ),
    Work(
        "postgres-handler",
        "Kafka → PostgreSQL, a plain handler",
        Contender("the same statement without Kafka", f"{_IN_POSTGRES}insert_limit", share=0.5),
        (Contender(_OURS, f"{_IN_POSTGRES}handler", share=0.5),),
        (Goal(_OURS, "rate", "at least", 0.85),),
        server="postgres",
    ),
    Work(
        "sqlite",
        "Kafka → SQLite, SqlSink",
        Contender("executemany of prepared rows", "benchmarks.contenders.sqlite:insert_limit"),
        (Contender(_OURS, "benchmarks.contenders.sqlite:sink"),),
        (Goal(_OURS, "rate", "at least", 0.80),),
    ),
    Work(
        "mariadb",
        "Kafka → MariaDB, SqlSink",
        Contender("executemany of prepared rows", "benchmarks.contenders.mariadb:insert_limit", share=0.25),
        (Contender(_OURS, "benchmarks.contenders.mariadb:sink", share=0.25),),
        (Goal(_OURS, "rate", "at least", 0.80),),
        server="mariadb",
    ),
    Work(
        "kafka",
        "Kafka → Kafka, exactly once",
        Contender("consume, produce, send offsets, commit", "benchmarks.contenders.kafka:bare_loop"),
        (Contender(_OURS, "benchmarks.contenders.kafka:sink"),),
        (Goal(_OURS, "rate", "at least", 0.90),),
    ),
    Work(
        "parquet",
        "Kafka → Parquet files",
        Contender("pyarrow writing the same tables", "benchmarks.contenders.files:write_limit"),
        (Contender(_OURS, "benchmarks.contenders.files:sink"),),
        (Goal(_OURS, "rate", "at least", 0.80),),
    ),
    _single(0.002),
    _failing(),
    _unharmed(10_000, 0.1),
    _unharmed(1, 0.002),
    _metrics(10_000, 0.5),
    _metrics(1, 0.002),
    _latency(1_000, Goal(_OURS, "p99_ms", "at most", 1.5)),
    _latency(10_000, Goal(_OURS, "p99_ms", "below", 25.0)),
    Work(
        "partitions",
        "Kafka → PostgreSQL, more partitions",
        Contender("4 partitions", f"{_IN_POSTGRES}sink"),
        (
            Contender("100 partitions", f"{_IN_POSTGRES}sink", partitions=100),
            Contender("1,000 partitions", f"{_IN_POSTGRES}sink", partitions=1_000),
        ),
        (Goal("100 partitions", "rate", "at least", 0.8), Goal("1,000 partitions", "rate", "at least", 0.8)),
        server="postgres",
    ),
    Work(
        "memory",
        "Peak memory, by backlog",
        Contender("1,000,000 records", f"{_IN_POSTGRES}sink_at_defaults"),
        (Contender("5,000,000 records", f"{_IN_POSTGRES}sink_at_defaults", share=5.0),),
        (Goal("5,000,000 records", "peak_mb", "below", 400.0), Goal("5,000,000 records", "peak_mb", "at most", 1.15)),
        figure="peak_mb",
        server="postgres",
    ),
)

_LOOP, _QUIX, _SPARK = "hand-written loop", "Quix Streams", "Spark, foreachBatch"

PEERS = (
    Work(
        "peers-postgres",
        "Kafka → PostgreSQL, beside peers",
        Contender("binary COPY of encoded rows", f"{_IN_POSTGRES}copy_limit"),
        (
            Contender(_OURS, f"{_IN_POSTGRES}sink"),
            Contender(f"{_LOOP}, COPY", "benchmarks.peers.hand_written:copying"),
            Contender(f"{_LOOP}, executemany", "benchmarks.peers.hand_written:inserting"),
            Contender(_SPARK, "benchmarks.peers.spark:into_postgres", python=PEERS_PYTHON),
            Contender(f"{_SPARK}, warm", "benchmarks.peers.spark:into_postgres_once_warm", python=PEERS_PYTHON),
            Contender(f"{_QUIX}, PostgreSQLSink", "benchmarks.peers.quix:into_postgres", python=PEERS_PYTHON),
        ),
        (
            Goal(_OURS, "rate", "at least", 1.0, beside=f"{_LOOP}, COPY"),
            Goal(_OURS, "rate", "at least", 2.0, beside=_SPARK),
            Goal(_OURS, "rate", "at least", 2.0, beside=f"{_SPARK}, warm"),
            Goal(_OURS, "rate", "at least", 8.0, beside=f"{_QUIX}, PostgreSQLSink"),
        ),
        server="postgres",
    ),
    Work(
        "peers-kafka",
        "Kafka → Kafka, exactly once, beside peers",
        Contender("consume, produce, send offsets, commit", "benchmarks.contenders.kafka:bare_loop"),
        (
            Contender(_OURS, "benchmarks.contenders.kafka:sink"),
            Contender(f"{_QUIX}, exactly-once", "benchmarks.peers.quix:into_kafka", python=PEERS_PYTHON),
        ),
        (Goal(_OURS, "rate", "at least", 5.0, beside=f"{_QUIX}, exactly-once"),),
    ),
)
