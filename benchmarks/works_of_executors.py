"""What is compared with what where records are prepared elsewhere: on more cores, and by more workers."""

from __future__ import annotations

from benchmarks.contest import Contender, Goal, Work

_CONTENDERS = "benchmarks.contenders.elsewhere:"
_HERE, _PROCESSES = "in-process", "two processes"
_ON_TWO = {"executor": "processes:2"}
_RECORD_S = 0.0002


def _heavy(share: float) -> Work:
    return Work(
        "executors-heavy",
        "A prepare of about 1 ms a record, into PostgreSQL",
        Contender(_HERE, f"{_CONTENDERS}heavy", share=share),
        (Contender(_PROCESSES, f"{_CONTENDERS}heavy", share=share, options=_ON_TWO),),
        (Goal(_PROCESSES, "rate", "at least", 1.7),),
        server="postgres",
    )


def _sleepers(workers: int, share: float) -> Contender:
    options = {"workers": workers, "record_s": _RECORD_S}
    return Contender(_named(workers), f"{_CONTENDERS}sleeping", partitions=1, share=share, options=options)


def _named(workers: int) -> str:
    return f"{workers} worker{'s' if workers > 1 else ''}"


def _scaling(share: float) -> Work:
    return Work(
        "executors-scaling",
        "Workers that sleep for 0.2 ms a record, one partition",
        _sleepers(1, share),
        tuple(_sleepers(workers, share) for workers in (2, 4, 8)),
        tuple(Goal(_named(workers), "rate", "at least", 0.9 * workers) for workers in (2, 4, 8)),
    )


WORKS = (
    _heavy(0.02),
    Work(
        "executors-trivial",
        "No prepare, SqlSink into PostgreSQL, time a record",
        Contender(_HERE, f"{_CONTENDERS}trivial"),
        (Contender(_PROCESSES, f"{_CONTENDERS}trivial", options=_ON_TWO),),
        (Goal(_PROCESSES, "us", "at most", 1.5), Goal(_PROCESSES, "cpu_us", "at most", 0.3)),
        figure="us",
        server="postgres",
    ),
    _scaling(0.1),
)
