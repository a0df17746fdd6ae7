"""The page as an answer to a browser, and what the one of a process shows: its streams, by their own status."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from kafka_stream.observe.page.looking import StoreLooks
from kafka_stream.observe.page.model import PageView, StreamView, Tone
from kafka_stream.observe.page.of_status import stream_view
from kafka_stream.observe.page.render import HEADERS, REFRESH_S, page
from kafka_stream.observe.page.watching import StreamWatch
from kafka_stream.progress import StreamStatus

_LINKS = (("status", "Status as JSON"), ("metrics", "Metrics"), ("live", "Live?"), ("ready", "Ready?"))


class Watched(Protocol):
    """A ``DirectStream``, as far as it is looked at."""

    @property
    def name(self) -> str:
        """The stream's."""

    def status(self) -> StreamStatus:
        """A snapshot, without I/O."""


def process_view(
    streams: Sequence[Watched], watches: Iterable[StreamWatch], looks: StoreLooks | None, stuck_after_s: float
) -> PageView:
    """The streams of this process, now; no server is asked."""
    now = datetime.now(UTC)
    by_name = {watch.stream: watch for watch in watches}
    beside = {view.name: view for view in looks.views()} if looks is not None else {}
    views = [
        _with_store(stream_view(each.name, each.status(), by_name.get(each.name), now, stuck_after_s), beside)
        for each in streams
    ]
    notes = () if looks is None else tuple(note for note in looks.notes() if note.tone is not Tone.QUIET)
    title = streams[0].name if len(streams) == 1 else f"{len(streams)} streams"
    return PageView(title, now, tuple(views), notes, _LINKS)


def _with_store(view: StreamView, beside: dict[str, StreamView]) -> StreamView:
    found = beside.get(view.name)
    return view if found is None else replace(view, history=found.history, letters=found.letters)


def answering(view: Callable[[], PageView]) -> Callable[[Request], Response]:
    """What answers a browser that asks for the page; with ``?refresh=off`` it does not load itself anew."""

    def answer(request: Request) -> Response:
        refresh_s = None if request.query_params.get("refresh") == "off" else REFRESH_S
        return HTMLResponse(page(view(), refresh_s=refresh_s), headers=dict(HEADERS))

    return answer


__all__ = ["Watched", "answering", "process_view"]
