"""Pure: from a model to HTML. One document, which needs nothing else: no script, no file, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from kafka_stream.admin.describe import duration
from kafka_stream.observe.page.charts import bar, line_chart
from kafka_stream.observe.page.model import BatchView, Line, PageView, StreamView, Tone

REFRESH_S = 10
_SIGNS: Final = {Tone.GOOD: "●", Tone.QUIET: "○", Tone.WARNING: "▲", Tone.BAD: "✕"}


def page(view: PageView, *, refresh_s: int | None = REFRESH_S) -> str:
    """The page; it loads itself anew after ``refresh_s``, where that is given."""
    return _ENVIRONMENT.get_template("page.html").render(view=view, refresh_s=refresh_s)


def login(refused: bool) -> str:
    """A form for a token; ``refused`` after a wrong one."""
    return _ENVIRONMENT.get_template("login.html").render(refused=refused)


def number(value: float | None) -> str:
    """For people: three digits of what is small, whole ones of what is not; a dash for what is not known."""
    if value is None or not math.isfinite(value):
        return "-"
    if isinstance(value, int) or abs(value) >= 100 or value == 0:
        return f"{round(value):,}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


def moment(at: datetime | None) -> str:
    """The time of day, in UTC."""
    return "-" if at is None else at.astimezone(UTC).strftime("%H:%M:%S")


def day(at: datetime) -> str:
    """The same with its date."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago it was."""
    if at is None:
        return "never"
    seconds = (now - at).total_seconds()
    return "just now" if seconds < 1 else f"{duration(seconds)} ago"


def span(line: Line) -> str:
    """How long it lasts."""
    return duration((line[-1][0] - line[0][0]).total_seconds()) if len(line) > 1 else "0 s"


def peak(line: Line) -> float | None:
    """The highest of its values."""
    return max((value for _, value in line if value is not None), default=None)


def longest(stream: StreamView) -> float:
    """Of the batches that are shown."""
    return max((batch.duration_s for batch in stream.batches or ()), default=0.0)


def in_words(batch: BatchView) -> str:
    """A batch's phases."""
    return ", ".join(f"{name} {duration(seconds)}" for name, seconds in batch.phases)


def sign(tone: Tone) -> str:
    """A shape for it, for those who do not tell its colour."""
    return _SIGNS[tone]


_ENVIRONMENT: Final = Environment(
    loader=PackageLoader("kafka_stream.observe.page", "."),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.globals.update(line_chart=line_chart, bar=bar)
_ENVIRONMENT.filters.update(
    ago=ago,
    day=day,
    duration=duration,
    in_words=in_words,
    longest=longest,
    moment=moment,
    number=number,
    peak=peak,
    sign=sign,
    span=span,
)


def _hash_of_style() -> str:
    style = _ENVIRONMENT.get_template("page.css").render()
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_hash_of_style()}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""What a browser has to be told beside the page: that nothing else belongs to it, and that nobody keeps it."""

__all__ = [
    "HEADERS",
    "REFRESH_S",
    "ago",
    "day",
    "in_words",
    "login",
    "moment",
    "number",
    "page",
    "peak",
    "sign",
    "span",
]
