"""From a row that the database refused to the record that it was made of."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import exc

from kafka_stream.errors import RecordError
from kafka_stream.sinks.origins import RowsOf, origin_of, told
from kafka_stream.sinks.sql.changes import Changes
from kafka_stream.sinks.sql.narrowing import RowRefused

_QUOTED_VALUE = re.compile(r"\b(entry|value:?) '.*'(?= for | in |$)", re.DOTALL)


def refusal(table: str, changes: Changes, refused: RowRefused, rows_of: RowsOf) -> Exception:
    """What to raise: the error that names the record, or the database's own, without the row's values."""
    error = refused.__cause__
    assert isinstance(error, Exception)
    if isinstance(error, exc.StatementError):
        error.hide_parameters = True
    if changes.records is not None:
        records = [changes.records[refused.number]]
    else:
        records = list(origin_of(changes.source, refused.number, rows_of))
    if len(records) == 1:
        return RecordError.of(records[0], f"the database refused its row for table {table}: {reason(error)}")
    error.add_note(
        f"The database refused row {refused.number} of those that to_rows of the SqlSink for table {table} gave, "
        f"{told(records)}."
    )
    return error


def reason(error: Exception) -> str:
    """One sentence in the database's words, without values."""
    driver: Any = error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error
    primary = getattr(getattr(driver, "diag", None), "message_primary", None)
    if primary is None:
        arguments = driver.args
        primary = str(arguments[1] if len(arguments) > 1 and isinstance(arguments[0], int) else driver)
    first = _QUOTED_VALUE.sub(r"\1 …", primary).splitlines()
    return f"{type(driver).__name__}: {first[0] if first else ''}"
