"""An application that some records break, where their values say, and the same one mended.

``decode``: what decodes the value raises. ``prepare``: the handler does, and does not say for which record.
``refused``: the database refuses the row, by INSERT or by COPY. ``deferred``: it does when the batch commits.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import sqlalchemy as sa

from kafka_stream import Batch
from kafka_stream.sinks.kafka import KafkaSink
from kafka_stream.sinks.sql import SqlSink

KILL_IN_PREPARE = "KAFKA_STREAM_TEST_KILL_IN_PREPARE"
MENDED = "mended "
TOO_LARGE = 2_000_000

METADATA = sa.MetaData()
PARENTS = sa.Table("fragile_parents", METADATA, sa.Column("id", sa.Integer, primary_key=True))
RESULTS = sa.Table(
    "fragile_results",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("record_offset", sa.BigInteger, nullable=False),
    sa.Column("record_key", sa.String(100)),
    sa.Column("value", sa.String(100)),
    sa.Column("parent", sa.Integer),
    sa.CheckConstraint("substr(value, 1, 7) <> 'refused'", name="no_refused"),
    sa.ForeignKeyConstraint(["parent"], [PARENTS.c.id], deferrable=True, initially="DEFERRED").ddl_if(
        dialect="postgresql"
    ),
)
"""Without a key of the records', so that a repeated result is there twice; ``number`` tells the order."""


def decode(value: bytes) -> str:
    """Some values are none."""
    if value.startswith(b"decode"):
        raise ValueError("not in the agreed form")
    return value.decode()


@dataclass
class Fragile:
    """Version 1. With ``kill_at`` it ends its process in that call of ``prepare``, counted from 1."""

    kill_at: int = 0
    calls: int = 0

    @classmethod
    def from_environment(cls) -> Self:
        """As a test wants it."""
        return cls(int(os.environ.get(KILL_IN_PREPARE, "0")))

    def __call__(self, batch: Batch) -> list[dict[str, Any]]:
        self.calls += 1
        if self.calls == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._rows(batch)

    def _rows(self, batch: Batch) -> list[dict[str, Any]]:
        rows = [_row(message, value) for message, value in batch.decoded(decode)]
        if any(row["value"].startswith("prepare") for row in rows):
            raise ValueError("one of them cannot be")
        return rows


@dataclass
class Mended(Fragile):
    """Version 2: whatever a record says, there is a row for it."""

    def _rows(self, batch: Batch) -> list[dict[str, Any]]:
        rows = [_row(message, value) for message, value in batch.decoded(bytes.decode)]
        for row in rows:
            row["parent"] = None
            if not row["value"].startswith("good"):
                row["value"] = f"{MENDED}{row['value']}"
        return rows


def _row(message: Any, value: str) -> dict[str, Any]:
    return {
        "partition": message.partition(),
        "record_offset": message.offset(),
        "record_key": (message.key() or b"").decode(),
        "value": value,
        "parent": 7 if value.startswith("deferred") else None,
    }


def given(rows: list[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Rows for the table."""
    return rows


def sent(rows: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Records for the topic; what a database refuses is too large here."""
    for row in rows:
        is_refused = row["value"].startswith("refused")
        yield row["record_key"], row["value"] + "." * (TOO_LARGE if is_refused else 0)


def sink_of(target: str) -> Any:
    """The table, or a topic."""
    return KafkaSink(target, sent) if target else SqlSink(RESULTS, given)
