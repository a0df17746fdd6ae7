"""``Deduplicate``: a member of a list of sinks that lets the first record of each key through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from kafka_stream.errors import ConfigurationError
from kafka_stream.protocols import Sink, StateDescription, StatefulSink
from kafka_stream.sinks.sql.deduplication.filtered import Deduplicated
from kafka_stream.sinks.sql.deduplication.reading import Reader
from kafka_stream.sinks.sql.into_database import IntoDatabase
from kafka_stream.sinks.sql.stateful.durations import positive_us
from kafka_stream.sinks.sql.stateful.functions import checked_function
from kafka_stream.types import Writes

_LONGEST_NAME = 255


class Deduplicate(IntoDatabase):
    """Of records with the same key within a time, only the first reaches the sinks behind it in the list.

    ``sink=[Deduplicate(lambda m: m.key(), "1 hour"), SqlSink(…)]``: also across batches, members and restarts, since
    what has gone on is kept in a table of the store (``seen``), in the batch's transaction. Sinks before it in the list
    get all records.

    ``key`` and ``time`` get what users' functions get of a record: the ``Message``, or, where ``prepare`` gives pairs
    ``(message, value)`` such as ``batch.decoded(…)``, the value. A key is ``bytes``, ``str``, ``int``, ``bool``, a
    ``UUID``, or a tuple of these; values of different types are different keys. ``time`` gives a ``datetime`` with a
    zone; without it the record's timestamp counts.

    Of the records of a key, in the order in which they are processed, one goes on if it is at least ``within`` away, in
    time and to either side, from the last one that did. That is so for records that come up to ``within`` behind the
    largest time of their partition; older ones may find their key forgotten, and then go on.

    Raises:
        ConfigurationError: ``within`` is no length of time, or ``key`` or ``time`` no function of a record.
    """

    def __init__(
        self,
        key: Callable[[Any], Any],
        within: str | timedelta,
        *,
        time: Callable[[Any], Any] | None = None,
        name: str = "deduplicate",
    ) -> None:
        if not 0 < len(name) <= _LONGEST_NAME:
            raise ConfigurationError(f"name={name!r} of a Deduplicate has no 1 to {_LONGEST_NAME} characters")
        where = f"of Deduplicate {name!r}"
        checked_function(key, f"key {where}", "record")
        if time is not None:
            checked_function(time, f"time {where}", "record")
        self._reader = Reader(key, time, name)
        self._within_us = positive_us(within, f"within {where}")
        self._name = name

    def describe(self) -> str:
        """Its name."""
        return f"Deduplicate {self._name!r}"

    def before(self, sinks: Sequence[Sink]) -> Sink:
        """One sink in place of this one and those behind it; see ``FilteringSink``.

        Raises:
            ConfigurationError: there is none, or one that does not write through the database's transaction.
        """
        if not sinks:
            raise ConfigurationError(
                f"{self.describe()} has no sink behind it to let records through to; give a list, such as "
                "sink=[Deduplicate(…), SqlSink(…)]"
            )
        for sink in sinks:
            if sink.writes is not Writes.THROUGH_TRANSACTION or sink.needs not in ("sql", None):
                raise ConfigurationError(
                    f"{sink.describe()} cannot be behind {self.describe()}, since it does not write through the "
                    "database's transaction, in which it is decided what goes on; put it before it in the list, where "
                    "it gets all records, or in a stream of its own"
                )
        if self._name in {state.name for sink in sinks if isinstance(sink, StatefulSink) for state in sink.states()}:
            raise ConfigurationError(
                f"two sinks of the list keep their state as {self._name!r}; give one another name="
            )
        described = StateDescription(self._name, "seen", "seen", ("key_hash",), {"within_us": self._within_us})
        return Deduplicated(self._reader, self._within_us, described, sinks)

    def prepare(self, prepared: Any) -> Any:
        """Never called: the stream puts what ``before`` gives in its place."""
        raise self._misplaced()

    def write(self, prepared: Any, transaction: object) -> None:
        """Never called, as ``prepare``."""
        raise self._misplaced()

    def _misplaced(self) -> ConfigurationError:
        return ConfigurationError(
            f"{self.describe()} writes nothing itself; put it into a DirectStream's list of sinks"
        )


__all__ = ["Deduplicate"]
