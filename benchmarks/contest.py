"""What a comparison is: a kind of work, who does it, and what is to be reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.records import KEYS

PEERS_PYTHON = Path(__file__).parents[1] / "build" / "peers" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Contender:
    """A function of ``benchmarks.contenders`` or ``benchmarks.peers``, run in a process of its own.

    The topic holds the run's number of records times ``share``, in so many ``partitions``, of so many ``keys``.
    ``python`` is the interpreter, if it is not this one.
    """

    name: str
    function: str
    partitions: int = 4
    share: float = 1.0
    keys: int = KEYS
    options: Mapping[str, Any] = field(default_factory=dict)
    python: Path | None = None


@dataclass(frozen=True, slots=True)
class Goal:
    """What ``contender`` is to reach, as a ratio to the limit's ``figure`` (or, for ``"below"``, as the figure).

    ``beside`` names another contender to be compared with than the limit.
    """

    contender: str
    figure: str
    kind: Literal["at least", "at most", "below"]
    value: float
    beside: str = ""

    def is_met(self, measured: float) -> bool:
        """Whether a ratio (or figure) will do."""
        return measured >= self.value if self.kind == "at least" else measured <= self.value


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of work: the limit, which is measured in the same run, and who is compared with it.

    ``server`` says which server a contender gets a fresh database of. Work that is ``paced`` begins with an empty
    topic. ``least_records`` bounds how far a quick run may go down.
    """

    name: str
    title: str
    limit: Contender
    contenders: tuple[Contender, ...]
    goals: tuple[Goal, ...]
    figure: str = "rate"
    server: Literal["postgres", "mariadb", ""] = ""
    paced: bool = False
    least_records: int = 50_000
