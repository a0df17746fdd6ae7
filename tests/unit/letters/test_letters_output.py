"""Golden outputs of the commands on dead letters, on terminals of three widths, and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from kafka_stream.admin.dead_letters.counting import count_letters
from kafka_stream.admin.dead_letters.in_place import Attempted, Outcome
from kafka_stream.cli import output as printing
from kafka_stream.cli.dead_letters import rows
from kafka_stream.cli.dead_letters.in_place import show_outcomes
from kafka_stream.cli.dead_letters.listing import show_list
from kafka_stream.cli.dead_letters.show import show_letters
from kafka_stream.cli.dead_letters.stats import show_counts
from kafka_stream.cli.output import Output, print_rows
from kafka_stream.protocols import AFTER_ANOTHER, DeadLetter, LetterError, LetterStatus, Payload
from tests.replays import AT, letter
from tests.unit.test_offsets_output import SUFFIX, same_as_golden

GOLDEN = Path(__file__).parent / "golden"
NOW = AT + timedelta(days=2)
LONG = "the price of this order is no number that the table could hold: 'one hundred and twenty'"


def letters() -> list[DeadLetter]:
    """What there may be: JSON, text, bytes, nothing; long texts, and such as a terminal would obey."""
    first = letter(
        4711, key=b"customer-7", value=b'{"id": 7, "price": 1.10, "tags": ["a", {}], "name": "K\xc3\xa4the"}'
    )
    second = letter(2**62, partition=1, key=b"\x00\xff", value=bytes(range(40)), at=AT + timedelta(hours=3))
    third = letter(3, partition=11, topic="shop.orders.v2", key=None, value=None, status=LetterStatus.DISCARDED)
    fourth = letter(4, partition=11, topic="shop.orders.v2", key=b"0xff", value=b"plain\ttext\nof two lines")
    fifth = letter(
        5,
        partition=11,
        topic="shop.orders.v2",
        key=b"",
        value=b'["\xc2\x9b31m"]',
        error="psycopg.errors.CheckViolation",
    )
    return [
        first,
        replace(second, attempts=3, last_failed_at=AT + timedelta(days=1), changed_at=AT + timedelta(days=1)),
        replace(third, note="known to be junk\x1b[2J", changed_at=AT + timedelta(hours=1)),
        replace(fourth, error=LetterError(AFTER_ANOTHER, "waits for shop.orders.v2[11]@2, which has the same key")),
        replace(
            fifth,
            error=LetterError("psycopg.errors.CheckViolation", LONG, 'Traceback …\n  File "app.py"\nCheckViolation'),
            payload=Payload(b"", b'["\xc2\x9b31m"]', (), None),
            code_version=None,
        ),
    ]


def show_lists(output: Output) -> None:
    show_list(letters(), output, "dead letters of orders in sqlite:///orders.db", NOW)


def show_whole(output: Output) -> None:
    show_letters(letters(), output)


def show_stats(output: Output) -> None:
    show_counts(count_letters([*letters(), letter(9), letter(10)]), output, "dead letters of orders in x")


def show_replay(output: Output) -> None:
    ids = [each.id for each in letters()]
    made = rows.replay_rows(ids, None)
    print_rows(made, output, "letters of orders in x to be replayed", less_important=rows.LESS_IMPORTANT_OF_PLANS)


def show_in_place(output: Output) -> None:
    made = rows.in_place_for_people if output is Output.TABLE else rows.in_place_row
    outcomes = [Outcome.FAILED, Outcome.HELD_BACK, Outcome.GONE, Outcome.REPLAYED, Outcome.FAILED]
    attempted = [
        Attempted(each, outcome, each.error if outcome is Outcome.FAILED else None)
        for each, outcome in zip(letters(), outcomes, strict=True)
    ]
    show_outcomes([made(each) for each in attempted], Counter(outcomes), output)


COMMANDS: Mapping[str, Callable[[Output], None]] = {
    "list": show_lists,
    "show": show_whole,
    "stats": show_stats,
    "replay": show_replay,
    "in-place": show_in_place,
}


@pytest.mark.parametrize("columns", [80, 120, 240])
@pytest.mark.parametrize("command", COMMANDS)
def test_tables(
    command: str, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(printing, "WIDTH_IN_A_PIPE", columns)
    COMMANDS[command](Output.TABLE)
    out = capsys.readouterr().out
    if command != "show":
        assert max(len(line) for line in out.splitlines() if not line.startswith("left out")) <= columns
    assert "\x1b" not in out
    assert "\x9b" not in out
    same_as_golden(f"{command}-{columns}.txt", out, GOLDEN)


@pytest.mark.parametrize("output", [Output.JSON, Output.CSV])
@pytest.mark.parametrize("command", COMMANDS)
def test_for_programs(command: str, output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    COMMANDS[command](output)
    same_as_golden(f"{command}.{SUFFIX[output]}", capsys.readouterr().out, GOLDEN)


def test_no_golden_file_is_left_over() -> None:
    tables = {f"{command}-{columns}.txt" for command in COMMANDS for columns in (80, 120, 240)}
    for_programs = {f"{command}.{suffix}" for command in COMMANDS for suffix in ("json", "csv")}
    assert {path.name for path in GOLDEN.iterdir()} == tables | for_programs
