"""Tables for people, JSON for programs."""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer


class Output(enum.StrEnum):
    """How a command prints what it found."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[
    Output, typer.Option(envvar="KAFKA_STREAM_OUTPUT", help="A table for people, or JSON for programs.")
]


def print_rows(rows: Sequence[Mapping[str, Any]], output: Output, title: str | None = None) -> None:
    """Print rows that all have the same keys, on stdout. ``None`` is shown as a dash, and is ``null`` in JSON."""
    if output is Output.JSON:
        sys.stdout.write(json.dumps(rows, indent=2, default=str) + "\n")
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=not sys.stdout.isatty())
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for name in rows[0] if rows else ():
        numeric = all(isinstance(row[name], int | None) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*("-" if value is None else str(value) for value in row.values()))
    console.print(table, width=None if sys.stdout.isatty() else 200)


__all__ = ["Output", "OutputOption", "print_rows"]
