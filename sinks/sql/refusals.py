"""From a row that the database refused to the record that it was made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from confluent_kafka import Message
from sqlalchemy import exc

from kafka_stream.batch import Batch
from kafka_stream.errors import RecordError
from kafka_stream.sinks.sql.changes import Changes
from kafka_stream.sinks.sql.statement_writer import RowRefused

_QUOTED_VALUE = re.compile(r"\b(entry|value:?) '.*'(?= for | in |$)", re.DOTALL)


def refusal(table: str, changes: Changes, refused: RowRefused, rows_of: Callable[[Any], Iterable[Any]]) -> Exception:
    """What to raise: the error that names the record, or the database's own, without the row's values."""
    error = refused.__cause__
    assert isinstance(error, Exception)
    if isinstance(error, exc.StatementError):
        error.hide_parameters = True
    message = _record_of(changes.source, refused.number, rows_of)
    if message is None:
        error.add_note(
            f"The database refused row {refused.number} of those that to_rows of the SqlSink for table {table} gave."
        )
        return error
    return RecordError.of(message, f"the database refused its row for table {table}: {reason(error)}")


def reason(error: Exception) -> str:
    """One sentence in the database's words, without values."""
    driver: Any = error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error
    primary = getattr(getattr(driver, "diag", None), "message_primary", None)
    if primary is None:
        arguments = driver.args
        primary = str(arguments[1] if len(arguments) > 1 and isinstance(arguments[0], int) else driver)
    first = _QUOTED_VALUE.sub(r"\1 …", primary).splitlines()
    return f"{type(driver).__name__}: {first[0] if first else ''}"


def _record_of(source: Any, number: int, rows_of: Callable[[Any], Iterable[Any]]) -> Message | None:
    """The record whose rows, made of it alone, hold the refused one; ``None`` if it was made of more than one record.

    Rows that are equal come from as many records, in their order.
    """
    parts = list(_parts(source))
    if len(parts) == 1:
        return parts[0][0]
    try:
        rows = list(rows_of(source))
        wanted = rows[number]
        made: list[Message] = [message for message, part in parts for row in rows_of(part) if row == wanted]
        if len(made) == sum(row == wanted for row in rows):
            before: int = sum(row == wanted for row in rows[:number])
            return made[before]
    except Exception:  # noqa: BLE001 - of the user's function, which may need more than one record
        return None
    return None


def _parts(source: Any) -> Iterator[tuple[Message, Any]]:
    """The records that something was made of, and for each what would be made of it alone."""
    if isinstance(source, Batch):
        for message in source.messages:
            for r in source.ranges:
                if r.topic == message.topic() and r.partition == message.partition():
                    yield message, Batch((r,), {r.topic_partition: [message]})
    elif isinstance(source, Sequence) and not isinstance(source, str | bytes):
        for item in source:
            for message in item if isinstance(item, tuple) else (item,):
                if isinstance(message, Message):
                    yield message, [item]
