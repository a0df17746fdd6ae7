"""The part of ``SqlOffsetStore`` that keeps dead letters."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from sqlalchemy import exc

from kafka_stream.offset_stores.sql.access import Access
from kafka_stream.offset_stores.sql.dead_letters import replays, table
from kafka_stream.offset_stores.sql.dead_letters.in_place import LetterTransaction, failed, not_waiting
from kafka_stream.offset_stores.sql.errors import ABOUT_NO_ROW
from kafka_stream.offset_stores.sql.transactions.latest import Transactions
from kafka_stream.offset_stores.sql.users_errors import KINDS
from kafka_stream.protocols import EVERY_LETTER, DeadLetter, LetterError, LetterFilter, LetterId, LetterStatus, Replay
from kafka_stream.protocols.causes import causes


class SqlLetterStore:
    """In a table beside the offsets; see ``DeadLetterStore`` and ``InPlaceStore``."""

    _access: Access
    _transactions: Transactions

    def blames_records(self, error: BaseException) -> bool:
        """Not where a database says what it would of any row, whichever database it is; see ``DeadLetterStore``."""
        return not any(
            isinstance(cause, exc.TimeoutError | exc.NoSuchTableError)  # a pool's; a reflection's
            or any(kind.verdict(cause) in ABOUT_NO_ROW for kind in KINDS)
            for cause in causes(error)
        )

    def letters(
        self, stream: str, wanted: LetterFilter = EVERY_LETTER, *, payloads: bool = True
    ) -> Iterator[DeadLetter]:
        """A page at a time; see ``DeadLetterStore``."""
        return table.find(self._access, stream, wanted, payloads=payloads)

    def mark_letters(
        self, stream: str, ids: Collection[LetterId], was: LetterStatus, now: LetterStatus, note: str | None = None
    ) -> Sequence[LetterId]:
        """In one transaction; see ``DeadLetterStore``."""
        return table.mark(self._access, stream, ids, was, now, note)

    def begin_replay(self, stream: str, replay: Replay) -> None:
        """See ``DeadLetterStore``."""
        replays.begin(self._access, stream, replay)

    def replay_under_way(self, stream: str) -> Replay | None:
        """See ``DeadLetterStore``."""
        return replays.under_way(self._access, stream)

    def end_replay(
        self, stream: str, replay: Replay, sent: int, sent_are: LetterStatus = LetterStatus.REPLAYED
    ) -> None:
        """See ``DeadLetterStore``."""
        replays.end(self._access, stream, replay, sent, sent_are)

    def begin_letter(self, letter: DeadLetter) -> AbstractContextManager[LetterTransaction]:
        """Sinks and handlers write through it as through a batch's; see ``InPlaceStore``."""
        return self._transactions.opened(
            lambda connection: LetterTransaction(self._access, connection, letter),
            "a dead letter's",
            lambda: not_waiting(letter),
        )

    def letter_failed(self, letter: DeadLetter, error: LetterError, at: datetime) -> None:
        """See ``InPlaceStore``."""
        failed(self._access, letter, error, at)


__all__ = ["SqlLetterStore"]
