"""Pure: the records of a batch by their keys, in offset order within each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from confluent_kafka import Message

from kafka_stream.errors import RecordError
from kafka_stream.sinks.sql.rows import Key
from kafka_stream.sinks.sql.state.key_forms import KeyForms, in_order

Pairs: TypeAlias = Sequence[tuple[Message, Any]]
KeyOf: TypeAlias = Callable[[Any], Any]
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
    """A batch by keys, as Python tells them apart; ``key_of`` gives that of a pair."""

    pairs: Pairs
    key_of: Callable[[Message, Any], Any]
    groups: Groups

    def __len__(self) -> int:
        """The number of records."""
        return len(self.pairs)

    def by_form(self, forms: KeyForms) -> Sequence[OfKey]:
        """In the order of their forms; keys that the database takes for one are one.

        Raises:
            RecordError: a key is of a kind that the database compares otherwise than Python.
        """
        keys = list(self.groups)
        if (found := forms.of(keys)) is None:
            raise self._incomparable(forms)
        groups: Sequence[OfKey] = list(map(OfKey, found, keys, self.groups.values()))
        if len(set(found)) < len(keys):
            groups = self._merged(dict(zip(keys, found, strict=True)))
            found = [group.form for group in groups]
        return [groups[number] for number in in_order(found)]

    def messages_of(self, key: Any, forms: KeyForms) -> Sequence[Message]:
        """The records of a key."""
        wanted = forms.of([key])
        return [message for message, value in self.pairs if forms.of([self.key_of(message, value)]) == wanted]

    def _merged(self, forms: Mapping[Any, Key]) -> Sequence[OfKey]:
        groups: dict[Key, OfKey] = {}
        for message, value in self.pairs:
            key = self.key_of(message, value)
            groups.setdefault(forms[key], OfKey(forms[key], key, [])).values.append(value)
        return list(groups.values())

    def _incomparable(self, forms: KeyForms) -> RecordError:
        for message, value in self.pairs:
            if (why := forms.why_not(self.key_of(message, value))) is not None:
                return RecordError.of(message, why)
        raise AssertionError("keys are compared together as they are one by one")


def grouped(pairs: Pairs, key_of: KeyOf, width: int) -> Grouped:
    """The records of a batch by what ``key_of`` gives of their values: of so many columns, a tuple if it is not one.

    Raises:
        RecordError: it failed for one, or gave a key that is none.
    """
    groups: defaultdict[Any, list[Any]] = defaultdict(list)
    at: Any = None
    try:
        for message, value in pairs:
            at = message
            groups[key_of(value)].append(value)
    except Exception as error:
        raise RecordError.of(at, f"its key could not be told ({type(error).__name__})") from error
    _check(groups, width, lambda key: (message for message, value in pairs if key_of(value) == key))
    return Grouped(pairs, lambda _, value: key_of(value), dict(groups))


def grouped_by_partition(pairs: Pairs, key_of: KeyOf, width: int, whole: Callable[[str, int, Any], Any]) -> Grouped:
    """The same, within each partition; ``whole`` makes the key of a topic, a partition and what ``key_of`` gives."""
    by_place: defaultdict[tuple[Any, Any], list[tuple[Message, Any]]] = defaultdict(list)
    for pair in pairs:
        by_place[pair[0].topic(), pair[0].partition()].append(pair)
    groups: dict[Any, list[Any]] = {}
    for (topic, partition), these in by_place.items():
        found = grouped(these, key_of, width)
        groups.update((whole(topic, partition, key), values) for key, values in found.groups.items())

    def key_of_pair(message: Message, value: Any) -> Any:
        topic, partition = message.topic(), message.partition()
        assert topic is not None
        assert partition is not None
        return whole(topic, partition, key_of(value))

    return Grouped(pairs, key_of_pair, groups)


def _check(groups: Groups, width: int, messages: Callable[[Any], Iterator[Message]]) -> None:
    """Raise ``RecordError`` for a key that is no key of so many columns, or has a NULL in it."""
    for key in groups:
        if width > 1 and not (isinstance(key, tuple) and len(key) == width):
            raise RecordError.of(next(messages(key)), f"its key is a {type(key).__name__}, not a tuple of {width}")
        if key is None or (width > 1 and None in key):
            raise RecordError.of(next(messages(key)), "its key is None, or has a None in it")
