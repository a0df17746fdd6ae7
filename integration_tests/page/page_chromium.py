"""The page of running streams in Chromium, wide and narrow, light and dark: `make test-page`.

A stream is behind, has set records aside, was reset, and waits for somebody's open transaction in one partition;
another one has failed. With KAFKA_STREAM_TEST_SCREENSHOTS=<folder> what is seen is kept there, as the docs show it.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client import CollectorRegistry

from integration_tests.engine import state_directory, wait_until
from integration_tests.images import install_program
from integration_tests.page.accessibility import axe, violations
from integration_tests.page.browser import Chromium
from integration_tests.servers import KafkaServer, PostgresServer
from kafka_stream import Batch, DirectStream, RecordError
from kafka_stream.admin.actions import new_action
from kafka_stream.observe.http import app, served
from kafka_stream.observe.page.beside import looked_at
from kafka_stream.observe.page.looking import StoreLooks
from kafka_stream.observe.page.ticker import Ticker
from kafka_stream.observe.page.watching import StreamWatch
from kafka_stream.observe.ui import ui
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.progress import StreamState
from kafka_stream.protocols import ActionKind, Change
from kafka_stream.source.cluster import Cluster
from kafka_stream.types import TopicPartition

WAIT_S = 240.0
RECORDS, PARTITIONS, HELD, BEFORE_HELD = 10_000, 4, 2, 500
WIDTHS = (1200, 380)
KEPT = ("process-1200-light.webp", "process-380-dark.webp")
SECRET = "ada@example.org"
_PROGRAMS = {
    "/usr/bin/chromium": "chromium",
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf": "fonts-dejavu-core",
}


class BadOrder(ValueError):
    """What is wrong with some of the records."""


def _slowly(batch: Batch, transaction: Any) -> None:
    for message in batch:
        if (message.value() or b"").startswith(b"bad"):
            raise BadOrder(f"{SECRET} wrote this")
    time.sleep(0.004 * len(batch))


def _badly(batch: Batch, transaction: Any) -> None:
    first = next(iter(batch))
    raise RecordError(SECRET, topic=first.topic() or "", partition=first.partition() or 0, offset=first.offset() or 0)


class Pages(NamedTuple):
    """Where the page of the streams is, that of their store, and the form that keeps others from it."""

    process: str
    store: str
    form: str


@pytest.fixture(scope="module")
def pages(kafka: KafkaServer, postgres_server: PostgresServer) -> Iterator[Pages]:
    with ExitStack() as stack:
        database = postgres_server.create_database()
        stack.callback(postgres_server.drop_database, database)
        orders, payments = _streams(kafka, database.url, stack)
        watches = [each for stream in (orders, payments) for each in stream.settings.listeners]
        looks = stack.enter_context(looked_at(orders))
        here = app(orders, payments, watches=watches, looks=looks, registry=CollectorRegistry())
        store, seen_from = SqlOffsetStore(database.url), SqlOffsetStore(database.url)
        stack.callback(store.close)
        stack.callback(seen_from.close)
        of_store = StoreLooks(seen_from, lambda: _cluster(kafka))
        ticker = Ticker(of_store.look, 0.5, "looks")
        ticker.start()
        stack.callback(ticker.stop, WAIT_S)
        assert wait_until(lambda: orders.status().records > 0, WAIT_S), orders.status()
        _reset(store, orders.settings.topics[0])
        assert wait_until(lambda: payments.status().state is StreamState.FAILED, WAIT_S), payments.status()
        assert wait_until(lambda: bool(orders.status().pinned), WAIT_S), orders.status()
        assert looks is not None
        assert wait_until(lambda: any(view.history for view in looks.views()), WAIT_S), looks.views()
        assert wait_until(lambda: any(view.history for view in of_store.views()), WAIT_S), of_store.views()
        yield Pages(
            stack.enter_context(served(here, "127.0.0.1:0")),
            stack.enter_context(served(ui(of_store, store.describe()), "127.0.0.1:0")),
            stack.enter_context(served(ui(of_store, store.describe(), "correct horse battery"), "127.0.0.1:0")),
        )


def _streams(kafka: KafkaServer, url: str, stack: ExitStack) -> tuple[DirectStream, DirectStream]:
    topic, other = (f"{name}-{uuid.uuid4().hex[:4]}" for name in ("orders", "payments"))
    kafka.create_topic(topic, PARTITIONS)
    kafka.create_topic(other, 1)
    kafka.produce(other, [b"paid"] * 10, partition=0)
    for partition in range(PARTITIONS):
        count = BEFORE_HELD if partition == HELD else RECORDS
        bad = [b"bad"] * 3 if partition == 1 else []
        kafka.produce(topic, [b"order", *bad, *[b"order"] * (count - len(bad))], partition=partition)
    open_one = kafka.open_transaction(topic, [b"order"], HELD)
    stack.callback(open_one.abort)
    kafka.produce(topic, [b"order"] * 2_000, partition=HELD)
    common: dict[str, Any] = {
        "kafka": {"bootstrap.servers": kafka.bootstrap_servers},
        "store": url,
        "assignment": "static",
        "max_records_per_batch": 200,
        "code_version": "v7.2",
    }
    orders = DirectStream(
        name="orders", topics=[topic], sink=_slowly, on_error="dead-letter", listeners=[StreamWatch(0.5)], **common
    )
    payments = DirectStream(name="payments", topics=[other], sink=_badly, listeners=[StreamWatch(0.5)], **common)
    stack.callback(orders.stop)
    stack.callback(payments.stop)
    payments.start()
    orders.start()
    return orders, payments


def _reset(store: SqlOffsetStore, topic: str) -> None:
    tp = TopicPartition(topic, 0)
    store.change("orders", [tp], new_action(ActionKind.RESET, "ops on bastion"), lambda _: [Change(tp, 0)])


def _cluster(kafka: KafkaServer) -> Cluster:
    cluster = Cluster({"bootstrap.servers": kafka.bootstrap_servers}, logging.getLogger("test"))
    cluster.connect(30.0)
    return cluster


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    for program, package in _PROGRAMS.items():
        install_program(Path(program), package, state_directory() / "packages.log")
    with Chromium(Path("/usr/bin/chromium"), tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return axe(tmp_path_factory.mktemp("axe"))


def _keep(browser: Chromium, name: str) -> None:
    if (folder := os.environ.get("KAFKA_STREAM_TEST_SCREENSHOTS")) and name in KEPT:
        browser.screenshot(Path(folder) / name)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("which", Pages._fields)
def test_the_page(browser: Chromium, source: str, pages: Pages, which: str, width: int, *, dark: bool) -> None:
    browser.looks(width, dark=dark)
    where = f"{getattr(pages, which)}/?refresh=off"
    shown = browser.open(where)
    assert [text for text in shown.complaints if "status of 401" not in text or which != "form"] == []
    assert [url for url in shown.requests if not url.endswith("/favicon.ico")] == [where]
    assert browser.evaluate("document.documentElement.scrollWidth") <= width, "it has to be scrolled sideways"
    assert SECRET not in browser.evaluate("document.documentElement.outerHTML")
    _keep(browser, f"{which}-{width}-{'dark' if dark else 'light'}.webp")
    browser.looks(width, dark=dark, scripts=True)
    assert violations(browser, source) == {}


def test_what_there_is_to_see(browser: Chromium, pages: Pages) -> None:
    browser.looks(1200)
    browser.open(pages.process)
    text = browser.evaluate("document.body.innerText")
    for seen in (
        "held",
        "✕ failed",
        "RecordError",
        "BadOrder",
        "reset by ops on bastion",
        "Recent batches",
        "exactly-once",
    ):
        assert seen in text, seen
    drawn = "[...document.querySelectorAll('.chart .line')].map(it => it.getBoundingClientRect().width)"
    assert [width for width in browser.evaluate(drawn) if width > 100]
    browser.open(pages.store)
    text = browser.evaluate("document.body.innerText")
    for seen in ("end pinned", "reset by ops on bastion", "BadOrder", "owned"):
        assert seen in text, seen


def test_it_loads_itself_anew_without_a_script(browser: Chromium, pages: Pages) -> None:
    browser.looks(1200)
    browser.open(pages.process)
    before = browser.evaluate("document.querySelector('time').dateTime")
    shown = browser.until_loaded()
    assert shown.requests[:1] == [f"{pages.process}/"]
    assert browser.evaluate("document.querySelector('time').dateTime") > before


def test_the_only_thing_that_axe_minds_is_that_it_loads_itself_anew(
    browser: Chromium, source: str, pages: Pages
) -> None:
    browser.looks(1200, scripts=True)
    browser.open(pages.process)
    assert set(violations(browser, source)) == {"meta-refresh"}


def test_a_browser_logs_in_once(browser: Chromium, pages: Pages) -> None:
    browser.looks(380)
    browser.open(pages.form)
    assert "orders" not in browser.evaluate("document.body.innerText")
    browser.evaluate("document.querySelector('#token').value = 'correct horse battery'")
    browser.evaluate("document.querySelector('button').click()")
    browser.until_loaded()
    assert "end pinned" in browser.evaluate("document.body.innerText")
    browser.open(pages.form)
    assert "end pinned" in browser.evaluate("document.body.innerText")
