"""What a ``StateSink`` was given, checked when it is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal, TypeAlias

from kafka_stream.callables import deferring_kind, refused_arguments
from kafka_stream.errors import ConfigurationError
from kafka_stream.sinks.sql.target import Target
from kafka_stream.types import TopicPartition

Scope: TypeAlias = Literal["key", "partition"]


@dataclass(frozen=True)
class KeyColumns:
    """The columns of a table's key: those that records have, in ``of_records``, and where a partition's own are.

    ``topic`` and ``partition`` are places in the table's key; ``None`` where the state is of all partitions.
    """

    of_records: tuple[str, ...]
    topic: int | None = None
    partition: int | None = None

    @classmethod
    def of(cls, target: Target, scope: Any, partition_columns: Any) -> KeyColumns:
        """Those of a sink.

        Raises:
            ConfigurationError: the table has no key, or not the columns of a partition's own.
        """
        where = f"the StateSink for table {target.name}"
        if scope not in ("key", "partition"):
            raise ConfigurationError(f"scope={scope!r} of {where} is unknown; choose 'key' or 'partition'")
        if not target.key:
            raise ConfigurationError(f"{where} needs a key, but the table has no primary key: give it one")
        if computed := [name for name in target.key if name not in target.columns]:
            raise ConfigurationError(
                f"{where} needs a key that rows can hold, but {computed[0]!r} is computed by the database"
            )
        if scope == "key":
            return cls(target.key)
        if not isinstance(partition_columns, tuple | list) or len(partition_columns) != 2:
            raise ConfigurationError(
                f"partition_columns={partition_columns!r} of {where} are not the names of two columns, of which the "
                'first holds topics: ("topic", "partition")'
            )
        if missing := [name for name in partition_columns if name not in target.key]:
            raise ConfigurationError(
                f'{where} has scope="partition", but {missing[0]!r} is not of its key ({", ".join(target.key)}): the '
                "primary key begins with the topic and the partition (name the columns by partition_columns)"
            )
        others = tuple(name for name in target.key if name not in partition_columns)
        if not others:
            raise ConfigurationError(f"the key of {where} has no column beside topic and partition")
        return cls(others, *map(target.key.index, partition_columns))

    def whole(self) -> Callable[[str, int, Any], Any]:
        """What makes the table's key of a topic, a partition and what a record has."""
        assert self.topic is not None
        assert self.partition is not None
        places = [place for place in range(len(self.of_records) + 2) if place not in (self.topic, self.partition)]
        in_order = [self.topic, self.partition, *places]
        arranged = itemgetter(*(in_order.index(place) for place in range(len(in_order))))
        if len(places) == 1:
            return lambda topic, partition, key: arranged((topic, partition, key))
        return lambda topic, partition, key: arranged((topic, partition, *key))

    def of_user(self) -> Callable[[Any], Any]:
        """What gives of a table's key what ``update`` is told."""
        if self.topic is None:
            return lambda key: key
        places = range(len(self.of_records) + 2)
        return itemgetter(*(place for place in places if place not in (self.topic, self.partition)))

    def place_of(self, key: Any) -> TopicPartition:
        """The partition that a table's key is of."""
        return TopicPartition(key[self.topic], key[self.partition])


def check_functions(target: Target, key: Any, update: Any, *, emits: bool) -> None:
    """Raise ``ConfigurationError`` if they cannot be called as they will be."""
    more = ("emit",) if emits else ()
    for name, function, arguments in (("key", key, ("value",)), ("update", update, ("key", "records", "row", *more))):
        where = f"{name} of the StateSink for table {target.name}"
        if not callable(function):
            raise ConfigurationError(f"{where} is a {type(function).__name__}, not a function")
        if (kind := deferring_kind(function)) is not None:
            raise ConfigurationError(
                f"{where} is {kind}, of which a call runs nothing: it is called in the batch's transaction, with plain "
                "values; what has to be awaited belongs in the stream's prepare"
            )
        if (refusal := refused_arguments(function, *arguments)) is not None:
            hint = "" if emits else " (it gets emit as well where then=[…] names the sinks for it)"
            raise ConfigurationError(f"{where} is called with ({', '.join(arguments)}), and {refusal}{hint}")


def checked_rows(target: Target, cached_rows: Any) -> int:
    """How many rows are kept; raises ``ConfigurationError`` if it is no number of them."""
    if isinstance(cached_rows, int) and not isinstance(cached_rows, bool) and cached_rows >= 0:
        return cached_rows
    raise ConfigurationError(
        f"cached_rows={cached_rows!r} of the StateSink for table {target.name} is no number of rows; 0 keeps none"
    )


def checked_name(target: Target, name: Any) -> str:
    """What the state is called; raises ``ConfigurationError`` if it cannot be."""
    found = target.name if name is None else name
    if isinstance(found, str) and 0 < len(found) <= 255:
        return found
    raise ConfigurationError(
        f"name={name!r} of the StateSink for table {target.name} is no text of 1 to 255 characters"
    )
