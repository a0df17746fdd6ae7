"""Golden outputs of the commands on offsets: what people and programs read must not change by accident.

A file of ``golden`` is one command's output. To accept a change, delete the file and run the test: it writes what it
got, and fails once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kafka_stream.admin.describe import Log, Observation, RecordTimes, described
from kafka_stream.admin.offsets_file import ExportedPosition, to_csv, to_json
from kafka_stream.admin.reset_plan import Log as ResetLog
from kafka_stream.admin.reset_plan import ToOffset, plan_reset
from kafka_stream.cli.offsets import rows
from kafka_stream.cli.offsets.describe import View
from kafka_stream.cli.offsets.reset import show_plan
from kafka_stream.cli.offsets.state import StateInReset, say_warning
from kafka_stream.cli.output import Output, print_rows
from kafka_stream.protocols import Action, ActionKind, HistoryEntry, TopicInfo
from kafka_stream.types import Owner, PlanKind, PositionState, StoredPosition, TopicPartition

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
OWNER = Owner("0123456789abcdef0123456789abcdef", "host-1", "v7")
SUFFIX = {Output.TABLE: "txt", Output.JSON: "json", Output.CSV: "csv"}
A, B, C, D = (TopicPartition("orders", number) for number in range(4))
RATES = TopicPartition("rates", 0)


def stored(next_offset: int, **more: object) -> StoredPosition:
    own: dict[str, object] = {
        "owner_epoch": 3,
        "owner": OWNER,
        "leader_epoch": 2,
        "topic_id": "AAAAAAAAQACAAAAAAAAAAQ",
        "changed_at": NOW - timedelta(minutes=2),
    }
    return StoredPosition(next_offset, **{**own, **more})  # type: ignore[arg-type]


POSITIONS: Mapping[TopicPartition, StoredPosition] = {
    A: stored(90),
    B: stored(2**62, planned_until=2**62 + 50, plan_kind=PlanKind.RANGE),
    C: stored(10),
    D: stored(100, owner=None, changed_at=None),
    RATES: stored(5, topic_id="old", state=PositionState.CLOSED, state_reason="migrated to [b]zookeeper[/b]"),
}
OBSERVATION = Observation(
    topics={"orders": TopicInfo(5, "AAAAAAAAQACAAAAAAAAAAQ"), "rates": TopicInfo(1, "new")},
    logs={
        A: Log(0, 100, 100),
        B: Log(0, 2**62 + 7, 2**62 + 7),
        C: Log(50, 100, 120),
        D: Log(0, 100, 120),
        RATES: Log(0, 3, 3),
    },
    times=RecordTimes(
        next_records={A: NOW - timedelta(seconds=75), B: None, C: NOW - timedelta(milliseconds=250)},
        pinning={C: NOW - timedelta(days=2), D: NOW - timedelta(days=2)},
    ),
)


def history() -> list[HistoryEntry]:
    batch = Action("b" * 32, ActionKind.BATCH, str(OWNER))
    reset = Action("a" * 32, ActionKind.RESET, "ada@desk")
    return [
        HistoryEntry(NOW, batch, A, 40, 90, records=45, duration_s=0.0123456, code_version="v7"),
        HistoryEntry(NOW - timedelta(hours=1), reset, A, 90, 40, cleared={"totals": 120, "visits": 0}),
        HistoryEntry(NOW - timedelta(hours=1), reset, B, None, 0, cleared={"totals": 120, "visits": 0}),
    ]


def show_describe(output: Output) -> None:
    View("orders in sqlite:///orders.db", described(POSITIONS, OBSERVATION, NOW), (), NOW).show(output)


def show_describe_without_brokers(output: Output) -> None:
    View("orders in sqlite:///orders.db", described({D: POSITIONS[D]}, None, NOW), (), NOW).show(output)


def show_streams(output: Output) -> None:
    found = {"orders": POSITIONS, "rates": {RATES: stored(1, owner=None)}}
    streams = {name: described(at, OBSERVATION, NOW) for name, at in found.items()}
    for_people = [rows.stream_for_people(name, each, NOW) for name, each in streams.items()]
    for_programs = [rows.stream_row(name, each) for name, each in streams.items()]
    print_rows(for_people if output is Output.TABLE else for_programs, output, "streams in x")


def show_reset(output: Output) -> None:
    logs = {A: ResetLog(0, 100, 100), B: ResetLog(0, 10, 10), C: ResetLog(50, 100, 120), D: ResetLog(0, 9, 9)}
    plan = plan_reset(ToOffset(20), logs, {A: stored(90), B: stored(3), C: stored(60), D: POSITIONS[B]})
    state = StateInReset(not_rewound={"totals": 120, "visits": 1})
    if output is Output.TABLE:
        show_plan(plan, "plan for orders in x")
        for warning in state.warnings():
            say_warning(warning, output)
    else:
        print_rows([{**rows.reset_row(partition), **state.row()} for partition in plan.partitions], output)


def show_history(output: Output) -> None:
    for_people, for_programs = (
        [rows.history_for_people(e, NOW) for e in history()],
        list(map(rows.history_row, history())),
    )
    print_rows(for_people if output is Output.TABLE else for_programs, output, "history of orders in x")


def show_moves(output: Output) -> None:
    print_rows([rows.move_row(A, 90, 40), rows.move_row(B, None, 2**63 - 1)], output, "plan for orders in x")


def show_last_known(output: Output) -> None:
    for_people = [rows.last_known_for_people(tp, POSITIONS[tp], NOW) for tp in (A, D)]
    for_programs = [rows.last_known_row(tp, POSITIONS[tp]) for tp in (A, D)]
    print_rows(for_people if output is Output.TABLE else for_programs, output, "history of orders in x")


COMMANDS: Mapping[str, Callable[[Output], None]] = {
    "describe": show_describe,
    "describe-without-brokers": show_describe_without_brokers,
    "history": show_history,
    "history-of-kafka": show_last_known,
    "moves": show_moves,
    "reset": show_reset,
    "streams": show_streams,
}


def same_as_golden(name: str, got: str, folder: Path = GOLDEN) -> None:
    path = folder / name
    if not path.exists():
        path.write_text(got, encoding="utf-8")
        pytest.fail(f"{name} did not exist; it was written, look at it")
    assert got == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("output", list(Output))
@pytest.mark.parametrize("command", COMMANDS)
def test_output(command: str, output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    COMMANDS[command](output)
    same_as_golden(f"{command}.{SUFFIX[output]}", capsys.readouterr().out)


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_export(suffix: str) -> None:
    exported = {tp: ExportedPosition.of(position) for tp, position in POSITIONS.items()}
    as_csv = to_csv({tp: position.next_offset for tp, position in exported.items()})
    same_as_golden(f"export.{suffix}", to_json("orders", exported) if suffix == "json" else as_csv)


def test_no_golden_file_is_left_over() -> None:
    used = {f"{command}.{suffix}" for command in COMMANDS for suffix in SUFFIX.values()} | {"export.json", "export.csv"}
    assert {path.name for path in GOLDEN.iterdir()} == used


@pytest.mark.parametrize("output", list(Output))
def test_no_rows_are_no_mistake(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([], output)
    assert capsys.readouterr().out.strip() == ("[]" if output is Output.JSON else "")


def test_partitions_that_are_new_are_warned_of_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    View("orders in x", described({A: POSITIONS[A]}, None, NOW), [B, C], NOW).show(Output.JSON)
    told = capsys.readouterr()
    assert told.err == "warning: orders[1], orders[2]: not taken over yet; reading begins at offset 0\n"
    assert "not taken over" not in told.out


PLANNED = plan_reset(ToOffset(1), {A: ResetLog(0, 9, 9)}, {}).partitions[0]
FIELDS: Mapping[str, tuple[tuple[str, ...], rows.Row]] = {
    "describe": (rows.PARTITION_FIELDS, rows.partition_row(described(POSITIONS, None, NOW)[0])),
    "streams": (rows.STREAM_FIELDS, rows.stream_row("orders", described(POSITIONS, None, NOW))),
    "reset": (rows.RESET_FIELDS, {**rows.reset_row(PLANNED), **StateInReset().row()}),
    "import, migrate, undo": (rows.MOVE_FIELDS, rows.move_row(A, 1, 2)),
    "history": (rows.HISTORY_FIELDS, rows.history_row(history()[0])),
    "history without one": (rows.LAST_KNOWN_FIELDS, rows.last_known_row(A, POSITIONS[A])),
}


@pytest.mark.parametrize("command", FIELDS)
def test_csv_has_its_header_without_rows_and_the_page_names_every_field(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fields, row = FIELDS[command]
    assert tuple(row) == fields
    print_rows([], Output.CSV, fields=fields)
    assert capsys.readouterr().out == f"{','.join(fields)}\n"
    page = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
    assert [name for name in fields if f"`{name}`" not in page] == []
