"""The names that a PromQL expression uses: enough of its grammar to hold dashboards and alerts to what is exposed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<string>"(?:[^"\\]|\\.)*")|(?P<duration>\d+(?:ms|[smhdwy]))|(?P<number>\d+(?:\.\d+)?)"""
    r"""|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)|(?P<variable>\$\w+)|(?P<operator>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){}\[\],])"""
)
_GROUPING = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_WORDS = frozenset({"and", "or", "unless", "offset", "bool"})
_FUNCTIONS = frozenset(
    {
        *("absent", "avg", "count", "deriv", "histogram_quantile", "increase", "label_values", "max", "min", "rate"),
        *("sum", "time", "vector", "topk"),
    }
)
_PAIRS = {")": "(", "}": "{", "]": "["}


class NotPromQL(ValueError):
    """The expression is none that this reads."""


@dataclass
class Used:
    """``selected`` are metrics with the labels that are matched, and their values where they are plain strings."""

    selected: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    grouped: set[str] = field(default_factory=set)

    @property
    def metrics(self) -> set[str]:
        return {metric for metric, _ in self.selected}


def used(expression: str) -> Used:
    """What an expression selects, and by which labels it groups and joins.

    Raises:
        NotPromQL.
    """
    tokens = list(_tokens(expression))
    _check_pairs(tokens, expression)
    found = Used()
    at = 0
    while at < len(tokens):
        kind, text = tokens[at]
        after = tokens[at + 1][1] if at + 1 < len(tokens) else ""
        if kind == "name" and text in _GROUPING:
            at, labels = _grouping(tokens, at + 1)
            found.grouped |= labels
        elif (kind == "name" and text in _FUNCTIONS and after == "(") or text in _WORDS or _is_aggregation(tokens, at):
            at += 1
        elif kind == "name":
            at, matched = _matchers(tokens, at + 1)
            found.selected.append((text, matched))
        else:
            at += 1
    return found


def _is_aggregation(tokens: Sequence[tuple[str, str]], at: int) -> bool:
    """As in ``sum by (a) (b)``."""
    return tokens[at][1] in _FUNCTIONS and at + 1 < len(tokens) and tokens[at + 1][1] in {"by", "without"}


def _tokens(expression: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(expression):
        found = _TOKEN.match(expression, at)
        if found is None or found.lastgroup is None:
            raise NotPromQL(f"{expression[at:]!r} in {expression!r}")
        if found.lastgroup != "space":
            yield found.lastgroup, found[0]
        at = found.end()


def _check_pairs(tokens: Sequence[tuple[str, str]], expression: str) -> None:
    opened = []
    for kind, text in tokens:
        if kind == "operator" and text in _PAIRS.values():
            opened.append(text)
        elif kind == "operator" and text in _PAIRS and (not opened or opened.pop() != _PAIRS[text]):
            raise NotPromQL(f"{text!r} closes nothing in {expression!r}")
    if opened:
        raise NotPromQL(f"{opened[-1]!r} is not closed in {expression!r}")


def _grouping(tokens: Sequence[tuple[str, str]], at: int) -> tuple[int, set[str]]:
    if at >= len(tokens) or tokens[at][1] != "(":
        raise NotPromQL("labels are in parentheses")
    end = next(n for n in range(at, len(tokens)) if tokens[n][1] == ")")
    return end + 1, {text for kind, text in tokens[at:end] if kind == "name"}


def _matchers(tokens: Sequence[tuple[str, str]], at: int) -> tuple[int, dict[str, str | None]]:
    if at >= len(tokens) or tokens[at][1] != "{":
        return at, {}
    end = next(n for n in range(at, len(tokens)) if tokens[n][1] == "}")
    inside = [token for token in tokens[at + 1 : end] if token[1] != ","]
    if len(inside) % 3:
        raise NotPromQL("a matcher is label, operator and string")
    found: dict[str, str | None] = {}
    for (_, label), (_, operator), (kind, value) in zip(inside[::3], inside[1::3], inside[2::3], strict=True):
        if kind != "string" or operator not in {"=", "!=", "=~", "!~"}:
            raise NotPromQL(f"{label}{operator}{value} is no matcher")
        found[label] = value[1:-1] if operator in {"=", "!="} else None
    return end + 1, found


__all__ = ["NotPromQL", "Used", "used"]
