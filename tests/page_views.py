"""Pages for tests: what a browser would make of them, and views with everything in them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

from kafka_stream.observe.page.model import (
    ActionView,
    BatchView,
    LettersView,
    Line,
    Note,
    PageView,
    PartitionView,
    StreamView,
    Tone,
)

NOW = datetime(2026, 1, 31, 10, 4, 12, tzinfo=UTC)
VOID = {"meta", "link", "br", "img", "input", "hr"}


def a_line(*values: float | None) -> Line:
    return tuple((NOW - timedelta(seconds=10 * (len(values) - n - 1)), value) for n, value in enumerate(values))


def a_stream(text: str = "orders", *, tone: Tone = Tone.WARNING) -> StreamView:
    """One of which everything is known; wherever a text is somebody else's it is this one."""
    rising = a_line(0, 10, None, 30, 20)
    return StreamView(
        text,
        "running",
        tone,
        facts=(("runs on", text), ("code", text)),
        lag=12_450,
        rate=1240.3,
        committed_at=NOW - timedelta(seconds=2),
        lag_line=rising,
        rate_line=rising,
        partitions=(
            PartitionView(text, 0, 1_204_331, 12_000, 312.4, rising, ("held",), text),
            PartitionView(text, 1, 7, None, None, a_line(None, None)),
        ),
        partitions_count=2,
        notes=(Note(f"{text}[0] held", text), Note(text, text, Tone.BAD)),
        batches=(BatchView(NOW, 2_000, (("prepare", 0.1), ("claim", 0.0), ("write", 0.2), ("commit", 0.02)), 2),),
        errors=(Note(text, text, Tone.WARNING, NOW - timedelta(minutes=3)),),
        history=(ActionView(NOW - timedelta(hours=3), "reset", text, text),),
        letters=(LettersView(text, 1, text, "waiting", 14, NOW),),
    )


def a_page(*streams: StreamView, text: str = "orders") -> PageView:
    return PageView(text, NOW, streams or (a_stream(text),), (Note(text, text, Tone.BAD),), (("status", "Status"),))


class Seen(HTMLParser):
    """What a parser makes of a page: its elements, in order, with their attributes' names, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, ...]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == [], self._open

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, *(name for name, _ in attrs)))
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, *(name for name, _ in attrs)))
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        self.elements.append((f"/{tag}",))
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())
