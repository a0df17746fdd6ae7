"""Running the contenders, in turn, and comparing them."""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.contest import Contender, Goal, Work
from benchmarks.measurement import VALUE_BYTES, Outcome, Task
from benchmarks.records import made_of
from benchmarks.servers import Servers

_TIMEOUT_S = 600


class WrongResult(Exception):
    """A contender lost or repeated records; its speed means nothing."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    records: int
    runs: int
    paced_s: float


@dataclass(frozen=True, slots=True)
class Result:
    """All outcomes of one work, in the order in which they were run."""

    work: Work
    outcomes: Mapping[str, Sequence[Outcome]]

    def median(self, contender: str, figure: str | None = None) -> float:
        """The median of a figure."""
        return statistics.median(figure_of(o, figure or self.work.figure) for o in self.outcomes[contender])

    def ratio(self, contender: str, figure: str | None = None, beside: str = "") -> float:
        """The median of the ratios to the limit, run by run: the machine's speed drifts, and moves both.

        ``beside`` names another contender to be compared with.
        """
        wanted = figure or self.work.figure
        return statistics.median(
            figure_of(ours, wanted) / figure_of(other, wanted)
            for ours, other in zip(self.outcomes[contender], self.outcomes[beside or self.work.limit.name], strict=True)
        )

    def cpu_per_record_s(self, contender: str) -> float:
        """What the contender's own process took for a record, once it had begun."""
        return statistics.median(o.figures["cpu_s"] / o.records for o in self.outcomes[contender])

    def reached(self, goal: Goal) -> float:
        """What a goal is about."""
        if goal.kind == "below":
            return self.median(goal.contender, goal.figure)
        return self.ratio(goal.contender, goal.figure, goal.beside)


def figure_of(outcome: Outcome, figure: str) -> float:
    """A figure by its name."""
    return float(getattr(outcome, figure) if hasattr(outcome, figure) else outcome.figures[figure])


def run(work: Work, servers: Servers, scale: Scale, tell: Callable[[str], None]) -> Result:
    """Run each contender so many times, in turn.

    Raises:
        WrongResult: what one of them wrote is not what the topic holds.
    """
    contenders = (work.limit, *work.contenders)
    outcomes: dict[str, list[Outcome]] = {contender.name: [] for contender in contenders}
    for number in range(scale.runs):
        in_turn = contenders if number % 2 == 0 else contenders[::-1]
        for contender in in_turn:
            outcome = run_once(work, contender, servers, scale)
            outcomes[contender.name].append(outcome)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in sorted(outcome.figures.items()))
            rate = f"{outcome.rate:,.0f} records/s"
            tell(f"{work.name}: {contender.name}: {rate}, start {outcome.start_up_s:.1f} s, {shown}")
    return Result(work, outcomes)


def run_once(work: Work, contender: Contender, servers: Servers, scale: Scale) -> Outcome:
    """One run of one contender, and a look at what it wrote."""
    if work.paced:
        records = int(scale.paced_s * contender.options["rate"])
        topic = servers.kafka.create_topic(partitions=contender.partitions)
    else:
        records = int(max(scale.records * contender.share, min(scale.records, work.least_records * contender.share)))
        topic = servers.topic(contender.partitions, records, contender.keys)
    with tempfile.TemporaryDirectory() as directory, servers.database(work.server) as database:
        task = Task(
            bootstrap_servers=servers.kafka.bootstrap_servers,
            topic=topic,
            partitions=contender.partitions,
            records=records,
            database=database,
            directory=directory,
            options=dict(contender.options),
            started_at=time.monotonic(),
        )
        outcome = _in_process(contender, task)
    expected = _expected(servers, topic, records)
    if outcome.found.keys() - expected.keys():
        expected = {**expected, **made_of(records, contender.keys)}
    if wrong := {name: (value, expected[name]) for name, value in outcome.found.items() if value != expected[name]}:
        raise WrongResult(f"{work.name}: {contender.name}: found and expected: {wrong}")
    if work.paced:
        servers.kafka.delete_topic(topic)
    return outcome


def _in_process(contender: Contender, task: Task) -> Outcome:
    python, function = str(contender.python or sys.executable), contender.function
    command = [python, "-m", "benchmarks.child", function, json.dumps(dataclasses.asdict(task))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise WrongResult(f"{function} ended with status {done.returncode}")
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def _expected(servers: Servers, topic: str, records: int) -> Mapping[str, int]:
    ends = servers.kafka.end_offsets(topic).values()
    if sum(ends) != records:
        raise WrongResult(f"{topic} holds {sum(ends)} records, not {records}")
    return {
        "records": records,
        "positions": records,
        "offsets": sum(end * (end - 1) // 2 for end in ends),
        "value_bytes": VALUE_BYTES * records,
    }
