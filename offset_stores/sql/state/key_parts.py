"""Pure: a part of a key as people write it, into what its column holds."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import Column, DateTime
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from kafka_stream.errors import ConfigurationError

_TRUTHS: Mapping[str, bool] = {"true": True, "1": True, "false": False, "0": False}
_HEX = "0x"
_LENGTH_OF_UUID = 32
_LEAST, _MOST = -(2**63), 2**64 - 1  # of the largest columns, with a sign or without


def value_of(column: Column[Any], text: str) -> Any:
    """The value.

    Raises:
        ConfigurationError: it is nothing that the column holds.
    """
    kind = _python_type(column.type)
    try:
        if kind is str:
            return _text(column, text)
        if kind is int:
            return _number(column.type, text)
        if kind is datetime:
            return _moment(column.type, text)
        return _READ[kind](text) if kind in _READ else text
    except (ValueError, KeyError, InvalidOperation):
        holds = "" if kind is None else f", which is of {kind.__name__}"
        raise ConfigurationError(f"{text!r} is nothing for column {column.name!r} of the key{holds}") from None


def _python_type(kind: TypeEngine[Any]) -> type | None:
    with suppress(NotImplementedError):
        return kind.python_type
    return None


def _text(column: Column[Any], text: str) -> str:
    """A UUID is in a column of 32 characters where the database has no type for it."""
    if getattr(column.type, "length", None) == _LENGTH_OF_UUID and len(text) > _LENGTH_OF_UUID:
        with suppress(ValueError):
            return uuid.UUID(text).hex
    return text


def _number(kind: TypeEngine[Any], text: str) -> int:
    """MariaDB has no truth values, only numbers of one byte."""
    if isinstance(kind, mysql.TINYINT) and text.lower() in _TRUTHS:
        return int(_TRUTHS[text.lower()])
    number = int(text)
    if not _LEAST <= number <= _MOST:
        raise ValueError(text)
    return number


def _moment(kind: TypeEngine[Any], text: str) -> datetime:
    """In UTC if it has no zone; without one where the column keeps none."""
    found = datetime.fromisoformat(text)
    aware = found.replace(tzinfo=UTC) if found.tzinfo is None else found
    return aware if isinstance(kind, DateTime) and kind.timezone else aware.astimezone(UTC).replace(tzinfo=None)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix(_HEX)) if text.startswith(_HEX) else text.encode()


_READ: Mapping[type | None, Callable[[str], Any]] = {
    bool: lambda text: _TRUTHS[text.lower()],
    bytes: _bytes,
    date: date.fromisoformat,
    Decimal: Decimal,
    float: float,
    time: time.fromisoformat,
    uuid.UUID: uuid.UUID,
}

__all__ = ["value_of"]
