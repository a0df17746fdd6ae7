"""What the command line says about errors and progress, without a command being run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kafka_stream import errors
from kafka_stream.cli.exit_status import ExitStatus, exit_status
from kafka_stream.cli.progress import LineProgress
from kafka_stream.protocols import BatchProgress
from kafka_stream.running.stream_log import thousands
from kafka_stream.types import Guarantee, OffsetRange, Owner, TopicPartition

ORDERS_0 = TopicPartition("orders", 0)
RANGE = OffsetRange(ORDERS_0, 0, 10)
OWNER = Owner("0123", "host-1", "v1")


# ------------------------------------------------------------------------------------------------------ exit status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ConfigurationError("x"), ExitStatus.USAGE),
        (errors.UnknownStore("x"), ExitStatus.USAGE),
        (errors.UnknownSink("x"), ExitStatus.USAGE),
        (errors.MissingExtra("x"), ExitStatus.USAGE),
        (errors.SchemaMismatch("x"), ExitStatus.USAGE),
        (errors.TopicNotFound("x"), ExitStatus.USAGE),
        (errors.NotAuthorized("x"), ExitStatus.USAGE),
        (errors.RecordTooLarge("x", partition=ORDERS_0, offset=1), ExitStatus.USAGE),
        (errors.UnsupportedGuarantee("x"), ExitStatus.REFUSED),
        (errors.TransientError("x"), ExitStatus.FAILED),
        (errors.BrokerUnavailable("x"), ExitStatus.FAILED),
        (errors.StoreUnavailable("x"), ExitStatus.FAILED),
        (errors.PartitionsHeld("x", partitions=(ORDERS_0,)), ExitStatus.FAILED),
        (errors.StoreSuperseded("x"), ExitStatus.FAILED),
        (errors.SinkUnavailable("x"), ExitStatus.FAILED),
        (errors.OwnershipLost("x", other=OWNER), ExitStatus.REFUSED),
        (errors.StreamClosed("x"), ExitStatus.REFUSED),
        (errors.InstanceIdInUse("x"), ExitStatus.REFUSED),
        (errors.CommitOutcomeUnknown("x"), ExitStatus.FAILED),
        (errors.OutstandingPlan("x", range=RANGE), ExitStatus.REFUSED),
        (errors.DataLoss("x", partition=ORDERS_0, wanted=1, available=None), ExitStatus.REFUSED),
        (errors.OffsetOutOfRange("x", partition=ORDERS_0, wanted=1, available=(2, 3)), ExitStatus.REFUSED),
        (errors.LogTruncated("x", partition=ORDERS_0, wanted=9, available=(2, 3)), ExitStatus.REFUSED),
        (errors.TopicRecreated("x", partition=ORDERS_0, wanted=9, available=None), ExitStatus.REFUSED),
        (errors.BoundNotReached("x", partitions=(ORDERS_0,)), ExitStatus.FAILED),
        (
            errors.HangingTransaction("x", partitions=(ORDERS_0,), partition=ORDERS_0, offset=3, age_s=None),
            ExitStatus.FAILED,
        ),
        (errors.CommandRefused("x"), ExitStatus.REFUSED),
        (errors.ProcessingError("x"), ExitStatus.FAILED),
        (errors.RecordError("x", topic="t", partition=0, offset=1), ExitStatus.FAILED),
        (errors.TransactionEscaped("x"), ExitStatus.FAILED),
        (errors.StatementRefused("x"), ExitStatus.FAILED),
        (errors.SpoiledTransaction("x", attempt=0), ExitStatus.FAILED),
        (errors.TooManyDeadLetters("x"), ExitStatus.REFUSED),
        (errors.HandlerUnavailable("x"), ExitStatus.FAILED),
        (errors.WorkerLost("x"), ExitStatus.FAILED),
        (errors.FailedElsewhere("x"), ExitStatus.FAILED),
        (errors.RetriesExhausted("x", attempts=3), ExitStatus.FAILED),
        (errors.WorkerLost("x"), ExitStatus.FAILED),
        (errors.FailedElsewhere("x"), ExitStatus.FAILED),
        (errors.KafkaStreamError("x"), ExitStatus.FAILED),
        (errors.CauseElsewhere("x"), ExitStatus.FAILED),
        (ZeroDivisionError("x"), ExitStatus.FAILED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_exit_status(error: Exception, status: ExitStatus) -> None:
    assert exit_status(error) is status


def test_the_table_of_exit_statuses_has_every_error() -> None:
    (table,) = (mark for mark in test_exit_status.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    tested = {type(error) for error, _ in table.args[1]}
    found = {e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.KafkaStreamError)}
    assert found <= tested


# --------------------------------------------------------------------------------------------------------- progress


class Clock:
    """Moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def progress_of(batch: int, records: int, lag: int | None) -> BatchProgress:
    return BatchProgress(
        stream="orders",
        batch=batch,
        ranges=(OffsetRange(ORDERS_0, 0, records),),
        records=records,
        bytes=0,
        prepare_s=0.0,
        claim_s=0.1,
        write_s=0.2,
        commit_s=0.1,
        lag={ORDERS_0: lag},
        guarantee=Guarantee.EXACTLY_ONCE,
        committed_at=datetime(2026, 1, 31, tzinfo=UTC),
    )


def test_lines_come_at_most_once_a_second_and_the_totals_count_every_batch() -> None:
    lines: list[str] = []
    clock = Clock()
    progress = LineProgress(
        {"topics": ["orders"], "results": ["table t"], "store": "sqlite:///o"},
        write=lambda _, line, fields: lines.append(line),
        clock=clock,
    )
    progress.on_start("orders", OWNER, Guarantee.EXACTLY_ONCE)
    for batch in range(1, 33):
        progress.on_batch(progress_of(batch, 1000, None if batch == 1 else 5))
        clock.now += 0.125
    progress.on_stop(None)
    assert lines == [
        "orders started: orders into table t, offsets in sqlite:///o, owner 0123 on host-1, version v1, exactly-once",
        "orders batch 1: 1 000 records in 0.40 s, 1 000 in all, lag not known yet",
        "orders batch 9: 1 000 records in 0.40 s, 9 000 in all, lag 5",
        "orders batch 17: 1 000 records in 0.40 s, 17 000 in all, lag 5",
        "orders batch 25: 1 000 records in 0.40 s, 25 000 in all, lag 5",
        "orders stopped after 32 000 records in 32 batches, 4.0 s (8 000 records/s)",
    ]


def test_the_totals_say_what_was_set_aside() -> None:
    lines: list[str] = []
    progress = LineProgress({}, write=lambda _, line, fields: lines.append(line), clock=Clock())
    progress.on_batch(replace(progress_of(1, 900, 5), dead_letters=3))
    progress.on_stop(None)
    assert lines[-1].startswith("stopped after 900 records in 1 batches, 3 of them set aside as dead letters, ")


def test_a_failed_run_says_so() -> None:
    lines: list[str] = []
    LineProgress({}, write=lambda _, line, fields: lines.append(line), clock=Clock()).on_stop(ValueError("no"))
    assert lines[0].startswith("failed after 0 records in 0 batches")


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (999, "999"), (1000, "1 000"), (1234567, "1 234 567")])
def test_thousands(number: int, text: str) -> None:
    assert thousands(number) == text
