"""Pure: the records of a batch by their keys, in offset order within each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from confluent_kafka import Message

from kafka_stream.errors import RecordError
from kafka_stream.sinks.sql.rows import Key
from kafka_stream.sinks.sql.state.declared import KeyColumns
from kafka_stream.sinks.sql.state.key_forms import KeyForms, in_order
from kafka_stream.sinks.sql.stateful.records import records_of

Pairs: TypeAlias = Sequence[tuple[Message, Any]]
KeyOf: TypeAlias = Callable[[Any], Any]
KeyOfRecord: TypeAlias = Callable[[Message, Any], Any]
Groups: TypeAlias = Mapping[Any, list[Any]]


class OfKey(NamedTuple):
    """What a batch has of one key: the key as its first record has it, its form, and the values of its records.

    A tuple, since a batch makes thousands of them: a dataclass takes three times as long.
    """

    form: Key
    key: Any
    values: list[Any]


@dataclass(frozen=True, slots=True)
class Grouped:
    """A batch by keys, as Python tells them apart."""

    pairs: Pairs
    groups: Groups

    def __len__(self) -> int:
        """The number of records."""
        return len(self.pairs)

    def by_form(self, forms: KeyForms, key_of: KeyOfRecord) -> Sequence[OfKey]:
        """In the order of their forms; keys that the database takes for one are one.

        Raises:
            RecordError: a key is of a kind that the database compares otherwise than Python.
        """
        keys = list(self.groups)
        if (found := forms.of(keys)) is None:
            raise self._incomparable(forms, key_of)
        groups: Sequence[OfKey] = list(map(OfKey, found, keys, self.groups.values()))
        if len(set(found)) < len(keys):
            groups = self._merged(dict(zip(keys, found, strict=True)), key_of)
            found = [group.form for group in groups]
        return [groups[number] for number in in_order(found)]

    def messages_of(self, key: Any, forms: KeyForms, key_of: KeyOfRecord) -> Sequence[Message]:
        """The records of a key."""
        wanted = forms.of([key])
        return [message for message, value in self.pairs if forms.of([key_of(message, value)]) == wanted]

    def _merged(self, forms: Mapping[Any, Key], key_of: KeyOfRecord) -> Sequence[OfKey]:
        groups: dict[Key, OfKey] = {}
        for message, value in self.pairs:
            key = key_of(message, value)
            groups.setdefault(forms[key], OfKey(forms[key], key, [])).values.append(value)
        return list(groups.values())

    def _incomparable(self, forms: KeyForms, key_of: KeyOfRecord) -> RecordError:
        for message, value in self.pairs:
            if (why := forms.why_not(key_of(message, value))) is not None:
                return RecordError.of(message, why)
        raise AssertionError("keys are compared together as they are one by one")


@dataclass(frozen=True)
class Grouper:
    """Brings the records of a batch together by what ``key`` gives of their values.

    ``where`` begins what it refuses; ``by_partition`` is for keys that are of one partition.
    """

    where: str
    key: KeyOf
    columns: KeyColumns
    by_partition: bool

    def prepare(self, prepared: Any) -> Grouped:
        """The records by their keys; pure.

        Raises:
            RecordError: ``key`` failed for a record, or gave no key.
            ProcessingError: what was prepared is not of records.
        """
        pairs = records_of(prepared, self.where)
        return Grouped(pairs, self._of_partitions(pairs) if self.by_partition else self._grouped(pairs))

    def key_of(self, message: Message, value: Any) -> Any:
        """The key of a record."""
        if not self.by_partition:
            return self.key(value)
        topic, partition = message.topic(), message.partition()
        assert topic is not None
        assert partition is not None
        return self.columns.whole()(topic, partition, self.key(value))

    def _of_partitions(self, pairs: Pairs) -> Groups:
        """Within each partition: the key begins with the topic and the partition."""
        by_place: defaultdict[tuple[Any, Any], list[tuple[Message, Any]]] = defaultdict(list)
        for pair in pairs:
            by_place[pair[0].topic(), pair[0].partition()].append(pair)
        whole, groups = self.columns.whole(), dict[Any, list[Any]]()
        for (topic, partition), these in by_place.items():
            groups.update((whole(topic, partition, key), values) for key, values in self._grouped(these).items())
        return groups

    def _grouped(self, pairs: Pairs) -> Groups:
        groups: defaultdict[Any, list[Any]] = defaultdict(list)
        key_of, at = self.key, None
        try:
            for message, value in pairs:
                at = message
                groups[key_of(value)].append(value)
        except Exception as error:
            assert at is not None
            raise RecordError.of(at, f"its key could not be told ({type(error).__name__})") from error
        width = len(self.columns.of_records)
        _check(groups, width, lambda key: (message for message, value in pairs if key_of(value) == key))
        return dict(groups)


def _check(groups: Groups, width: int, messages: Callable[[Any], Iterator[Message]]) -> None:
    """Raise ``RecordError`` for a key that is no key of so many columns, or has a NULL in it."""
    for key in groups:
        if width > 1 and not (isinstance(key, tuple) and len(key) == width):
            raise RecordError.of(next(messages(key)), f"its key is a {type(key).__name__}, not a tuple of {width}")
        if key is None or (width > 1 and None in key):
            raise RecordError.of(next(messages(key)), "its key is None, or has a None in it")
