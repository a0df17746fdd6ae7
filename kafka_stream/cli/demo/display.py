"""What a person sees: a story that scrolls, and under it, on a terminal, a board that moves."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from rich.box import ROUNDED
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kafka_stream.running.stream_log import thousands

PLAIN_INTERVAL_S = 5.0
WIDEST = 100
ROOM = 4
"""Columns left free on the right: the terminal's own ^C must not wrap, which would move the board by a line."""


class Mark(enum.Enum):
    """What kind of thing happened: a sign and a colour."""

    START = ("●", "green")
    KILL = ("✖", "bold red")
    CHECK = ("✔", "green")
    CHANGE = ("⇄", "bold yellow")
    NOTE = ("·", "dim")
    WRONG = ("!", "bold red")


@dataclass(slots=True)
class Board:
    """The figures of the moment. ``rows`` and ``repeated`` are counted in the database."""

    kafka: str
    database: str
    to_produce: int
    kills_planned: int
    produced: int = 0
    rows: int = 0
    repeated: int = 0
    kills: int = 0
    service: str = "not started"
    started_at: float = field(default_factory=time.monotonic)

    def clock(self) -> str:
        """Minutes and seconds since the start."""
        seconds = int(time.monotonic() - self.started_at)
        return f"{seconds // 60}:{seconds % 60:02}"


class Display(Protocol):
    """Where the story is told."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""

    def say(self, mark: Mark, what: str, why: str = "") -> None:
        """One step of the story: what happened, and what it means."""

    def refresh(self) -> None:
        """The board has changed."""


class LiveDisplay:
    """For a terminal."""

    def __init__(self, console: Console, board: Board) -> None:
        self._console = console
        self._board = board
        self._live = Live(
            get_renderable=self._render, console=console, refresh_per_second=8, transient=True, vertical_overflow="crop"
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take the board away; the story stays."""
        self._live.stop()

    def say(self, mark: Mark, what: str, why: str = "") -> None:
        """A line of the story, above the board; the meaning is on a line of its own if there is one."""
        sign, style = mark.value
        line = Text.assemble((f"{self._board.clock():>5}  ", "dim"), (f"{sign} ", style), (what, style))
        self._console.print(line, soft_wrap=False, highlight=False)
        if why:
            grid = Table.grid()
            grid.add_column(width=9)
            grid.add_column()
            grid.add_row("", Text(why, style="default"))
            self._console.print(grid, highlight=False)

    def refresh(self) -> None:
        """Nothing: the board draws itself several times a second."""

    def _render(self) -> RenderableType:
        board = self._board
        bars = Table.grid(padding=(0, 1))
        bars.add_column(width=24, style="bold")
        bars.add_column(ratio=1)
        bars.add_column(justify="right", width=9)
        bars.expand = True
        total = max(1, board.to_produce)
        bars.add_row(
            "orders in Kafka",
            ProgressBar(total=total, completed=board.produced, complete_style="cyan", finished_style="cyan"),
            thousands(board.produced),
        )
        bars.add_row(
            "rows in the database",
            ProgressBar(total=total, completed=board.rows, complete_style="green", finished_style="green"),
            thousands(board.rows),
        )
        waiting = max(0, board.produced - board.rows)
        facts = Text.assemble(
            "killed ",
            (f"{board.kills} of {board.kills_planned}", "bold red" if board.kills else "bold"),
            "   repeated ",
            (str(board.repeated), "bold green" if not board.repeated else "bold red"),
            "   waiting in Kafka ",
            (thousands(waiting), "bold"),
        )
        state = Text.assemble("the service: ", (board.service, "bold"))
        return Panel(
            Group(bars, Text(), state, facts),
            title=f"[bold]{board.kafka} → orders service → {board.database}[/]",
            subtitle=f"[dim]{board.clock()}[/]",
            box=ROUNDED,
            border_style="blue",
            width=min(WIDEST, self._console.width - ROOM),
        )


class PlainDisplay:
    """For logs and CI: the same story in plain lines, with the figures every few seconds."""

    def __init__(self, console: Console, board: Board) -> None:
        self._console = console
        self._board = board
        self._refreshed_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """There is nothing to tidy up."""

    def say(self, mark: Mark, what: str, why: str = "") -> None:
        """One line: what happened and what it means."""
        self._print(f"{mark.value[0]} {what}{'. ' if why and not what.endswith('.') else ' ' if why else ''}{why}")

    def refresh(self) -> None:
        """The figures, now and then."""
        if time.monotonic() - self._refreshed_at < PLAIN_INTERVAL_S:
            return
        self._refreshed_at = time.monotonic()
        board = self._board
        self._print(
            f"  orders in Kafka {thousands(board.produced)}, rows in the database {thousands(board.rows)}, "
            f"repeated {board.repeated}, killed {board.kills} of {board.kills_planned}"
        )

    def _print(self, line: str) -> None:
        self._console.print(f"{self._board.clock():>5}  {line}", highlight=False, markup=False, soft_wrap=True)


def display_for(console: Console, board: Board) -> Display:
    """A live one on a terminal that can do it, plain lines elsewhere."""
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveDisplay(console, board)
    return PlainDisplay(console, board)


__all__ = ["Board", "Display", "LiveDisplay", "Mark", "PlainDisplay", "display_for"]
