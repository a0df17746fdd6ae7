"""Rows as JSON Lines: an object a line, compact, in UTF-8."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from kafka_stream.sinks.files.rows import RowsRefused, check_names, numbered_rows

_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
# JSON lets these stand in a string as they are, but to some readers (Python's splitlines) they end a line.
_LINE_ENDS = [(end.encode(), f"\\u{ord(end):04x}".encode()) for end in ("\x85", "\u2028", "\u2029")]
_REFUSALS = (TypeError, ValueError, RecursionError)
_LEAVES = frozenset({str, int, float, bool, type(None)})


class JsonLines:
    """What JSON has no value for (bytes, dates, ``Decimal``, NaN) is refused: ``to_rows`` says what it is to be.

    So is a key that is no text, at any depth, which JSON would turn into one. Tuples read as lists.
    """

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
                if not _LEAVES.issuperset(map(type, row.values())):
                    _check_keys(row)
            except _REFUSALS as error:
                raise _refusal(number, row, error) from error
        data = b"\n".join([*lines, b""])
        for end, escaped in _LINE_ENDS:
            data = data.replace(end, escaped)
        return data


def _check_keys(value: Any) -> None:
    """Raise ``TypeError`` if a mapping somewhere in it has a key that is no text."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} is a {type(key).__name__}, not text")
            if type(inner) not in _LEAVES:
                _check_keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            if type(inner) not in _LEAVES:
                _check_keys(inner)


def _refusal(number: int, row: Mapping[str, Any], error: Exception) -> RowsRefused:
    for name, value in row.items():
        if (found := _why_not(value)) is not None:
            return RowsRefused(f"row {number} has in {_innermost(value, name, found, [])}", number)
    return RowsRefused(f"row {number} has a key that cannot be written as JSON: {_said(error, row)}", number)


def _innermost(value: Any, where: str, error: Exception, above: list[Any]) -> str:
    """The smallest part of a value that is refused, and why."""
    if not isinstance(error, RecursionError):
        for name, inner in _parts(value):
            is_around = any(inner is it for it in (*above, value))
            if not is_around and (found := _why_not(inner)) is not None:
                return _innermost(inner, f"{where}{name}", found, [*above, value])
    return f"{where!r} what JSON cannot hold: {_said(error, value)}"


def _parts(value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        return ((f".{key}", inner) for key, inner in value.items())
    return ((f"[{n}]", inner) for n, inner in enumerate(value)) if isinstance(value, list | tuple) else ()


def _why_not(value: Any) -> Exception | None:
    try:
        _to_json(value).encode()
        _check_keys(value)
    except _REFUSALS as error:
        return error
    return None


def _said(error: Exception, value: Any) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "text with half of a surrogate pair"
    return f"{type(value).__name__}: {error}"
