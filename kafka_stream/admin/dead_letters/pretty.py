"""Pure: JSON with line ends, token by token: no number is rounded and no name that comes twice is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_INDENT = "  "
_COLON = {":": ": "}
_OPENING, _CLOSING = frozenset("{["), frozenset("}]")


def pretty_json(text: str) -> str | None:
    """The same JSON, indented; ``None`` if the text is no JSON object or array."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    return "".join(_laid_out(_TOKEN.findall(text)))


def _laid_out(tokens: list[str]) -> Iterator[str]:
    depth = 0
    for before, token in zip(["", *tokens], tokens, strict=False):
        if token in _CLOSING:
            depth -= 1
            if before not in _OPENING:
                yield "\n" + _INDENT * depth
        elif before in _OPENING or before == ",":
            yield "\n" + _INDENT * depth
        yield _COLON.get(token, token)
        depth += token in _OPENING


__all__ = ["pretty_json"]
