"""Processing a dead letter where it is: its result and its new status in one transaction."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, select, update

from kafka_stream.errors import CommandRefused, KafkaStreamError, OwnershipLost, TransactionEscaped
from kafka_stream.offset_stores.sql.access import Access
from kafka_stream.offset_stores.sql.dead_letters.rows import error_columns
from kafka_stream.offset_stores.sql.dead_letters.table import changing, of_letter
from kafka_stream.offset_stores.sql.transaction import SqlTransaction
from kafka_stream.protocols import DeadLetter, LetterError, LetterStatus
from kafka_stream.types import Claim, OffsetRange, Owner


class LetterTransaction(SqlTransaction):
    """What a handler writes the result of one letter through; no offset moves."""

    def __init__(self, access: Access, connection: Connection, letter: DeadLetter) -> None:
        tp, offset = letter.id.topic_partition, letter.id.offset
        only = OffsetRange(tp, offset, offset + 1)
        super().__init__(access, connection, Claim(letter.stream, Owner("replay", ""), (only,), {tp: 0}, {}, {}))
        self._letter = letter
        self._table = access.tables.dead_letters
        self._condition = of_letter(access, letter.stream, letter.id)
        self._in_attempt = True  # nothing that is known of the positions holds here

    def claim(self) -> bool:
        """Begin, and hold the letter; whoever holds it is waited for. Returns whether it waits."""
        self._root = self._database.begin(self._connection, f"letter {self._token}")
        query = select(self._table.c.status).where(self._condition).with_for_update()
        status = self._connection.execute(query).scalar_one_or_none()
        self._database.mark(self._connection, self._token)
        return bool(status == LetterStatus.WAITING)

    def _move(self) -> None:
        """It is replayed."""
        if not self._database.holds_mark(self._connection, self._token):
            raise TransactionEscaped(
                "the letter's transaction ended before its status changed: the handler committed it or rolled it back "
                "with a statement of its own; write through transaction.connection and leave the commit to the stream"
            )
        changed = self._connection.execute(
            update(self._table)
            .where(self._condition, self._table.c.status == str(LetterStatus.WAITING))
            .values(status=str(LetterStatus.REPLAYED), changed_at=datetime.now(UTC))
        )
        if changed.rowcount != 1:
            raise self._changed()

    def _changed(self) -> KafkaStreamError:
        return OwnershipLost(
            f"the dead letter {self._letter.id} of stream {self._letter.stream!r} was changed inside its own "
            "transaction; nothing was committed"
        )


def not_waiting(letter: DeadLetter) -> CommandRefused:
    """Why it cannot be claimed."""
    return CommandRefused(f"the dead letter {letter.id} of stream {letter.stream!r} does not wait any more; look again")


def failed(access: Access, letter: DeadLetter, error: LetterError, at: datetime) -> None:
    """As ``InPlaceStore.letter_failed``."""
    table = access.tables.dead_letters
    statement = (
        update(table)
        .where(of_letter(access, letter.stream, letter.id), table.c.status == str(LetterStatus.WAITING))
        .values(**error_columns(error), last_failed_at=at, changed_at=at, attempts=table.c.attempts + 1)
    )
    with changing(access, "noting that a dead letter failed again") as connection:
        connection.execute(statement)


__all__ = ["LetterTransaction", "failed", "not_waiting"]
