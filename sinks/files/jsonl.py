"""Rows as JSON Lines: an object a line, compact, in UTF-8."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kafka_stream.sinks.files.rows import RowsRefused, check_names, numbered_rows

_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
# JSON lets these stand in a string as they are, but to some readers (Python's splitlines) they end a line.
_LINE_ENDS = [(end.encode(), f"\\u{ord(end):04x}".encode()) for end in ("\x85", "\u2028", "\u2029")]
_REFUSALS = (TypeError, ValueError, RecursionError)


class JsonLines:
    """What JSON has no value for (bytes, dates, ``Decimal``, NaN) is refused: ``to_rows`` says what it is to be."""

    @property
    def suffix(self) -> str:
        """As jsonlines.org recommends."""
        return ".jsonl"

    def encode(self, rows: Any) -> bytes:
        """See ``Format``."""
        shapes: set[tuple[Any, ...]] = set()
        lines: list[bytes] = []
        for number, row in numbered_rows(rows):
            if (names := tuple(row)) not in shapes:
                check_names(number, names)
                shapes.add(names)
            try:
                lines.append(_to_json(row if isinstance(row, dict) else dict(row)).encode())
            except _REFUSALS as error:
                raise _refusal(number, row, error) from error
        data = b"\n".join([*lines, b""])
        for end, escaped in _LINE_ENDS:
            data = data.replace(end, escaped)
        return data


def _refusal(number: int, row: Mapping[str, Any], error: Exception) -> RowsRefused:
    for name, value in row.items():
        if (reason := _why_not(value)) is not None:
            return RowsRefused(f"row {number} has in {name!r} what JSON cannot hold: {reason}")
    return RowsRefused(f"row {number} cannot be written as JSON: {error}")


def _why_not(value: Any) -> str | None:
    try:
        _to_json(value).encode()
    except UnicodeEncodeError:
        return "text with half of a surrogate pair"
    except _REFUSALS as error:
        return f"{type(value).__name__}: {error}"
    return None
