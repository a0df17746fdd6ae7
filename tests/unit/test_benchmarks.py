"""What the benchmarks do with their figures; the figures themselves are no test's business."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import records, report, runs
from benchmarks.contest import Contender, Goal, Work
from benchmarks.measurement import VALUE_BYTES, Outcome, Stopwatch, Task

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


@pytest.mark.parametrize("work", [work for block in report.BLOCKS for work in block.works], ids=lambda work: work.name)
def test_goals_are_about_contenders(work: Work) -> None:
    names = {contender.name for contender in (work.limit, *work.contenders)}
    assert len(names) == 1 + len(work.contenders)
    for goal in work.goals:
        assert goal.contender in names
        assert not goal.beside or goal.beside in names


@pytest.mark.parametrize("written", report.BLOCKS, ids=lambda block: block.begin)
def test_each_block_of_the_page_is_replaced_alone(
    written: report.Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "performance.md"
    page.write_text(report.PAGE.read_text())
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report, "CHART", tmp_path / "performance.svg")
    before = _parts(page.read_text(), written)
    own = replace(written, works=(WORK,))
    report.write([RESULT, runs.Result(replace(WORK, title="Other work"), RESULT.outcomes)], {"Machine": "a test"}, own)
    after = _parts(page.read_text(), written)
    assert (after[0], after[2]) == (before[0], before[2])
    assert "- **Machine**" in after[1]
    assert "Some work" in after[1]
    assert "Other work" not in after[1]
    for other in report.BLOCKS:
        assert other is written or other.begin in after[0] + after[2]
    assert (tmp_path / "performance.svg").exists() == written.chart


def test_only_whole_blocks_of_the_page_are_written() -> None:
    assert report.whole_blocks([*report.PEERS.works, *report.STATE.works[1:]]) == [report.PEERS]


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


@pytest.mark.parametrize(("count", "keys"), [(2_000, 7), (500, 10**12)])
def test_what_records_come_to_is_told_of_the_records(count: int, keys: int) -> None:
    made = list(records.records(count, keys))
    of_windows = Counter((it.key, it.time_ms // records.WINDOW_MS) for it in made)
    starts = sorted({number for _, number in of_windows})
    assert len(starts) == records.FULL_WINDOWS + 1
    closed = {window: found for window, found in of_windows.items() if window[1] != starts[-1]}
    expected = records.made_of(count, keys)
    assert expected["keys"] == len({it.key for it in made})
    assert expected["windows"] == len(closed)
    assert expected["counted_in_windows"] == sum(closed.values())
    assert expected["amounts"] == sum(json.loads(it.value)["amount"] for it in made)
    assert {len(it.value) for it in made} == {VALUE_BYTES}


def test_no_record_is_late() -> None:
    seen = 0
    for it in records.records(5_000):
        assert it.time_ms >= seen - records.LATENESS_MS
        seen = max(seen, it.time_ms)
