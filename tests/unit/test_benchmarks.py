"""What the benchmarks do with their figures; the figures themselves are no test's business."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import report, runs
from benchmarks.measurement import Outcome, Stopwatch, Task
from benchmarks.works import PEERS, WORKS, Contender, Goal, Work

TASK = Task("nowhere:1", "t", 1, 100, "", "", {}, started_at=0.0)
WORK = Work(
    "w",
    "Some work",
    Contender("limit", "m:limit"),
    (Contender("ours", "m:ours"), Contender("peer", "m:peer")),
    (Goal("ours", "rate", "at least", 0.8), Goal("ours", "rate", "at least", 2.0, beside="peer")),
)


def _outcomes(*seconds: float) -> list[Outcome]:
    return [Outcome(100, each, 0.5, {}, {"cpu_s": 1.0}) for each in seconds]


RESULT = runs.Result(WORK, {"limit": _outcomes(1, 2, 3), "ours": _outcomes(2, 2, 4), "peer": _outcomes(8, 2, 12)})


def test_a_ratio_is_the_median_of_the_runs_side_by_side() -> None:
    assert RESULT.ratio("ours") == pytest.approx(0.75)
    assert RESULT.ratio("ours", beside="peer") == pytest.approx(3.0)


def test_goals_name_the_peer_they_are_about() -> None:
    plain = report.plain([RESULT])
    assert "goal for ours: ≥ 0.80 \u00d7: 0.75 (not reached)" in plain
    assert "goal for ours: ≥ 2.00 \u00d7 peer: 3.00 ✓" in plain


@pytest.mark.parametrize("work", [*WORKS, *PEERS], ids=lambda work: work.name)
def test_goals_are_about_contenders(work: Work) -> None:
    names = {contender.name for contender in (work.limit, *work.contenders)}
    assert len(names) == 1 + len(work.contenders)
    for goal in work.goals:
        assert goal.contender in names
        assert not goal.beside or goal.beside in names


def test_each_block_of_the_page_is_replaced_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "performance.md"
    page.write_text(report.PAGE.read_text())
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report, "CHART", tmp_path / "performance.svg")
    for written, other in ((report.FIGURES, report.PEERS), (report.PEERS, report.FIGURES)):
        before = _parts(page.read_text(), written)
        report.write([RESULT], {"Machine": "of a test"}, written)
        after = _parts(page.read_text(), written)
        assert (after[0], after[2]) == (before[0], before[2])
        assert "- **Machine**" in after[1]
        assert other.begin in after[0] + after[2]
    assert (tmp_path / "performance.svg").exists()


def _parts(page: str, block: report.Block) -> tuple[str, str, str]:
    before, _, rest = page.partition(block.begin)
    within, _, after = rest.partition(block.end)
    return before, within, after


def test_versions_of_peers_are_those_that_are_pinned() -> None:
    assert "Spark 4.0.0" in report.facts_of_peers()["Peers"]


def test_a_contender_runs_in_the_interpreter_that_it_asks_for(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nprintf "%s" "$*" > {tmp_path}/called\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with pytest.raises(runs.WrongResult, match="ended with status"):
        runs._in_process(Contender("c", "json:no_such_function", python=python), TASK)
    assert "benchmarks.child json:no_such_function" in (tmp_path / "called").read_text()


def test_a_contender_may_know_the_figures_of_another_process() -> None:
    watch = Stopwatch(TASK)
    watch.first()
    watch.last()
    assert watch.outcome({}, cpu_s=12.5).figures["cpu_s"] == 12.5
    assert watch.outcome({}).figures["cpu_s"] < 12.5
