"""What commands on offsets say and do about the state that sinks keep, on SQLite."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from kafka_stream.admin.reset import prepare_reset
from kafka_stream.admin.reset_plan import ToEarliest
from kafka_stream.cli.offsets.state import StateInReset, state_in_reset
from kafka_stream.cli.offsets.target import Target
from kafka_stream.errors import ConfigurationError
from kafka_stream.testing import MemoryOffsetStore
from tests.admin_fakes import Brokers
from tests.command_line import Ended, Invoke, one_sentence
from tests.keeping_state import COUNTS, TOTALS
from tests.unit.state.conftest import HERE, Reading, Running
from tests.unit.test_cli_offsets import rows as printed

BACK = ("reset", *HERE, "--all-topics", "--to-offset", "0")


@pytest.fixture
def offsets(invoke: Invoke, brokers: str, monkeypatch: pytest.MonkeyPatch, run: Running) -> Callable[..., Ended]:
    """``offsets …``, of a stream that has read all and keeps state."""
    monkeypatch.setenv("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", brokers)
    run()
    return lambda *arguments: invoke("offsets", *arguments)


def test_a_reset_says_that_state_is_not_rewound(offsets: Callable[..., Ended], rows: Reading) -> None:
    planned = offsets(*BACK)
    assert planned.status == 0, planned.err
    assert (
        "! state is not rewound: counts (10 rows) and totals (5 rows); what is read again counts twice there, what is "
        "skipped not at all; --with-state-reset clears it in the same transaction\n"
    ) in planned.out
    told = offsets(*BACK, "--output", "json")
    assert [(row["not_rewound"], row["cleared"]) for row in printed(told)] == [(["counts=10", "totals=5"], [])] * 2
    assert told.err.startswith("warning: state is not rewound: ")
    exported = offsets(*BACK, "--export")
    assert (exported.out, exported.err.startswith("warning: state is")) == ("orders,0,0\norders,1,0\n", True)


def test_where_nothing_moves_nothing_is_said(offsets: Callable[..., Ended]) -> None:
    assert "state" not in offsets("reset", *HERE, "--all-topics", "--to-current").out


def test_a_reset_with_state_says_what_it_clears_and_does_it_when_it_is_executed(
    offsets: Callable[..., Ended], rows: Reading
) -> None:
    planned = offsets(*BACK, "--with-state-reset")
    assert "! state is cleared in the same transaction: counts (10 rows) and totals (5 rows)\n" in planned.out
    assert "Nothing was changed" in planned.out
    assert len(rows(TOTALS)) == 5
    done = offsets(*BACK, "--with-state-reset", "--execute")
    assert done.out.endswith("2 partition(s) were moved.\nState was cleared: counts (10 rows) and totals (5 rows).\n")
    assert (rows(TOTALS), rows(COUNTS)) == ({}, {})
    history = printed(offsets("history", *HERE, "--limit", "1", "--output", "json"))
    assert [row["cleared"] for row in history] == [["counts=10", "totals=5"]] * 2
    refused = offsets("undo", *HERE, "--yes")
    assert refused.status == 3
    assert "which cannot be put back" in one_sentence(refused)


def test_a_reset_with_state_tells_programs_what_it_has_cleared(offsets: Callable[..., Ended]) -> None:
    done = printed(offsets(*BACK, "--with-state-reset", "--execute", "--output", "json"))
    assert [(row["to_offset"], row["cleared"], row["not_rewound"]) for row in done] == [
        (0, ["counts=10", "totals=5"], [])
    ] * 2


def test_a_reset_of_some_partitions_with_state_of_all_is_refused(offsets: Callable[..., Ended], rows: Reading) -> None:
    some = ("reset", *HERE, "--topic", "orders:0", "--to-offset", "0", "--with-state-reset", "--execute")
    refused = offsets(*some)
    assert refused.status == 3
    assert "is made of all partitions' records" in one_sentence(refused)
    assert len(rows(TOTALS)) == 5
    assert offsets(*some, "--clear-shared-state").status == 0
    assert len(rows(TOTALS)) == 0
    assert {key[1] for key in rows(COUNTS)} == {1}


def test_an_option_that_means_nothing_alone_is_refused(offsets: Callable[..., Ended]) -> None:
    refused = offsets(*BACK, "--clear-shared-state")
    assert refused.status == 2
    assert one_sentence(refused) == "--clear-shared-state goes with --with-state-reset"


def test_a_stream_without_state_has_nothing_to_clear(
    invoke: Invoke, brokers: str, monkeypatch: pytest.MonkeyPatch, run: Running
) -> None:
    monkeypatch.setenv("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", brokers)
    run(lambda batch, transaction: None)
    done = invoke("offsets", *BACK, "--with-state-reset", "--execute")
    assert done.out.endswith("2 partition(s) were moved.\nNo state was kept: nothing was cleared.\n")
    assert "state" not in invoke("offsets", *BACK).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["import", *HERE, "offsets.csv", "--yes"], "! state is not rewound: counts (10 rows) and totals (5 rows)"),
        (["delete", *HERE, "--yes"], "! state is not rewound: counts (10 rows) and totals (5 rows)"),
        (
            ["migrate", *HERE, "--to", "sqlite:///other.db", "--yes"],
            "! state is not migrated, and stays in the tables where it is: counts (10 rows) and totals (5 rows)",
        ),
    ],
    ids=["import", "delete", "migrate"],
)
def test_others_that_move_offsets_say_so_too(
    arguments: list[str], said: str, offsets: Callable[..., Ended], tmp_path: Path
) -> None:
    (tmp_path / "offsets.csv").write_text("orders,0,7\n")
    done = offsets(*arguments)
    assert done.status == 0, done.err
    assert said in done.out


def test_programs_read_no_warning_among_their_rows(offsets: Callable[..., Ended]) -> None:
    done = offsets("delete", *HERE, "--yes", "--output", "json")
    assert json.loads(done.out) == [{"topic": "orders"}]
    assert done.err.startswith("warning: state is not rewound: ")


def test_state_that_only_the_code_knows_is_cleared_by_its_sinks(
    offsets: Callable[..., Ended], with_app: str, brokers: str, rows: Reading
) -> None:
    """And what the code does not know any more, by the register."""
    where = ("--app", with_app, "--kafka", f"bootstrap.servers={brokers}", "--all-topics", "--to-offset", "0")
    done = offsets("reset", *where, "--with-state-reset", "--execute")
    assert done.status == 0, done.err
    assert (rows(TOTALS), rows(COUNTS)) == ({}, {})


def test_a_table_that_is_not_found_is_said(offsets: Callable[..., Ended], url: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        TOTALS.drop(connection)
    engine.dispose()
    for how in ((), ("--with-state-reset",)):
        planned = offsets(*BACK, *how)
        assert "! state is not found: totals; was it dropped, or is it in another schema?\n" in planned.out


def test_a_store_that_state_is_not_kept_through_is_refused_before_anything_moves(fake_brokers: Brokers) -> None:
    store = MemoryOffsetStore()
    store.initialise("s", "orders", {0: 5, 1: 5}, None)
    reset = prepare_reset(store, "s", fake_brokers, ToEarliest())
    plan, target = reset.plan(store.positions("s")), Target(store, {}, name="s")
    assert state_in_reset(target, reset, plan, clears=False, clears_shared=False).row() == StateInReset().row()
    with pytest.raises(ConfigurationError, match="takes an SQL store"):
        state_in_reset(target, reset, plan, clears=True, clears_shared=False)
