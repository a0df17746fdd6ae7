"""What the process that writes knows of a table once it was looked at, as it travels to workers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Dialect

from kafka_stream.sinks.sql.changes import Arrangement, Changes, Group
from kafka_stream.sinks.sql.facts import TableFacts
from kafka_stream.sinks.sql.merging.aggregates import Aggregate, Computed, OfColumn
from kafka_stream.sinks.sql.merging.combining import Combining
from kafka_stream.sinks.sql.merging.grouping import Grouping
from kafka_stream.sinks.sql.mysql_catalog import MySQLFacts, refuse_zeros
from kafka_stream.sinks.sql.on_workers.declared import SentDialect, packed, with_types
from kafka_stream.sinks.sql.on_workers.shipped import Copyable, Shipped
from kafka_stream.sinks.sql.postgres.binary_rows import Encode
from kafka_stream.sinks.sql.postgres.copying import encode_of, encoded_pieces, is_for_copy
from kafka_stream.sinks.sql.rows import Resolution
from kafka_stream.sinks.sql.rules import Rules
from kafka_stream.sinks.sql.statements import Converter
from kafka_stream.sinks.sql.target import Target

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Knowledge:
    """What it takes to bring the changes of a batch into the form in which they are written.

    ``aggregates`` are those of a ``Merge``, and ``least_round`` is for their ``Grouping``. ``copied`` are the types of
    columns whose rows are written by ``COPY``, from ``least_copied`` rows on.
    """

    target: Target
    on_conflict: Resolution
    facts: TableFacts
    dialect: SentDialect
    aggregates: Mapping[str, Aggregate] | None = None
    least_round: int | None = None
    copied: Mapping[tuple[str, ...], Sequence[Any]] = field(default_factory=dict)
    least_copied: int = 0

    @classmethod
    def of(
        cls,
        target: Target,
        rules: Rules,
        facts: TableFacts,
        dialect: Dialect,
        least_round: int | None,
    ) -> Knowledge | None:
        """That of a table; ``None``, and a word in the log, where it cannot travel: rows do without it."""
        sent = SentDialect.of(dialect)
        if sent is None:
            return None
        merged = None if rules.merging is None else {n: _sent(how) for n, how in rules.merging.aggregates.items()}
        found = cls(with_types(target), rules.on_conflict, facts, sent, merged, least_round)
        try:
            packed(found)
        except Exception as error:  # noqa: BLE001 - of a user's own type, whatever it raises
            logger.warning(
                "the types of table %s cannot be sent to workers, so that its rows are encoded where they are "
                "written: %s: %s",
                target.name,
                type(error).__name__,
                error,
            )
            return None
        return found


class Arranger:
    """Brings changes into the form in which they are written, where nothing but ``knowledge`` is known of the table.

    Raises:
        ImportError: the database's driver is not installed.
    """

    def __init__(self, knowledge: Knowledge) -> None:
        dialect = knowledge.dialect.dialect()
        self._knowledge = knowledge
        self._arrangement = _arrangement(knowledge, dialect)
        self._encoders = {
            columns: _encoder(knowledge.target, columns, types, dialect) for columns, types in knowledge.copied.items()
        }

    def shipped(self, changes: Changes) -> Shipped:
        """The changes of a part of a batch.

        Raises:
            ProcessingError: a row would get another number than it was given.
        """
        if isinstance(self._knowledge.facts, MySQLFacts):
            refuse_zeros(self._knowledge.target, self._knowledge.facts.numbered, changes.given)
        arranged = self._arrangement.of(changes)
        groups = arranged.groups or ()
        if arranged.parts is not None:  # of nothing but rows of one kind, in the order given: one statement takes them
            ((layout, values),) = changes.given
            groups = [Group(layout.columns if layout else (), values)]
        return Shipped(len(changes), [self._sent(group) for group in groups], arranged.contended)

    def _sent(self, group: Group) -> Copyable | Group:
        encode, known = self._encoders.get(group.columns), self._knowledge
        if encode is not None and is_for_copy(group, known.on_conflict, known.least_copied, known.facts.bare):
            with suppress(Exception):  # of a converter, or of values: the writer decides
                data = b"".join(encoded_pieces(group.rows, encode))
                return Copyable(group.columns, known.copied[group.columns], group.are_distinct, data)
        return group


def _arrangement(known: Knowledge, dialect: Dialect) -> Arrangement:
    merged = None
    if known.aggregates is not None:
        merged = Grouping(Combining(known.target, known.aggregates, known.facts, dialect), known.least_round)
    return Arrangement(known.target, known.on_conflict, known.facts, dialect, merged)


def _encoder(target: Target, columns: tuple[str, ...], types: Sequence[Any], dialect: Dialect) -> Encode:
    converters = [Converter.of(target.columns[name].type, dialect) for name in columns]
    return encode_of(types, [(number, it) for number, it in enumerate(converters) if it is not None])


def _sent(how: Aggregate) -> Aggregate:
    """Without the user's function: it makes an expression, and no value."""
    return Computed(_of_the_writer) if isinstance(how, Computed | OfColumn) else how


def _of_the_writer(old: Any, new: Any) -> Any:
    raise NotImplementedError("expressions are made where rows are written")


__all__ = ["Arranger", "Knowledge"]
