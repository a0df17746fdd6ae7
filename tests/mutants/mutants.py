"""Named bugs, each a change of one function's text while a test runs: it fails loudly when that text is not there."""

from __future__ import annotations
import __future__

import inspect
import textwrap
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Mutant:
    """``changes`` are what is in the function's source once, and what takes its place."""

    name: str
    owner: Any
    function: str
    changes: tuple[tuple[str, str], ...]

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        """Put the changed function in its place, until the patch is undone."""
        found = inspect.getattr_static(self.owner, self.function)
        kind = type(found) if isinstance(found, classmethod | staticmethod) else lambda function: function
        function = inspect.unwrap(getattr(found, "__func__", found))
        patch.setattr(self.owner, self.function, kind(_compiled(function, self._changed(function))))

    def _changed(self, function: Any) -> str:
        source = textwrap.dedent(inspect.getsource(function))
        for before, after in self.changes:
            count = source.count(before)
            assert count == 1, f"{self.name}: {before!r} is {count} times in {function.__qualname__}; mend the mutant"
            source = source.replace(before, after)
        return source.removeprefix("@classmethod\n").removeprefix("@staticmethod\n")


def _compiled(function: Any, source: str) -> Any:
    assert not function.__closure__, f"{function.__qualname__} needs its surroundings: change another function"
    code = compile(source, f"<mutant of {function.__qualname__}>", "exec", __future__.annotations.compiler_flag)
    defined: dict[str, Any] = {}
    exec(code, function.__globals__, defined)
    return defined[function.__name__]
