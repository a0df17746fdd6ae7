"""From what a user's ``to_rows`` gives to the content of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Message

from kafka_stream.batch import Batch
from kafka_stream.errors import ProcessingError, RecordError
from kafka_stream.sinks.files.rows import Format, RowsRefused
from kafka_stream.sinks.functions import async_belongs, refuse_awaitable
from kafka_stream.sinks.origins import origin_of

ASYNC_BELONGS: Final = async_belongs("FileSink(directory, a_plain_function)")


@dataclass(frozen=True)
class Content:
    """Makes the content of files of a directory, in one format; pure, so that it can be done elsewhere."""

    directory: Path
    to_rows: Callable[[Any], Iterable[Any]]
    format: Format

    def prepare(self, prepared: Any) -> bytes:
        """Run ``to_rows`` and encode its rows: the content of one range's file, empty without rows. Pure.

        Raises:
            RecordError: ``to_rows`` gave of a record something that is no row, or holds what the format cannot.
            ProcessingError: the same, where the row is not of one record alone, or is refused beside others only.
        """
        rows: Any = self.to_rows(prepared)
        refuse_awaitable(rows, f"to_rows of the FileSink for {self.directory}", ASYNC_BELONGS)
        try:
            return self.format.encode(rows)
        except RowsRefused as error:
            where = f", for {prepared.ranges[0]}" if isinstance(prepared, Batch) and len(prepared.ranges) == 1 else ""
            text = f"to_rows of the FileSink for {self.directory}{where}: {error}"
            records = self._records_of(error.number, prepared)
            raise (RecordError.of(records[0], text) if len(records) == 1 else ProcessingError(text)) from error

    def _records_of(self, number: int | None, prepared: Any) -> Sequence[Message]:
        """What a row that is refused by itself was made of; none if it is not known."""
        if number is None:
            return ()
        records = origin_of(prepared, number, lambda part: _listed(self.to_rows(part)))
        if len(records) == 1:
            try:
                self.format.encode([_listed(self.to_rows(prepared))[number]])
            except RowsRefused:
                return records
        return ()


def _listed(rows: Any) -> list[Any]:
    """Rows one by one; what else is given has none that could be traced."""
    if not isinstance(rows, list | tuple | Iterator):
        raise TypeError(f"rows as a {type(rows).__name__}")
    return list(rows)


__all__ = ["ASYNC_BELONGS", "Content"]
