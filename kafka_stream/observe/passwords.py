"""Passwords in URLs, which are shown to nobody."""

from __future__ import annotations

import re

_PASSWORD_IN_URL = re.compile(r"(?P<user>[a-z][a-z0-9+.-]*://[^\s:/@'\"]*):[^\s@'\"]+@", re.IGNORECASE)


def without_passwords(text: str) -> str:
    """The text with the password of every URL in it replaced, whoever wrote it there (a driver's message, say)."""
    return _PASSWORD_IN_URL.sub(r"\g<user>:***@", text)


__all__ = ["without_passwords"]
