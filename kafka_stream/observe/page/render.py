"""Pure: from a model to HTML. One document, which needs nothing else: no script, no file, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from kafka_stream.admin.describe import duration
from kafka_stream.observe.page.charts import bar, line_chart
from kafka_stream.observe.page.model import PageView
from kafka_stream.observe.page.words import ago, day, in_words, longest, moment, number, peak, sign, span

REFRESH_S = 10


def page(view: PageView, *, refresh_s: int | None = REFRESH_S) -> str:
    """The page; it loads itself anew after ``refresh_s``, where that is given."""
    return _ENVIRONMENT.get_template("page.html").render(view=view, refresh_s=refresh_s)


def login(refused: bool) -> str:
    """A form for a token; ``refused`` after a wrong one."""
    return _ENVIRONMENT.get_template("login.html").render(refused=refused)


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

__all__ = ["HEADERS", "REFRESH_S", "login", "page"]
