"""Tables for people, JSON for programs."""

from __future__ import annotations

import enum
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


OutputOption = Annotated[
    Output, typer.Option(envvar="KAFKA_STREAM_OUTPUT", help="A table for people, or JSON for programs.")
]


def print_rows(rows: Sequence[Mapping[str, Any]], output: Output, title: str | None = None) -> None:
    """Print rows that all have the same keys, on stdout.

    ``None`` is ``null`` in JSON; in a table it is a dash, and a column without anything else is left out.
    """
    if output is Output.JSON:
        sys.stdout.write(json.dumps(rows, indent=2, default=str) + "\n")
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    on_terminal = sys.stdout.isatty()
    console = Console(width=None if on_terminal else WIDTH_IN_A_PIPE)
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    shown = [name for name in (rows[0] if rows else ()) if any(row[name] is not None for row in rows)]
    for name in shown:
        numeric = all(isinstance(row[name], int | None) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*("-" if row[name] is None else str(row[name]) for name in shown))
    console.print(table)


__all__ = ["Output", "OutputOption", "print_rows"]
