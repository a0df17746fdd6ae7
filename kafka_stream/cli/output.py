"""Tables for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import enum
import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kafka_stream.cli.exit_status import say_unwritten

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH_IN_A_PIPE = 240
_WIDEST = 100_000


class Output(enum.StrEnum):
    """How a command prints what it found."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


OutputOption = Annotated[
    Output, typer.Option(envvar="KAFKA_STREAM_OUTPUT", help="A table for people, JSON or CSV for programs.")
]


def with_streams() -> None:
    """Have somewhere to write to, and no character that cannot be written: a shell may have closed what it gives us."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the process ends
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def was_written() -> bool:
    """Whether all that was printed has arrived; says so if it has not (a full disk, a reader that has left)."""
    try:
        sys.stdout.flush()
    except OSError as error:
        say_unwritten(error)
        return False
    return True


def print_rows(
    rows: Sequence[Mapping[str, Any]],
    output: Output,
    title: str | None = None,
    *,
    fields: Sequence[str] = (),
    less_important: Sequence[str] = (),
) -> None:
    """Print rows that all have the same keys, on stdout.

    ``None`` is ``null`` in JSON and nothing in CSV; in a table it is a dash, and a column without anything else is
    left out. A list is joined but in JSON. ``fields`` are the keys where there may be no row, for the header of CSV;
    ``less_important`` are those that a table leaves out, the first one first, while it is wider than the terminal.
    """
    if output is Output.JSON:
        sys.stdout.write(json.dumps(rows, indent=2, default=str) + "\n")
    elif output is Output.CSV:
        _print_csv(rows, fields)
    else:
        _print_table(rows, title, less_important)


def _print_csv(rows: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> None:
    header = list(rows[0]) if rows else fields
    if not header:
        return
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_text(value, "", "; ") for value in row.values()] for row in rows)


def _print_table(rows: Sequence[Mapping[str, Any]], title: str | None, less_important: Sequence[str]) -> None:
    from rich.console import Console

    on_terminal = sys.stdout.isatty()
    console = Console() if on_terminal else Console(file=io.StringIO(), width=WIDTH_IN_A_PIPE)
    shown = [name for name in (rows[0] if rows else ()) if any(row[name] is not None for row in rows)]
    left_out = []
    for name in less_important:
        if _width(_table(rows, shown), console) <= console.width:
            break
        if name in shown:
            shown.remove(name)
            left_out.append(name.replace("_", " "))
    if title is not None:
        console.print(title, style="bold", markup=False, highlight=False, soft_wrap=True)
    console.print(_table(rows, shown))
    if isinstance(console.file, io.StringIO):
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines()))
    if left_out:
        sys.stdout.write(f"left out, since the terminal is narrow: {', '.join(left_out)}\n")


def _table(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in names:
        numeric = all(isinstance(row[name], int | None) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(_text(row[name], "-", ", ")) for name in names))
    return table


def _width(table: Table, console: Console) -> int:
    """How wide it is if nothing is folded."""
    from rich.measure import Measurement

    return Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum


def _text(value: Any, nothing: str, between: str) -> str:
    if value is None:
        return nothing
    return between.join(map(str, value)) if isinstance(value, list | tuple) else str(value)


__all__ = ["Output", "OutputOption", "print_rows", "was_written", "with_streams"]
