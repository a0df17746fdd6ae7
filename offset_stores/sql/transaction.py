"""One batch's transaction: the claim has succeeded, results go through ``connection``, the offsets move last."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, TextClause, select
from sqlalchemy.engine.interfaces import DBAPICursor

from kafka_stream.errors import KafkaStreamError, OwnershipLost, ProcessingError, TransactionEscaped
from kafka_stream.offset_stores.sql.access import Access
from kafka_stream.offset_stores.sql.dead_letters import table
from kafka_stream.offset_stores.sql.errors import Verdict, reason_of
from kafka_stream.offset_stores.sql.statements import Wanted
from kafka_stream.offset_stores.sql.tables import Tables
from kafka_stream.offset_stores.sql.transactions.attempts import Attempts
from kafka_stream.offset_stores.sql.users_errors import tell
from kafka_stream.protocols import DeadLetter, Key, LetterId, LetterStatus
from kafka_stream.types import Claim, PlanKind, PositionState, TopicPartition


class SqlTransaction(Attempts):
    """What a handler writes through: ``write(prepared, transaction)``.

    Do not commit, roll back or close anything that it gives out: the stream commits results and offsets together. A
    savepoint (``transaction.connection.begin_nested()``) is fine.
    """

    def __init__(self, access: Access, connection: Connection, claim: Claim) -> None:
        super().__init__(access, connection)
        self._statements = access.statements
        self._claim = claim
        self._values: dict[str, Any] = {
            "stream": claim.stream,
            "owner": claim.owner.id,
            **access.database.relation(wanted_rows(claim)),
            **access.database.claim_parameters(claim.owner, self._token),
        }
        self._cursor: DBAPICursor

    def claim(self) -> bool:
        """Begin, and claim the ranges: the first statement. Returns whether all of them were claimed."""
        self._root = self._database.begin(self._connection, self._claim.owner.id)
        self._cursor = self._database.cursor(self._connection)
        if self._statements.lock_claim is not None:
            self._execute(self._statements.lock_claim)
        planned = self._claim.plan_kind is PlanKind.RANGE
        claimed = self._execute(self._statements.claim_planned if planned else self._statements.claim)
        self._database.after_claim(self._connection)
        return claimed == len(self._claim.ranges)

    @property
    def claimed(self) -> Claim:
        """What this transaction moves, and as whose: for sinks that keep state."""
        return self._claim

    @property
    def tables(self) -> Tables:
        """The store's own tables, in which sinks note what they know of their state."""
        return self._access.tables

    def partitions(self) -> Sequence[TopicPartition]:
        """All partitions of the stream that are open, in order, whoever owns them.

        Raises:
            TransientError: the database did not answer.
        """
        offsets = self._access.tables.offsets
        query = select(offsets.c.topic, offsets.c.partition).where(
            offsets.c.stream == self._claim.stream, offsets.c.state == str(PositionState.OPEN)
        )
        with self._access.mapping("looking for the stream's partitions"):
            return sorted(TopicPartition(topic, partition) for topic, partition in self._connection.execute(query))

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A savepoint, at whose end deferred constraints are asked for; see ``RescuingTransaction``."""
        with self._attempt():
            yield

    def waiting_keys(self) -> Mapping[Key, int]:
        """Those of the claim's partitions; see ``RescuingTransaction``."""
        with self._access.mapping("looking for dead letters that wait"):
            return table.waiting_keys(self._access, self._connection, self._claim)

    def waiting_letters(self, keys: Collection[Key]) -> Mapping[Key, Mapping[LetterId, LetterStatus]]:
        """One by one; see ``RescuingTransaction``."""
        with self._access.mapping("looking for dead letters that wait"):
            return table.waiting_letters(self._access, self._connection, self._claim.stream, keys)

    def replayed(self, letters: Collection[LetterId]) -> None:
        """Mark them in the batch's transaction; see ``RescuingTransaction``."""
        with self._access.mapping("marking dead letters as replayed"):
            table.replayed(self._access, self._connection, self._claim.stream, letters)

    def set_aside(self, set_aside: Sequence[DeadLetter]) -> None:
        """Keep these in the batch's transaction; see ``RescuingTransaction``."""
        try:
            table.set_aside(self._access, self._connection, set_aside)
        except Exception as error:
            if self._database.verdict(error) is Verdict.DATA:
                told = tell(error) or reason_of(error)
                raise ProcessingError(f"a dead letter cannot be kept in {self._where}: {told}") from error
            raise self._mapped(error, "setting records aside") from error

    def _move(self) -> None:
        """Move the offsets."""
        moved = self._execute(self._statements.advance)
        if moved != len(self._claim.ranges):
            raise self._why_not_advanced()

    def _execute(self, statement: TextClause) -> int:
        self._values["now"] = datetime.now(UTC)
        counted = self._access.for_driver(statement).execute(self._cursor, self._values)
        return self._database.rows_changed(self._connection, counted)

    def _why_not_advanced(self) -> KafkaStreamError:
        if not self._database.holds_mark(self._connection, self._token):
            return TransactionEscaped(
                "the batch's transaction ended before its offsets advanced: the handler committed it or rolled it back "
                "with a statement of its own; write through transaction.connection and leave the commit to the stream"
            )
        first = self._claim.ranges[0]
        return OwnershipLost(
            f"the offsets of stream {self._claim.stream!r} in {self._where} were changed inside the batch's own "
            f"transaction, at or after {first}; nothing was committed",
            range=first,
            other=self._claim.owner,
        )


def wanted_rows(claim: Claim) -> list[Wanted]:
    """A claim as the statements take it."""
    return [
        Wanted(
            r.topic,
            r.partition,
            r.from_offset,
            r.until_offset,
            claim.epochs[r.topic_partition],
            claim.leader_epochs.get(r.topic_partition),
            claim.topic_ids.get(r.topic),
        )
        for r in claim.ranges
    ]


__all__ = ["SqlTransaction", "wanted_rows"]
