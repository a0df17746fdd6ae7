"""Who is shown the page of a store, and the command that serves it."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_stream.errors import ConfigurationError
from kafka_stream.observe.http import served
from kafka_stream.observe.page.looking import StoreLooks
from kafka_stream.observe.ui import refuse_to_be_open, ui
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import AdministeredStore
from kafka_stream.testing import MemoryOffsetStore
from tests.admin_fakes import started
from tests.command_line import Invoke, one_sentence
from tests.page_views import Seen

TOKEN = "correct horse battery staple"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    text: str


class Browser:
    """Asks one server."""

    def __init__(self, where: str) -> None:
        self._where = urlsplit(where)

    def ask(self, path: str = "/", body: str | None = None, **headers: str) -> Answer:
        assert self._where.hostname is not None
        connection = http.client.HTTPConnection(self._where.hostname, self._where.port, timeout=30)
        try:
            connection.request("GET" if body is None else "POST", path, body, {**headers, **(FORM if body else {})})
            found = connection.getresponse()
            return Answer(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read().decode())
        finally:
            connection.close()


@contextmanager
def _browser(token: str | None) -> Iterator[Browser]:
    looks = StoreLooks(started(MemoryOffsetStore()))
    looks.look()
    with served(ui(looks, "memory", token), "127.0.0.1:0") as where:
        yield Browser(where)


@pytest.fixture(scope="module")
def locked() -> Iterator[Browser]:
    with _browser(TOKEN) as browser:
        yield browser


@pytest.fixture(scope="module")
def loopback() -> Iterator[Browser]:
    with _browser(None) as browser:
        yield browser


def test_without_a_token_this_machine_is_answered(loopback: Browser) -> None:
    found = loopback.ask()
    assert found.status == 200
    assert "orders ○ not running" in Seen(found.text).text
    assert found.headers["content-security-policy"].startswith("default-src 'none'")
    assert loopback.ask("/login", "token=x").status == 404
    assert loopback.ask(Host="localhost:8080").status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "[::2]"])
def test_a_site_that_has_its_name_point_here_is_not_answered(loopback: Browser, host: str) -> None:
    found = loopback.ask(Host=host)
    assert found.status == 421
    assert "orders" not in found.text


def _is_locked(answer: Answer) -> bool:
    assert "orders" not in answer.text
    return answer.status == 401 and answer.headers["www-authenticate"] == "Bearer"


def test_who_has_no_token_gets_a_form(locked: Browser) -> None:
    found = locked.ask()
    assert _is_locked(found)
    seen = Seen(found.text)
    assert ("label", "for", "token") in seen.attributes
    assert ("input", "id", "token") in seen.attributes


def test_a_bearer_of_the_token_comes_in(locked: Browser) -> None:
    assert locked.ask(Authorization=f"Bearer {TOKEN}").status == 200
    assert locked.ask(Authorization=f"bearer  {TOKEN}").status == 200
    for wrong in (f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer", "Bearer \xe9"):
        assert _is_locked(locked.ask(Authorization=wrong)), wrong


def test_who_logs_in_once_comes_in_by_a_cookie_that_does_not_hold_the_token(locked: Browser) -> None:
    found = locked.ask("/login", urllib.parse.urlencode({"token": TOKEN}))
    assert (found.status, found.headers["location"]) == (303, "./")
    cookie = found.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "horse" not in cookie
    value = cookie.partition(";")[0]
    assert locked.ask(Cookie=value).status == 200
    assert _is_locked(locked.ask(Cookie=value[:-1]))
    assert _is_locked(locked.ask(Cookie=f"kafka-stream-ui={TOKEN}"))


@pytest.mark.parametrize("form", ["token=", "nothing=1", "token=correct+horse", "token=%ff", "token=" + "x" * 100_000])
def test_a_wrong_token_is_refused_with_the_form(locked: Browser, form: str) -> None:
    found = locked.ask("/login", form)
    assert _is_locked(found)
    assert "This is not the token." in Seen(found.text).text
    assert "set-cookie" not in found.headers


@given(st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=40).filter(lambda it: it != TOKEN))
def test_no_other_token_comes_in(locked: Browser, token: str) -> None:
    assert _is_locked(locked.ask("/login", urllib.parse.urlencode({"token": token})))


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:8080", "localhost:8080", "127.8.0.1:1"])
def test_this_machine_s_own_addresses_need_no_token(address: str) -> None:
    refuse_to_be_open(address, None)


@pytest.mark.parametrize("address", ["0.0.0.0:8080", "[::]:8080", "10.0.0.7:8080", "db.example:8080"])
def test_others_need_one(address: str) -> None:
    refuse_to_be_open(address, TOKEN)
    with pytest.raises(ConfigurationError, match="can be reached by others: set KAFKA_STREAM_UI_TOKEN"):
        refuse_to_be_open(address, None)
    with pytest.raises(ConfigurationError, match="it has 6 characters, and 16 are the fewest"):
        refuse_to_be_open(address, "123456")


def test_a_page_for_everybody_is_refused_in_a_sentence(invoke: Invoke) -> None:
    ended = invoke("ui", "--store", "sqlite:///orders.db", "--http", "0.0.0.0:8080")
    assert ended.status == 2
    assert one_sentence(ended).startswith("--http: 0.0.0.0:8080 can be reached by others")


def test_the_command_serves_until_it_is_stopped(tmp_path: Path) -> None:
    store = SqlOffsetStore(f"sqlite:///{tmp_path}/orders.db")
    started(cast("AdministeredStore", store))
    store.close()
    command = [sys.executable, "-c", "from kafka_stream.cli.app import main; main()", "ui", "--http", "127.0.0.1:0"]
    environment = {
        **os.environ,
        "KAFKA_STREAM_STORE": f"sqlite:///{tmp_path}/orders.db",
        "KAFKA_STREAM_UI_TOKEN": TOKEN,
    }
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("The streams in sqlite"), said
        browser = Browser(said.split()[-1])
        assert _is_locked(browser.ask())
        assert browser.ask(Authorization=f"Bearer {TOKEN}").status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")
