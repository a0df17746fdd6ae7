"""The page about reliability is what the recorded soaks give, and says what they found."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from integration_tests.soak.recorded import PAGE, RECORDS, Recorded, page, recorded
from integration_tests.soak.schedule import Fault

A_SOAK = Recorded(
    ended_at="2026-11-27T08:30:00+00:00",
    seed=7,
    store="postgres",
    assignment="classic",
    brokers=1,
    seconds=600.0,
    faults={Fault.KILLED: 200, Fault.FROZEN: 10},
    kills=290,
    batches=4_000,
    records=90_000,
    results=90_100,
    lost=0,
    repeated=0,
    unexpected=0,
    disordered=0,
    pause_s=12.3,
    pause_faults=(Fault.FROZEN, Fault.KILLED),
    pauses={Fault.FROZEN: 12.3, Fault.KILLED: 12.3},
    findings=(),
)


def test_the_page_is_what_the_records_give() -> None:
    assert PAGE.read_text() == page(recorded(RECORDS.read_text())), "run `python -m integration_tests.soak page`"


def test_what_is_recorded_is_read_back() -> None:
    (found,) = recorded(A_SOAK.line())
    assert json.loads(json.dumps(asdict(found))) == json.loads(A_SOAK.line())


def test_each_fault_has_a_row_for_each_store_and_assignment_that_met_it() -> None:
    other = replace(A_SOAK, store="kafka", faults={Fault.KILLED: 1_000}, lost=2, pauses={Fault.KILLED: 3.0})
    lines = page([A_SOAK, A_SOAK, other]).splitlines()
    assert "| killed | postgres | classic | 2 | 400 | 180,000 | 0 | 0 | 12.3 s |" in lines
    assert "| killed | kafka | classic | 1 | 1,000 | 90,000 | 2 | 0 | 3.0 s |" in lines
    assert "| frozen | postgres | classic | 2 | 20 | 180,000 | 0 | 0 | 12.3 s |" in lines
    assert not [line for line in lines if line.startswith(("| frozen | kafka", "| reset |"))]


def test_what_a_soak_found_is_counted_in_its_row_and_told_in_full() -> None:
    bad = replace(A_SOAK, lost=3, unexpected=1, disordered=2, findings=["member 4 has not stopped"])
    lines = page([bad]).splitlines()
    (row,) = [line for line in lines if line.startswith("| 2026-11-27")]
    assert "| 3; 1 unexpected; 2 out of order | 0 | 1 |" in row
    assert "- postgres, classic, seed 7: member 4 has not stopped" in lines


def test_a_soak_without_a_verdict_is_told_as_such_and_counts_nowhere() -> None:
    ended = replace(A_SOAK, seed=9, records=0, no_verdict="TimeoutError: the broker does not come up")
    lines = page([ended, A_SOAK]).splitlines()
    assert len([line for line in lines if line.startswith("| 2026-11-27")]) == 1
    assert "| frozen | postgres | classic | 1 | 10 | 90,000 | 0 | 0 | 12.3 s |" in lines
    told = "after 210 faults and 10.0 minutes: TimeoutError: the broker does not come up"
    assert f"- postgres, classic, seed 9, {told}" in lines


def test_what_earlier_soaks_did_not_look_at_is_told_as_unknown() -> None:
    (row,) = [line for line in page([A_SOAK]).splitlines() if line.startswith("| 2026-11-27")]
    assert "| 210 | - | 290 | - |" in row
    (row,) = [line for line in page([replace(A_SOAK, left_out=5, gave_up=0, load=7.5)]).splitlines() if "7.5" in line]
    assert "| 210 | 5 | 290 | 0 |" in row
