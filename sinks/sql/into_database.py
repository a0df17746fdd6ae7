"""What all sinks into the database of the offsets say of themselves."""

from __future__ import annotations

from kafka_stream.types import Writes


class IntoDatabase:
    """A sink whose rows are in the transaction in which the offsets move."""

    @property
    def writes(self) -> Writes:
        """What is written becomes durable with the offsets or not at all."""
        return Writes.THROUGH_TRANSACTION

    @property
    def needs(self) -> str:
        """A database transaction."""
        return "sql"


__all__ = ["IntoDatabase"]
