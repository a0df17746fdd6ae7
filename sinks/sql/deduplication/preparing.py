"""What a ``Deduplicate`` does before the transaction: as if none of the keys had been seen."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kafka_stream.batch import Batch
from kafka_stream.callables import deferred, discard
from kafka_stream.errors import FailedElsewhere, KafkaStreamError, ProcessingError
from kafka_stream.protocols import WorkersPart
from kafka_stream.sinks.sql.deduplication.hashing import key_text
from kafka_stream.sinks.sql.deduplication.passing import Hash, Passing, Places
from kafka_stream.sinks.sql.deduplication.reading import Reader, Records
from kafka_stream.sinks.sql.deduplication.seen_rows import SeenRow


@dataclass(frozen=True, slots=True)
class Behind:
    """What goes on, and what each sink behind makes of it; ``failure`` is what one of them raised instead."""

    given: Any = None
    values: Sequence[Any] = ()
    failure: Exception | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch, as if nothing had been seen before it: which of its records go on, and what is made of them."""

    records: Records
    keys: Sequence[Any]
    times: Sequence[int]
    places: Places
    passing: Passing
    rows: Sequence[SeenRow]
    behind: Behind = field(default_factory=Behind)


@dataclass(frozen=True)
class Preparing:
    """Reads keys and times, and has the sinks behind, by the names that people know them by, prepare what goes on."""

    name: str
    reader: Reader
    within_us: int
    behind: Sequence[tuple[str, WorkersPart]]

    def prepare(self, prepared: Any) -> Prepared:
        """See ``Deduplicated.prepare``."""
        records = Records.of(prepared, f"Deduplicate {self.name!r}")
        keys, hashes = self.reader.keys(records)
        times = self.reader.times(records)
        places = Places(hashes, times, self.within_us)
        passing = places.passing({})
        found = Prepared(records, keys, times, places, passing, ())
        found = replace(found, rows=self.rows(found, passing.last))
        return replace(found, behind=self.prepared_behind(records, passing))

    def rows(self, prepared: Prepared, last: Mapping[Hash, int]) -> Sequence[SeenRow]:
        """What is remembered of keys whose last record that goes on is at these places, in their order."""
        messages, keys, times = prepared.records.messages, prepared.keys, prepared.times
        rows: list[SeenRow] = []
        for key in sorted(last):
            place = last[key]
            it: Any = messages[place]
            rows.append((key, key_text(keys[place]), it.topic(), it.partition(), it.offset(), times[place]))
        return rows

    def prepared_behind(self, records: Records, passing: Passing) -> Behind:
        """What goes on of these records, and what those behind make of it."""
        if len(passing.kept_back) == len(records.messages):
            return Behind()
        given = records.without(passing.kept_back)
        try:
            return Behind(given, [_prepared_by(name, sink, given) for name, sink in self.behind])
        except Exception as failure:  # noqa: BLE001 - raised by write, if these records are no duplicates
            return Behind(given, failure=failure)


@dataclass(frozen=True)
class OnWorkers:
    """What workers have of it: what it gives can be pickled, too."""

    preparing: Preparing

    def prepare(self, prepared: Any) -> Prepared:
        """The same.

        Raises:
            FailedElsewhere: a record was rejected behind it: only where they are written that is known to count.
        """
        found = self.preparing.prepare(prepared)
        given, failure = found.behind.given, found.behind.failure
        if isinstance(given, Batch) and given.rejected:
            raise FailedElsewhere(f"a record was rejected behind Deduplicate {self.preparing.name!r}")
        if failure is None or isinstance(failure, KafkaStreamError):
            return found
        sent = FailedElsewhere(f"a sink behind Deduplicate {self.preparing.name!r} failed on a worker")
        sent.__cause__ = failure
        return replace(found, behind=replace(found.behind, failure=sent))


def _prepared_by(name: str, sink: WorkersPart, given: Any) -> Any:
    """What a sink takes of it; a list is for this sink alone."""
    prepared = sink.prepare(list(given) if isinstance(given, list) else given)
    if inspect.isawaitable(prepared) or inspect.isasyncgen(prepared):
        what = deferred(prepared)
        discard(prepared)
        raise ProcessingError(f"prepare of {name} gave {what}: what has to be awaited belongs in prepare")
    return prepared


__all__ = ["Behind", "OnWorkers", "Prepared", "Preparing"]
