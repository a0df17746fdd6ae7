"""What a worker has made of a part of a batch, as it comes back: no records, and rows only where they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kafka_stream.errors import ProcessingError
from kafka_stream.sinks.sql.changes import Changes, Group
from kafka_stream.sinks.sql.rows import Layout, Values

_PIECE_BYTES = 128 * 1024


class RowsLeftBehind(ProcessingError):
    """What a worker has made of a batch cannot be written as it is, and the rows have stayed there.

    Nothing is known of which record it is about: whoever makes the batch's changes anew, in the process that writes
    them, gets them written, or the error that names the record.
    """


@dataclass(frozen=True, slots=True)
class Copyable:
    """Rows of these columns in PostgreSQL's format for ``COPY``, encoded for columns of these types."""

    columns: tuple[str, ...]
    types: Sequence[Any]
    are_distinct: bool | None
    data: bytes = field(repr=False)

    def pieces(self, go_on: Callable[[], None]) -> Iterator[bytes]:
        """As large as the driver sends them; ``go_on`` is called when the server has some of them."""
        for start in range(0, len(self.data), _PIECE_BYTES):
            yield self.data[start : start + _PIECE_BYTES]
            if start == 0:
                go_on()


@dataclass(frozen=True, slots=True)
class Shipped:
    """A part of a batch. ``contended`` are the keys to be locked first, see ``Changes``.

    As long as the table is not known to workers, there is only what was ``given``, in its order.
    """

    count: int
    groups: Sequence[Copyable | Group] = ()
    contended: Sequence[Values] = ()
    given: Sequence[tuple[tuple[str, ...], list[Any]]] = ()

    def __len__(self) -> int:
        """The number of changes."""
        return self.count

    @property
    def is_copied(self) -> bool:
        """Whether a part of it is."""
        return any(isinstance(group, Copyable) for group in self.groups)

    @classmethod
    def as_given(cls, changes: Changes) -> Shipped:
        """Changes as they were given."""
        given = [(layout.columns if layout else (), values) for layout, values in changes.given]
        return cls(len(changes), given=given)

    def changes(self, layout: Callable[[tuple[str, ...]], Layout]) -> Changes:
        """What was given, as it is where no worker is."""
        return Changes([(layout(columns) if columns else None, rows) for columns, rows in self.given])


__all__ = ["Copyable", "RowsLeftBehind", "Shipped"]
