"""An ORM session whose life is a batch's."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

from sqlalchemy.orm import Session

from kafka_stream.errors import TransactionEscaped

KEPT = (
    "the transaction of a batch, its connection or its session was used after the batch was over, when nothing that is "
    "written is committed any more: take them from the transaction that each call of the handler is given"
)


class BatchSession(Session):
    """A session whose life is the batch's: leaving its ``with`` block, or closing it, keeps what was added."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Keep the work if the block succeeded, drop it (the savepoint) if it did not."""
        if error is None:
            self.commit()
        super().close()

    def close(self) -> None:
        """Keep the work: an ordinary session would drop it, while the batch's offsets advance."""
        if self.in_transaction() or self.new or self.dirty or self.deleted:
            self.commit()
        super().close()

    def discard(self) -> None:
        """Drop whatever is left, and take nothing more."""
        super().close()
        self.__class__ = _EndedSession


class _EndedSession(BatchSession):
    """A session after its batch: an ordinary one would take rows, and never send them anywhere."""

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name != "close":
            raise TransactionEscaped(KEPT)
        return super().__getattribute__(name)

    def __contains__(self, instance: object) -> bool:
        raise TransactionEscaped(KEPT)

    def __iter__(self) -> Iterator[object]:
        raise TransactionEscaped(KEPT)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """A block around several batches: nothing can be left in it."""

    def close(self) -> None:
        """Nothing is left."""


__all__ = ["KEPT", "BatchSession"]
