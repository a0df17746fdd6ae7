"""Which topics a stream reads: by their names, or by patterns of names, whose topics come and go."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

_PATTERN = "^"
_INTERNAL = "__"


@dataclass(frozen=True, slots=True)
class WantedTopics:
    """Names, and patterns: regular expressions that begin with ``^``, as librdkafka has them.

    A pattern is matched from the name's beginning, by Python's rules; ``$`` is the name's end. Kafka's own topics,
    whose names begin with ``__``, are matched by none.
    """

    named: tuple[str, ...]
    patterns: tuple[str, ...] = ()

    @classmethod
    def of(cls, topics: Sequence[str]) -> Self:
        """What a stream's ``topics`` say."""
        patterns = tuple(topic for topic in topics if topic.startswith(_PATTERN))
        return cls(tuple(topic for topic in topics if topic not in patterns), patterns)

    def __contains__(self, topic: object) -> bool:
        """Whether the stream reads the topic of this name, if it exists."""
        return isinstance(topic, str) and (topic in self.named or self.is_matched(topic))

    def is_matched(self, topic: str) -> bool:
        """Whether a pattern matches this name."""
        return not topic.startswith(_INTERNAL) and any(re.match(pattern, topic) for pattern in self.patterns)

    def among(self, existing: Iterable[str]) -> list[str]:
        """Those that are named, and those of the existing ones that are matched; sorted."""
        return sorted({*self.named, *filter(self.is_matched, existing)})


def why_no_pattern(pattern: str) -> str | None:
    """Why no topics can be chosen by this; ``None`` if they can."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError) as error:
        hint = "; in a text, commas are between topics: give a list" if "," in pattern or "{" in pattern else ""
        return f"the pattern {pattern!r} is no regular expression: {error}{hint}"
    return None


__all__ = ["WantedTopics", "why_no_pattern"]
