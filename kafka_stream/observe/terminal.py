"""Pure: from a page's model to what a terminal shows of it, as wide as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kafka_stream.admin.dead_letters.words import printable
from kafka_stream.admin.describe import duration
from kafka_stream.observe.page.model import Line, Note, PageView, PartitionView, StreamView, Tone
from kafka_stream.observe.page.words import ago, day, in_words, number, peak, sign

WIDE = 120
"""From so many columns on everything is shown."""
_NOTES, _PARTITIONS, _ERRORS = 6, 20, 3
_STYLES: Final = {Tone.GOOD: "green", Tone.QUIET: "dim", Tone.WARNING: "yellow", Tone.BAD: "bold red"}
_BLOCKS: Final = "▁▂▃▄▅▆▇█"


def frame(view: PageView, width: int) -> RenderableType:
    """All streams in a table, and below it what is known of each."""
    parts: list[RenderableType] = [
        _text((printable(view.title), "bold"), (f"  {day(view.at)} UTC", "dim")),
        *_notes(view.notes),
    ]
    if not view.streams:
        parts.append(_text(("There are no streams here.", "dim")))
    if len(view.streams) > 1:
        parts.append(_streams(view, width))
    for stream in view.streams:
        parts += [Text(), *_stream(stream, view, width)]
    return Group(*parts)


def spark(line: Line, width: int) -> str:
    """A line as blocks, one for each of ``width`` equal parts of it: the highest of what is in a part."""
    if not line:
        return ""
    highest = max(peak(line) or 0.0, 1.0)
    cells = [
        line[len(line) * n // width : max(len(line) * (n + 1) // width, len(line) * n // width + 1)]
        for n in range(width)
    ]
    return "".join(_block(peak(cell), highest) for cell in cells)


def _block(value: float | None, highest: float) -> str:
    return " " if value is None else _BLOCKS[min(int(value / highest * len(_BLOCKS)), len(_BLOCKS) - 1)]


def _streams(view: PageView, width: int) -> Table:
    table = _table("stream", "state", ">lag", ">rate", "last commit", *(("lag, last hour",) if width >= WIDE else ()))
    for each in view.streams:
        row = [
            Text(printable(each.name)),
            Text(f"{sign(each.tone)} {each.state}", _STYLES[each.tone]),
            Text(number(each.lag)),
            Text(_per_second(each.rate)),
            Text(ago(each.committed_at, view.at)),
        ]
        table.add_row(*row, *([Text(spark(each.lag_line, 40), "blue")] if width >= WIDE else []))
    return table


def _stream(stream: StreamView, view: PageView, width: int) -> Iterator[RenderableType]:
    state = (f"{sign(stream.tone)} {stream.state}", _STYLES[stream.tone])
    yield _text((printable(stream.name), "bold"), ("  ", ""), state)
    yield from _notes(stream.notes)
    facts = [("lag", number(stream.lag)), ("rate", f"{number(stream.rate)} {stream.rate_unit}/s")]
    facts += [("last commit", ago(stream.committed_at, view.at)), *stream.facts]
    pieces = [piece for name, value in facts for piece in ((f"{name} ", "dim"), (f"{printable(value)}  ", ""))]
    yield _text(*pieces)
    if stream.partitions:
        yield _partitions(stream, width)
    if stream.batches:
        last = stream.batches[0]
        took = f"{number(last.records)} records in {duration(last.duration_s)}: {in_words(last)}"
        yield _text(("last batch  ", "dim"), (took, ""))
    for error in (stream.errors or ())[:_ERRORS]:
        yield _note(error, f" {ago(error.at, view.at)}")
    if stream.letters:
        counted = sum(each.letters for each in stream.letters)
        yield _text(("dead letters  ", "dim"), (number(counted), ""))
    for action in (stream.history or ())[:_ERRORS]:
        told = f"{day(action.at)}  {action.kind} of {printable(action.where)}, by {printable(action.actor)}"
        yield _text((told, "dim"))


def _partitions(stream: StreamView, width: int) -> Table:
    wide = width >= WIDE
    table = _table("partition", ">lag", ">rate", "lag, last hour", *((">next offset", "owner") if wide else ()), "")
    first = _most_urgent(stream.partitions)
    for each in first:
        row = [
            Text(printable(f"{each.topic}[{each.partition}]")),
            Text(number(each.lag)),
            Text(_per_second(each.rate)),
            Text(spark(each.lag_line, 48 if wide else 16), "blue"),
        ]
        if wide:
            row += [Text(number(each.next_offset)), Text(printable(each.owner or "-"))]
        table.add_row(*row, Text(", ".join(each.marks), "yellow"))
    if (left := stream.partitions_count - len(first)) > 0:
        table.caption = Text(f"and {number(left)} more, which lag less", "dim")
        table.caption_justify = "left"
    return table


def _most_urgent(partitions: Sequence[PartitionView]) -> Sequence[PartitionView]:
    if len(partitions) <= _PARTITIONS:
        return partitions
    first = sorted(partitions, key=lambda it: (not it.marks, -(it.lag or 0)))[:_PARTITIONS]
    return sorted(first, key=lambda it: (it.topic, it.partition))


def _notes(notes: Sequence[Note]) -> Iterator[Text]:
    yield from (_note(note) for note in notes[:_NOTES])
    if len(notes) > _NOTES:
        yield _text((f"  and {len(notes) - _NOTES} more", "dim"))


def _note(note: Note, more: str = "") -> Text:
    about = (f"{sign(note.tone)} {printable(note.about)}  ", _STYLES[note.tone])
    return _text(about, (printable(note.sentence), ""), (more, "dim"))


def _text(*pieces: tuple[str, str]) -> Text:
    return Text.assemble(*pieces, overflow="fold")


def _table(*names: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        shown = name.removeprefix(">")
        table.add_column(shown, justify="right" if shown != name else "left", overflow="fold", header_style="dim")
    return table


def _per_second(rate: float | None) -> str:
    return "-" if rate is None else f"{number(rate)}/s"


__all__ = ["WIDE", "frame", "spark"]
