"""Pure: a key as people write it, into its parts; and what may be meant by it where keys are known by their hash."""

from __future__ import annotations

import csv
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import product
from typing import Any

from kafka_stream.errors import ConfigurationError
from kafka_stream.protocols import StateDescription
from kafka_stream.sinks.sql.deduplication.hashing import key_hash

_OF_A_PARTITION = 2
"""The columns of topic and partition, which a key need not name."""
_MOST_PARTS = 4


def parts_of(described: StateDescription, text: str) -> Sequence[str]:
    """A key's parts, in the order of its columns: separated by commas, as in CSV, where there are several columns.

    Raises:
        ConfigurationError: the quotes do not fit.
    """
    columns = len(described.key)
    own = columns - _OF_A_PARTITION if described.details.get("scope") == "partition" else columns
    if columns <= 1:
        return [text]
    parts = _separated(text)
    return [text] if own == 1 and len(parts) != columns else parts


def meant_by(text: str) -> Sequence[Any]:
    """The keys that a program may have, for a text: itself, its bytes, a number, a UUID; or several of these."""
    parts = _separated(text)
    if not 1 < len(parts) <= _MOST_PARTS:
        return list(_meant(text))
    return [*_meant(text), *product(*(list(_meant(part)) for part in parts))]


def hashes_of(text: str) -> Sequence[bytes]:
    """What ``Deduplicate`` knows these keys by."""
    return [key_hash(key) for key in meant_by(text)]


def _meant(text: str) -> Iterator[Any]:
    yield text
    yield bytes.fromhex(text.removeprefix("0x")) if _is_hex(text) else text.encode()
    for kind in (int, uuid.UUID):
        with suppress(ValueError):
            yield kind(text)


def _is_hex(text: str) -> bool:
    with suppress(ValueError):
        return text.startswith("0x") and bytes.fromhex(text.removeprefix("0x")) is not None
    return False


def _separated(text: str) -> list[str]:
    try:
        return next(csv.reader([text], strict=True), [""])
    except csv.Error as error:
        raise ConfigurationError(
            f"the key {text!r} cannot be read as values with commas between them: {error}"
        ) from None


__all__ = ["hashes_of", "meant_by", "parts_of"]
