"""What an error of a database says, in one sentence that may be logged: no statement's parameters, no row's values."""

from __future__ import annotations

import re

_LONGEST_STATEMENT = 200
_LITERAL = re.compile(r"'(?:[^']|'')*'")


def sentence(kind: str, code: str | None, said: str) -> str:
    """An error's class, its code, and what is left of its message, on one line."""
    head = kind if code is None else f"{kind} ({code})"
    line = " ".join(said.split()).rstrip(".")
    return f"{head}: {line}" if line else head


def without_quoted(message: str, quote: str) -> str:
    """A message with all from its first to its last quotation mark left out: a value may hold such marks itself."""
    first, last = message.find(quote), message.rfind(quote)
    return message if first == last else f"{message[: first + 1]}…{message[last:]}"


def shortened(statement: str) -> str:
    """A statement on one line, without the texts in it: of many rows' places those that come first."""
    line = " ".join(_LITERAL.sub("'…'", statement).split())
    return line if len(line) <= _LONGEST_STATEMENT else f"{line[:_LONGEST_STATEMENT]}…"


__all__ = ["sentence", "shortened", "without_quoted"]
