"""What a soak has shown, as a line of JSON; and the page that is made of all of them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from integration_tests.soak.judgement import Verdict
from integration_tests.soak.pauses import summary
from integration_tests.soak.schedule import ASSIGNMENTS, STORES, Fault

if TYPE_CHECKING:
    from integration_tests.soak.run import Outcome

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "docs" / "reliability.jsonl"
PAGE = ROOT / "docs" / "reliability.md"

NOTHING_KNOWN = Verdict(records=0, results=0, lost=0, repeated=0, unexpected=0, disordered=0)


@dataclass(frozen=True)
class Recorded:
    """One soak. ``pauses`` are the longest with each fault on, ``pause_s`` and ``pause_faults`` the longest of all.

    Where ``no_verdict`` says why there is none, nothing is known of its records. What came later than the first soaks
    has a default: ``None`` is what was not looked at then.
    """

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
    gave_up: int | None = None
    left_out: int | None = None
    load: float | None = None
    no_verdict: str | None = None

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
            **asdict(outcome.verdict or NOTHING_KNOWN),
            pause_s=round(outcome.pause.seconds, 1),
            pause_faults=list(outcome.pause.faults),
            pauses=summary(outcome.pauses),
            findings=list(outcome.findings),
            gave_up=outcome.gave_up,
            left_out=outcome.left_out,
            load=round(outcome.load, 1),
            no_verdict=outcome.no_verdict,
        )

    def line(self) -> str:
        """As it is kept."""
        return json.dumps(asdict(self)) + "\n"


def recorded(text: str) -> list[Recorded]:
    """All soaks of a file."""
    return [Recorded(**json.loads(line)) for line in text.splitlines() if line.strip()]


_HEAD = """# Reliability

How often, and by what, streams were broken on purpose, and what came of it. Nothing here is written by hand: `make
soak` appends what it has seen to [reliability.jsonl](reliability.jsonl), whatever that is, and makes this page of it.

A soak is a stream over 8 partitions (more are added) with 2 to 6 members, under producers whose transactions are
committed and aborted, while a schedule that is a function of a seed kills, freezes, cuts off and resets. At its end an
independent read-committed reader says what the topic holds: each of those records must be in the results exactly once
(or as often as resets imply), those of a key in the order of their partition, and the stored offsets must be the
read-committed ends. `make soak` with the same `SEED`, `STORE` and `ASSIGNMENT` goes through the same faults again.

A member that ends is started again, as a supervisor would do it. One that ended for another reason than a kill, a
successor, or a broker or store that it did not find when it started (exit status 1 after 30 s; *restarts*), is a
*finding*. *Left out* are the faults of the schedule for which there was no time, since those before them took longer.
*Load* is the mean load average, of which two is what the machine's two processors have room for; brokers, databases,
producers, members and whatever else ran on that machine share them. `-`: was not looked at then.
"""


def page(soaks: Sequence[Recorded]) -> str:
    """The page that these soaks make."""
    judged = [it for it in soaks if it.no_verdict is None]
    parts = [_HEAD, "## Soaks", "", *_soaks(judged), "", *_findings(judged), *_without_verdict(soaks)]
    return "\n".join([*parts, "## Faults", "", _PAUSES, "", *_faults(judged), ""])


_PAUSES = """*Longest pause*: the longest time between two commits of one partition for most of which a fault of this
kind was on, alone or beside others (where none was on for so long: in which it was on at all)."""

_HEADS = (
    *("ended", "store", "assignment", "brokers", "seed", "minutes", "faults", "left out", "kills", "restarts"),
    *("records", "lost", "repeated", "findings", "load", "longest pause", "what was on then"),
)


def _soaks(soaks: Sequence[Recorded]) -> Iterable[str]:
    yield _row(_HEADS)
    yield "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|"
    for it in _in_order(soaks):
        cells = [*_which(it), f"{it.seconds / 60:.1f}", sum(it.faults.values()), _known(it.left_out), f"{it.kills:,}"]
        cells += [_known(it.gave_up), f"{it.records:,}", _wrong(it), it.repeated, len(it.findings), _known(it.load)]
        yield _row([*cells, f"{it.pause_s:.1f} s", ", ".join(it.pause_faults)])


def _in_order(soaks: Sequence[Recorded]) -> Sequence[Recorded]:
    return sorted(soaks, key=lambda it: (STORES.index(it.store), it.assignment, it.ended_at))


def _which(it: Recorded) -> list[Any]:
    return [it.ended_at[:16].replace("T", " "), it.store, it.assignment, it.brokers or "shared", it.seed]


def _known(number: float | None) -> str:
    return "-" if number is None else f"{number:,}"


def _wrong(it: Recorded) -> str:
    more = [f"{n} {what}" for what, n in (("unexpected", it.unexpected), ("out of order", it.disordered)) if n]
    return "; ".join([str(it.lost), *more])


def _findings(soaks: Sequence[Recorded]) -> Iterable[str]:
    """Each in full: what was found is what a soak is for."""
    found = [(it, finding) for it in _in_order(soaks) for finding in it.findings]
    if found:
        yield from ("## Findings", "", "What soaks found that should not be; what was mended since stays here.", "")
        yield from (f"- {it.store}, {it.assignment}, seed {it.seed}: {finding}" for it, finding in found)
        yield ""


def _without_verdict(soaks: Sequence[Recorded]) -> Iterable[str]:
    """Those that ended before their end."""
    ended = [it for it in _in_order(soaks) if it.no_verdict is not None]
    if ended:
        yield from ("## Without a verdict", "", "What these have shown is not known, and is counted nowhere.", "")
        for it in ended:
            faults, minutes = sum(it.faults.values()), f"{it.seconds / 60:.1f}"
            told = f"{it.store}, {it.assignment}, seed {it.seed}, after {faults} faults and {minutes} minutes"
            yield f"- {told}: {it.no_verdict}"
        yield ""


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
