"""Tables for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import enum
import io
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

WIDTH_IN_A_PIPE = 240


class Output(enum.StrEnum):
    """How a command prints what it found."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


OutputOption = Annotated[
    Output, typer.Option(envvar="KAFKA_STREAM_OUTPUT", help="A table for people, JSON or CSV for programs.")
]


def print_rows(rows: Sequence[Mapping[str, Any]], output: Output, title: str | None = None) -> None:
    """Print rows that all have the same keys, on stdout.

    ``None`` is ``null`` in JSON and nothing in CSV; in a table it is a dash, and a column without anything else is
    left out. A list is joined but in JSON.
    """
    if output is Output.JSON:
        sys.stdout.write(json.dumps(rows, indent=2, default=str) + "\n")
    elif output is Output.CSV:
        _print_csv(rows)
    else:
        _print_table(rows, title)


def _print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([_text(value, "", "; ") for value in row.values()] for row in rows)


def _print_table(rows: Sequence[Mapping[str, Any]], title: str | None) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    on_terminal = sys.stdout.isatty()
    console = Console() if on_terminal else Console(file=io.StringIO(), width=WIDTH_IN_A_PIPE)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    shown = [name for name in (rows[0] if rows else ()) if any(row[name] is not None for row in rows)]
    for name in shown:
        numeric = all(isinstance(row[name], int | None) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(_text(row[name], "-", ", ")) for name in shown))
    if title is not None:
        console.print(title, style="bold", markup=False, highlight=False, soft_wrap=True)
    console.print(table)
    if isinstance(console.file, io.StringIO):
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines()))


def _text(value: Any, nothing: str, between: str) -> str:
    if value is None:
        return nothing
    return between.join(map(str, value)) if isinstance(value, list | tuple) else str(value)


__all__ = ["Output", "OutputOption", "print_rows"]
