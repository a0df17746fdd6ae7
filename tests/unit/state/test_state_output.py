"""Golden outputs of the commands about state, on terminals of two widths, and for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kafka_stream.admin.state.kept import KeptState
from kafka_stream.cli import output as printing
from kafka_stream.cli.output import Output, print_rows
from kafka_stream.cli.state.describe import show_states
from kafka_stream.cli.state.rows import DESCRIBE_FIELDS, WINDOW_FIELDS, state_row, window_rows
from kafka_stream.cli.state.windows import show_windows
from kafka_stream.protocols import EventTime, LateRecords, OpenPane, StateDescription, StoredState, WindowsNow
from tests.fakes import ORDERS_0, ORDERS_1, ORDERS_2
from tests.unit.test_offsets_output import SUFFIX, same_as_golden

GOLDEN = Path(__file__).parent / "golden"
PAGE = Path(__file__).parents[3] / "docs" / "operating.md"
NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
NOON_US, SECOND_US = 1_769_860_800_000_000, 1_000_000

TOTALS = StateDescription("totals", "state", "shop.totals", ("shop", "page"), {"scope": "key"})
COUNTS = StateDescription("counts", "merge", "counts", ("page",), {"columns": {"total": "add"}})
ONCE = StateDescription("once", "seen", "kafka_stream_seen", ("key_hash",), {"within_us": 5})
VISITS = StateDescription(
    "visits",
    "windows",
    "visits",
    ("page",),
    {"window": "tumbling, 1 minute", "open": "visits_open", "late_records": "visits_late"},
)
STAYS = StateDescription("stays", "windows", "stays", ("page",), {"window": "sessions, 1 minute apart"})

KEPT = [
    KeptState(None, COUNTS, {"counts": 0}),
    KeptState(StoredState(ONCE, None, NOW), None, {"kafka_stream_seen": 12}),
    KeptState(StoredState(TOTALS, None, NOW, ("payments", "refunds")), TOTALS, {"shop.totals": 1_234_567}),
    KeptState(
        StoredState(VISITS, NOON_US, NOW),
        StateDescription("visits", "windows", "visits", ("page",), {"window": "tumbling, 5 minutes"}),
        {"visits": 120, "visits_open": 3, "visits_late": None},
    ),
]
WINDOWS = [
    (
        KEPT[3],
        WindowsNow(
            [
                EventTime(ORDERS_0, NOON_US + 90 * SECOND_US, NOON_US + 60 * SECOND_US, changed_at=NOW),
                EventTime(ORDERS_1, NOON_US + 70 * SECOND_US, NOON_US + 40 * SECOND_US, changed_at=NOW),
                EventTime(ORDERS_2, is_idle=True, changed_at=NOW),
            ],
            [OpenPane(NOON_US, 2), OpenPane(NOON_US + 60 * SECOND_US, 1)],
            17,
            [LateRecords(NOON_US - 60 * SECOND_US, NOON_US, 3)],
        ),
    ),
    (
        KeptState(StoredState(STAYS, None, NOW), None, {}),
        WindowsNow(
            [EventTime(ORDERS_0, NOON_US, NOON_US), EventTime(ORDERS_1)], [OpenPane(NOON_US, 5, NOON_US + 1)], 5, []
        ),
    ),
]


def _states(output: Output) -> None:
    show_states(KEPT, output, "state of orders in x", has_code=True)


def _windows(output: Output) -> None:
    show_windows(WINDOWS, output)


COMMANDS: Mapping[str, Callable[[Output], None]] = {"describe": _states, "windows": _windows}
WIDTHS = {"": 240, "-narrow": 80}


@pytest.mark.parametrize("output", list(Output))
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", COMMANDS)
def test_output(
    command: str, width: str, output: Output, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(printing, "WIDTH_IN_A_PIPE", WIDTHS[width])
    COMMANDS[command](output)
    name = f"{command}{width if output is Output.TABLE else ''}.{SUFFIX[output]}"
    same_as_golden(name, capsys.readouterr().out, GOLDEN)


def test_no_golden_file_is_left_over() -> None:
    used = {f"{command}{width}.txt" for command in COMMANDS for width in WIDTHS}
    used |= {f"{command}.{suffix}" for command in COMMANDS for suffix in ("json", "csv")}
    assert {path.name for path in GOLDEN.iterdir()} == used


@pytest.mark.parametrize(
    ("fields", "row"),
    [
        (DESCRIBE_FIELDS, state_row(KEPT[0], has_code=True)),
        (WINDOW_FIELDS, window_rows(*WINDOWS[0])[0]),
    ],
)
def test_csv_has_its_header_without_rows_and_the_page_names_every_field(
    fields: tuple[str, ...], row: Mapping[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tuple(row) == fields
    print_rows([], Output.CSV, fields=fields)
    assert capsys.readouterr().out == f"{','.join(fields)}\n"
    page = PAGE.read_text()
    assert [name for name in fields if f"`{name}`" not in page] == []
