"""The first and the last words of the demo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.box import ROUNDED, SIMPLE
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from kafka_stream.cli.demo.ledger import Verdict
from kafka_stream.cli.demo.show import Outcome
from kafka_stream.running.stream_log import thousands


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look afterwards."""

    store_url: str
    stream: str
    table: str
    sqlite_file: str | None


def print_intro(console: Console, kills: int, *, database: str) -> None:
    """What is going to happen."""
    console.print()
    console.print("[bold]kafka-stream demo[/]")
    console.print(
        f"A producer writes orders to Kafka; a small Python service stores them in {database}. The service will be "
        f"killed {kills} times with [bold red]kill -9[/], in the middle of its work, and then replaced by new code "
        "while it runs. [bold]Every order must be in the table once: not lost, not repeated.[/]"
    )
    console.print()


def print_outcome(console: Console, outcome: Outcome, places: Places) -> None:
    """What was counted, what was survived, and where to go next."""
    verdict = outcome.verdict
    console.print()
    console.print(_kills(outcome))
    console.print(_counts(verdict))
    console.print(_conclusion(outcome))
    console.print()
    for what, how in _next_steps(places):
        console.print(Text.assemble((f"{what:<16}", "bold"), how), soft_wrap=True)


def _kills(outcome: Outcome) -> Table:
    table = Table(box=SIMPLE, pad_edge=False, show_edge=False, title="kill -9", title_justify="left")
    table.title_style = "bold"
    table.add_column("", style="red")
    table.add_column("version", justify="right")
    table.add_column("where it hit")
    for number, kill in enumerate(outcome.kills, 1):
        table.add_row(str(number), str(kill.version), kill.where())
    return table


def _counts(verdict: Verdict) -> Table:
    table = Table(box=ROUNDED, title="Counted in the database, by SQL", title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("orders", justify="right")
    table.add_column("sum of amounts", justify="right")
    table.add_row("produced (acknowledged by Kafka)", thousands(verdict.produced), _money(verdict.cents_produced))
    table.add_row("stored (rows in the table)", thousands(verdict.stored), _money(verdict.cents_stored))
    for name, count in verdict.stored_by.items():
        table.add_row(f"  [dim]by {name}[/]", f"[dim]{thousands(count)}[/]", "")
    table.add_section()
    table.add_row("lost", _none_is_good(verdict.lost), "")
    table.add_row("repeated", _none_is_good(verdict.repeated), "")
    if verdict.unknown:
        table.add_row("never produced", _none_is_good(verdict.unknown), "")
    return table


def _conclusion(outcome: Outcome) -> Panel:
    if not outcome.verdict.is_right:
        text = Text("The table is not right. This must not happen: please report it with this output.", "bold red")
        return Panel(text, box=ROUNDED, border_style="red", expand=False)
    text = Text.assemble(
        ("✔ Every order is there once", "bold green"),
        f", through {len(outcome.kills)} kills and a change of code.\n"
        "Each batch's rows and its offsets commit in one transaction of the database:\n"
        "whatever moment the process dies at, both are stored or neither is.\n",
        (f"{thousands(outcome.batches)} batches in {outcome.duration_s:.0f} s", "dim"),
    )
    return Panel(text, box=ROUNDED, border_style="green", expand=False)


def _next_steps(places: Places) -> tuple[tuple[str, str], ...]:
    """What to look at, and a line to copy; never folded."""
    select = f"SELECT * FROM {places.table} ORDER BY order_id DESC LIMIT 5"
    if places.sqlite_file is not None:
        rows = f'sqlite3 {places.sqlite_file} "{select}"'
    else:
        rows = f"{select};  -- when done: DROP TABLE {places.table}, {places.table}_acknowledged"
    return (
        ("the rows", rows),
        ("the offsets", f"kafka-stream offsets describe --store {places.store_url} --stream {places.stream}"),
        (
            "the service",
            f"{_path(Path(__file__).with_name('service_v1.py'))} and service_v2.py beside it",
        ),
        ("on your servers", "kafka-stream demo --bootstrap-servers localhost:9092 --store postgresql://localhost/test"),
        ("your own", "the README has an example of 15 lines, examples/ has more"),
    )


def _path(path: Path) -> str:
    """Relative to here, if it is below."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _none_is_good(count: int) -> Text:
    return Text(thousands(count), "bold green" if count == 0 else "bold red")


def _money(cents: int) -> str:
    return f"{thousands(cents // 100)}.{cents % 100:02}"


__all__ = ["Places", "print_intro", "print_outcome"]
