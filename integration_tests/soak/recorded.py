"""What a soak has shown, as a line of JSON; and the page that is made of all of them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from integration_tests.soak.pauses import summary
from integration_tests.soak.schedule import ASSIGNMENTS, STORES, Fault

if TYPE_CHECKING:
    from integration_tests.soak.run import Outcome

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "docs" / "reliability.jsonl"
PAGE = ROOT / "docs" / "reliability.md"


@dataclass(frozen=True)
class Recorded:
    """One soak. ``pauses`` are the longest with each fault on, ``pause_s`` and ``pause_faults`` the longest of all."""

    ended_at: str
    seed: int
    store: str
    assignment: str
    brokers: int
    seconds: float
    faults: Mapping[str, int]
    kills: int
    batches: int
    records: int
    results: int
    lost: int
    repeated: int
    unexpected: int
    disordered: int
    pause_s: float
    pause_faults: Sequence[str]
    pauses: Mapping[str, float]
    findings: Sequence[str]

    @classmethod
    def of(cls, outcome: Outcome) -> Recorded:
        """What is kept of an outcome."""
        return cls(
            ended_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seed=outcome.seed,
            store=outcome.setting.store,
            assignment=outcome.setting.assignment,
            brokers=outcome.setting.brokers,
            seconds=round(outcome.seconds, 1),
            faults=dict(sorted(outcome.faults.items())),
            kills=outcome.kills,
            batches=outcome.batches,
            **asdict(outcome.verdict),
            pause_s=round(outcome.pause.seconds, 1),
            pause_faults=list(outcome.pause.faults),
            pauses=summary(outcome.pauses),
            findings=list(outcome.findings),
        )

    def line(self) -> str:
        """As it is kept."""
        return json.dumps(asdict(self)) + "\n"


def recorded(text: str) -> list[Recorded]:
    """All soaks of a file."""
    return [Recorded(**json.loads(line)) for line in text.splitlines() if line.strip()]


_HEAD = """# Reliability

How often, and by what, streams were broken on purpose, and what came of it. Nothing here is written by hand: `make
soak` appends what it has seen to [reliability.jsonl](reliability.jsonl), and makes this page of it.

A soak is a stream over 8 partitions (more are added) with 2 to 6 members, under producers whose transactions are
committed and aborted, while a schedule that is a function of a seed kills, freezes, cuts off and resets. At its end an
independent read-committed reader says what the topic holds: each of those records must be in the results exactly once
(or as often as resets imply), those of a key in the order of their partition, and the stored offsets must be the
read-committed ends. `make soak` with the same `SEED`, `STORE` and `ASSIGNMENT` goes through the same faults again.
"""


def page(soaks: Sequence[Recorded]) -> str:
    """The page that these soaks make."""
    parts = [_HEAD, "## Soaks", "", *_soaks(soaks), "", "## Faults", "", _PAUSES, "", *_faults(soaks), ""]
    return "\n".join(parts)


_PAUSES = """*Longest pause*: the longest time between two commits of one partition for most of which a fault of this
kind was on, alone or beside others (where none was on for so long: in which it was on at all). Two processors were
there for brokers, databases, producers and members together."""


def _soaks(soaks: Sequence[Recorded]) -> Iterable[str]:
    heads = (
        "ended",
        "store",
        "assignment",
        "brokers",
        "seed",
        "minutes",
        "faults",
        "kills",
        "records",
        "lost",
        "repeated",
    )
    yield _row([*heads, "longest pause", "what was on then"])
    yield "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|"
    for it in sorted(soaks, key=lambda it: (STORES.index(it.store), it.assignment, it.ended_at)):
        cells: list[Any] = [
            it.ended_at[:16].replace("T", " "),
            it.store,
            it.assignment,
            it.brokers or "shared",
            it.seed,
        ]
        cells += [f"{it.seconds / 60:.1f}", sum(it.faults.values()), f"{it.kills:,}", f"{it.records:,}"]
        cells += [_wrong(it), it.repeated, f"{it.pause_s:.1f} s", ", ".join(it.pause_faults)]
        yield _row(cells)


def _wrong(it: Recorded) -> str:
    more = [f"{n} {what}" for what, n in (("unexpected", it.unexpected), ("out of order", it.disordered)) if n]
    return "; ".join([str(it.lost), *more, *it.findings])


def _faults(soaks: Sequence[Recorded]) -> Iterable[str]:
    yield "| fault | store | assignment | soaks | times | records | lost | repeated | longest pause |"
    yield "|---|---|---|--:|--:|--:|--:|--:|--:|"
    by_pairing: dict[tuple[str, str], list[Recorded]] = defaultdict(list)
    for it in soaks:
        by_pairing[it.store, it.assignment].append(it)
    for fault in Fault:
        for pairing in ((store, assignment) for store in STORES for assignment in ASSIGNMENTS):
            if met := [it for it in by_pairing[pairing] if it.faults.get(fault)]:
                yield _row([fault, *pairing, *_sums(met, fault)])


def _sums(met: Sequence[Recorded], fault: Fault) -> list[Any]:
    times: Counter[str] = Counter()
    for it in met:
        times.update(it.faults)
    sums = [sum(it.records for it in met), sum(it.lost for it in met), sum(it.repeated for it in met)]
    longest = max(it.pauses.get(fault, 0.0) for it in met)
    return [len(met), f"{times[fault]:,}", *(f"{it:,}" for it in sums), f"{longest:.1f} s"]


def _row(cells: Iterable[Any]) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


__all__ = ["PAGE", "RECORDS", "Recorded", "page", "recorded"]
