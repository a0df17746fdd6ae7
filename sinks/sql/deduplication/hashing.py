"""Pure: from a key to 32 bytes that no other key has, and to a text for people."""

from __future__ import annotations

import uuid
from hashlib import blake2b
from typing import Any

LONGEST_TEXT = 255
_DIGEST_SIZE = 32


class NoKey(TypeError):
    """A value that cannot be a key; it says what it is."""


def encoded(key: Any) -> bytes:
    """The key as bytes, different for different keys: ``1``, ``"1"``, ``b"1"``, ``True`` and ``(1,)`` are five.

    The first byte is the type. Only a tuple holds several values, each behind its length. Subclasses count as what they
    are made of: an ``IntEnum`` as its number, a named tuple as a tuple.

    Raises:
        NoKey: it is, or holds, something else than ``bytes``, ``str``, ``int``, ``bool``, ``UUID`` or a tuple.
    """
    if isinstance(key, str):
        return b"s" + str.encode(key, "utf-8", "surrogatepass")
    if isinstance(key, bytes):
        return b"b" + key
    if isinstance(key, bool):
        return b"t" if key else b"f"
    if isinstance(key, int):
        return b"i" + int.to_bytes(key, (int.bit_length(key) + 8) // 8, "big", signed=True)
    if isinstance(key, uuid.UUID):
        return b"u" + key.bytes
    if isinstance(key, tuple):
        parts = [encoded(part) for part in key]
        return b"(" + b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    raise NoKey("None" if key is None else f"a {type(key).__name__}")


def key_hash(key: Any) -> bytes:
    """What the key is known by. Raises as ``encoded``."""
    return blake2b(encoded(key), digest_size=_DIGEST_SIZE).digest()


def key_text(key: Any) -> str:
    """The key as people read it, in one line, and cut where it is long."""
    if isinstance(key, bytes):
        text = key.decode("utf-8", "backslashreplace")
    else:
        text = key if isinstance(key, str) else str(key)
    if not text.isprintable():
        text = repr(text)[1:-1]
    return text[:LONGEST_TEXT]


__all__ = ["LONGEST_TEXT", "NoKey", "encoded", "key_hash", "key_text"]
