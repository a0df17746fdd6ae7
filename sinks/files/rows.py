"""What a format does with rows, and how it refuses them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol


class RowsRefused(ValueError):
    """What ``to_rows`` gave cannot be written; the text names the row, counted from 0, and so does ``number``."""

    def __init__(self, text: str, number: int | None = None) -> None:
        super().__init__(text)
        self.number = number


class Format(Protocol):
    """Turns rows into the content of a file: pure, and the same whenever it runs."""

    @property
    def suffix(self) -> str:
        """What the files' names end in."""

    def encode(self, rows: Any) -> bytes:
        """The file's content; empty if there is no row.

        Raises:
            RowsRefused: something is no row, or holds what the format cannot.
        """


def numbered_rows(rows: Any) -> Iterable[tuple[int, Mapping[Any, Any]]]:
    """The rows with their numbers, if they are mappings.

    Raises:
        RowsRefused: they are not.
    """
    if not isinstance(rows, Iterable) or isinstance(rows, str | bytes | Mapping):
        raise RowsRefused(f"gave a {type(rows).__name__}; it gives an iterable of mappings, which may be empty")
    for number, row in enumerate(rows):
        if not isinstance(row, dict | Mapping):  # a dict is told without the slower look for other mappings
            raise RowsRefused(
                f"row {number} is a {type(row).__name__}, not a mapping from column names to values", number
            )
        yield number, row


def check_names(number: int, names: Iterable[Any]) -> None:
    """Raise ``RowsRefused`` if a column's name is not text."""
    for name in names:
        if not isinstance(name, str):
            raise RowsRefused(f"row {number} has the key {name!r}, which is a {type(name).__name__}, not text", number)
