"""Pure: what an operator writes of keys and times into values, and bytes of records into text that is safe to print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from kafka_stream.admin.targets import parse_time, time_before
from kafka_stream.errors import ConfigurationError

_HEX = "0x"
_DURATION = re.compile(r"[-+]?P", re.IGNORECASE)
_SPACE = frozenset("\n\t")
_PER_LINE = 16


def parse_key(text: str) -> bytes:
    """A record's key as it is written: its text, or its bytes as ``0x…``.

    Raises:
        ConfigurationError: what follows ``0x`` is not hexadecimal.
    """
    if not text.startswith(_HEX):
        return text.encode()
    try:
        return bytes.fromhex(text.removeprefix(_HEX))
    except ValueError:
        raise ConfigurationError(
            f"the key {text!r} begins with 0x, and what follows is not hexadecimal; a text that begins so is written "
            "as its bytes, too"
        ) from None


def key_text(key: bytes | None) -> str | None:
    """A key as ``parse_key`` reads it; ``None`` for a record without one."""
    if key is None:
        return None
    text = text_of(key)
    if text is None or text.startswith(_HEX) or not text.isprintable():
        return f"{_HEX}{key.hex()}"
    return text


def plain_or_hex(data: bytes | None) -> str | None:
    """Bytes as plain text, ends of lines and tabulators among it, or as ``0x…``."""
    if data is None:
        return None
    text = text_of(data)
    return f"{_HEX}{data.hex()}" if text is None or text.startswith(_HEX) or not is_plain(text) else text


def parse_moment(text: str, now: datetime) -> datetime:
    """A time, or a duration such as ``PT1H`` as the time that long before ``now``; as ``offsets reset`` reads them.

    Raises:
        ConfigurationError: it is neither.
    """
    return time_before(text, now) if _DURATION.match(text) else parse_time(text)


def text_of(data: bytes) -> str | None:
    """The text that bytes are in UTF-8; ``None`` if they are none."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def is_plain(text: str) -> bool:
    """Whether a terminal shows it as it is: no control characters but the ends of lines and tabulators."""
    return all(character.isprintable() or character in _SPACE for character in text)


def printable(text: str) -> str:
    """The text with whatever a terminal could take for a command written as an escape."""
    if is_plain(text):
        return text
    return "".join(c if c.isprintable() or c in _SPACE else c.encode("unicode_escape").decode() for c in text)


def hex_dump(data: bytes) -> Iterator[str]:
    """Lines of 16 bytes: where, the bytes, and those that are ASCII as text."""
    for at in range(0, len(data), _PER_LINE):
        part = data[at : at + _PER_LINE]
        halves = [part[:8].hex(" "), part[8:].hex(" ")]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"{at:08x}  {halves[0]:<23}  {halves[1]:<23}  |{shown}|"


__all__ = ["hex_dump", "is_plain", "key_text", "parse_key", "parse_moment", "plain_or_hex", "printable", "text_of"]
