"""``kafka-stream state`` and ``windows``: what sinks keep between batches, and how far windows have come."""

from __future__ import annotations

import typer

from kafka_stream.cli.state import describe, show
from kafka_stream.cli.state.windows import windows

state = typer.Typer(no_args_is_help=True, help="What sinks keep between batches: which tables, and the rows of a key.")
_ORDERS = "--store sqlite:///orders.db --stream orders"


def _example(command: str) -> str:
    return f"Example: kafka-stream state {command}"


state.command(epilog=_example(f"describe {_ORDERS}"))(describe.describe)
state.command(epilog=_example(f"show {_ORDERS} --state totals ada 'mary,2026-01-31'"))(show.show)

__all__ = ["state", "windows"]
