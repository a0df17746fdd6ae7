"""What is on the page: everything that is known, read by people, by screen readers and by a parser."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from kafka_stream.observe.page.model import Note, PageView, StreamView, Tone
from kafka_stream.observe.page.render import HEADERS, login, page
from kafka_stream.observe.page.words import number
from tests.page_views import NOW, Seen, a_page, a_stream


@pytest.fixture
def seen() -> Seen:
    failed = StreamView("payments", "failed", Tone.BAD, batches=(), errors=(), history=(), letters=())
    return Seen(page(a_page(a_stream(), failed)))


@pytest.mark.parametrize(
    "what",
    [
        "State, lag and rate of each stream",
        "12,450 offsets",
        "1,240 records/s",
        "▲ running",
        "✕ failed",
        "▲ held",
        "312/s",
        "1,204,331",
        "320 ms (2 tries)",
        "· 3 min ago",
        "reset by orders",
        "waiting",
        "Nothing here changes a stream.",
        "None was committed yet.",
        "None since its start.",
        "There are none.",
        "None, as far back as the store remembers.",
        "It owns none now.",
    ],
)
def test_what_is_known_is_there(seen: Seen, what: str) -> None:
    assert what in seen.text


def test_what_is_not_known_is_not_there() -> None:
    found = Seen(page(PageView("s", NOW, (StreamView("s", "owned", Tone.GOOD),)))).text
    for heading in ("Recent batches", "Errors", "Dead letters", "Resets", "All streams"):
        assert heading not in found


def test_a_page_without_streams() -> None:
    assert "There are no streams here." in Seen(page(PageView("s", NOW, ()))).text


def test_the_document_is_one_that_screen_readers_understand(seen: Seen) -> None:
    tags = [tag for tag, *_ in seen.elements]
    for landmark in ("header", "main", "footer", "nav", "title"):
        assert tags.count(landmark) == 1, landmark
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    assert ("html", "lang", "en") in seen.attributes
    assert tags.count("caption") == tags.count("table") > 0
    assert all("scope" in names for tag, *names in seen.elements if tag == "th")
    assert all("aria-label" in names for tag, *names in seen.elements if tag == "svg")
    ids = [value for _, name, value in seen.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    pointed_at = [value for _, name, value in seen.attributes if name == "aria-labelledby"]
    assert set(pointed_at) <= set(ids)
    inside = {value[1:] for _, name, value in seen.attributes if name == "href" and value.startswith("#")}
    assert inside <= set(ids)


def test_nothing_comes_from_elsewhere(seen: Seen) -> None:
    html = page(a_page())
    assert "//" not in re.sub(r"\bhttp-equiv\b", "", html.replace("</", "<"))
    assert not {tag for tag, *_ in seen.elements} & {"script", "link", "img", "iframe", "object", "base"}
    assert not [name for _, name, _ in seen.attributes if name.startswith("on") or name == "style"]


@pytest.mark.parametrize("html", [page(a_page()), login(refused=False), login(refused=True)])
def test_a_browser_takes_the_style_and_nothing_else(html: str) -> None:
    found = re.search("<style>(.*)</style>", html, re.DOTALL)
    assert found is not None
    of_style = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
    policy = dict(each.strip().split(" ", 1) for each in HEADERS["Content-Security-Policy"].split(";"))
    assert policy["style-src"] == f"'sha256-{of_style}'"
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"


def test_it_loads_itself_anew_unless_it_is_not_to() -> None:
    assert '<meta http-equiv="refresh" content="10">' in page(a_page())
    still = page(a_page(), refresh_s=None)
    assert "http-equiv" not in still
    assert "Stands still." in Seen(still).text


def test_many_notes_and_many_partitions_are_cut() -> None:
    stream = a_stream()
    many = replace(stream, notes=tuple(Note(f"orders[{n}]", "is late") for n in range(25)), partitions_count=1_200)
    found = Seen(page(a_page(many))).text
    assert "orders[19]" in found
    assert "orders[20]" not in found
    assert "and 5 more" in found
    assert "The 2 of 1,200 partitions that lag most" in found


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (0, "0"),
        (0.0, "0"),
        (7, "7"),
        (0.012, "0.012"),
        (1.25, "1.2"),
        (123.6, "124"),
        (1_234_567, "1,234,567"),
        (float("inf"), "-"),
    ],
)
def test_numbers_for_people(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_a_stream_that_has_not_begun() -> None:
    young = replace(a_stream(), lag_line=a_stream().lag_line[:1], rate_line=(), committed_at=None)
    found = Seen(page(a_page(young)))
    assert "Last commit never" in found.text
    assert not [names for tag, *names in found.elements if tag == "figure"]


def test_a_clock_that_has_gone_back() -> None:
    ahead = replace(a_stream(), committed_at=NOW + timedelta(seconds=5))
    assert "Last commit just now" in Seen(page(a_page(ahead))).text
