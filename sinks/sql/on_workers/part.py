"""``OnWorkers``: what a ``SqlSink`` has workers do."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any

from kafka_stream.sinks.sql.changes import Changes
from kafka_stream.sinks.sql.on_workers.declared import packed
from kafka_stream.sinks.sql.on_workers.knowledge import Arranger, Knowledge
from kafka_stream.sinks.sql.on_workers.shipped import Shipped
from kafka_stream.sinks.sql.rows import Resolution, RowReader, made_rows
from kafka_stream.sinks.sql.target import Target


class OnWorkers:
    """Makes rows, and brings them into the form in which they are written, as far as the table is known.

    It can be pickled if ``to_rows`` can. Of the table it has columns without types (``names_of``), and ``knowledge``. A
    worker on which the database's driver is missing gives rows as they are.
    """

    def __init__(
        self,
        target: Target,
        to_rows: Callable[[Any], Iterable[Any]],
        on_conflict: Resolution,
        beside: Mapping[str, Collection[str]] | None,
        knowledge: Knowledge | None,
    ) -> None:
        self._sent = (target, to_rows, on_conflict, beside)
        self._knowledge = knowledge
        self._target = target
        self._to_rows = to_rows
        self._reader = RowReader(target, on_conflict, beside)
        self._arranger: Arranger | None = None
        if knowledge is not None:
            with suppress(ImportError):
                self._arranger = Arranger(knowledge)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _sent, (*self._sent, None if self._knowledge is None else packed(self._knowledge))

    def prepare(self, prepared: Any) -> Shipped:
        """Run ``to_rows``; pure, may run again.

        Raises:
            ProcessingError: ``to_rows`` gave something that is no row of this table.
        """
        rows, _ = self._reader.unpaired(made_rows(self._target.name, self._to_rows, prepared))
        changes = Changes(self._reader.read(rows))
        return Shipped.as_given(changes) if self._arranger is None else self._arranger.shipped(changes)


def _sent(target: Target, to_rows: Any, on_conflict: Any, beside: Any, knowledge: bytes | None) -> OnWorkers:
    known = None if knowledge is None else pickle.loads(knowledge)  # noqa: S301 - as the rest of it is sent
    return OnWorkers(target, to_rows, on_conflict, beside, known)


__all__ = ["OnWorkers"]
