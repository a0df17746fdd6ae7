"""What the results have to be: as the user says, or as an undisturbed run of the same records leaves them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from kafka_stream.testing.exactly_once.records import Given
from kafka_stream.testing.exactly_once.results import Results, bag_of


class Expectation(Protocol):
    """The results of records, by their numbers in the order in which they were given."""

    def after(self, count: int) -> Results | None:
        """Those of the first ``count`` records; ``None`` if that is not known."""

    def known(self, count: int) -> Sequence[int]:
        """Up to ``count``, and in order: after how many records it is known."""

    def of(self, numbers: Sequence[int]) -> Results | None:
        """Those of some of them, or of some twice; ``None`` if nobody can tell."""


class Told:
    """By the user's function of records."""

    def __init__(self, expected: Callable[[Sequence[Any]], Iterable[Any]], records: Sequence[Given]) -> None:
        self._expected = expected
        self._records = records
        self._known: dict[int, Results] = {}

    def after(self, count: int) -> Results:
        """See ``Expectation``."""
        if count not in self._known:
            self._known[count] = self.of(range(count))
        return self._known[count]

    def known(self, count: int) -> Sequence[int]:
        """See ``Expectation``."""
        return range(count + 1)

    def of(self, numbers: Sequence[int]) -> Results:
        """See ``Expectation``."""
        return bag_of(self._expected([self._records[number] for number in numbers]))


class Rehearsed:
    """By what was there after each batch of an undisturbed run; ``again`` makes another one of any records."""

    def __init__(self, known: Mapping[int, Results], again: Callable[[Sequence[int]], Results] | None = None) -> None:
        self._known = known
        self._again = again

    def after(self, count: int) -> Results | None:
        """See ``Expectation``."""
        return self._known.get(count)

    def known(self, count: int) -> Sequence[int]:
        """See ``Expectation``."""
        return sorted(each for each in self._known if each <= count)

    def of(self, numbers: Sequence[int]) -> Results | None:
        """See ``Expectation``."""
        return None if self._again is None else self._again(numbers)


__all__ = ["Expectation", "Rehearsed", "Told"]
