"""The examples' functions on messages, and their streams on a Kafka in memory and SQLite."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from pyarrow.parquet import read_table

from examples import arrow_totals, async_enrichment, cdc, enrich, fastapi_service, parquet_files, totals, two_tables
from examples.rates_service import RatesHandler
from examples.sample_data import SAMPLES, sample
from kafka_stream import Batch, DirectStream, Guarantee, RecordError
from kafka_stream.errors import TransientError
from kafka_stream.sinks.files import FileSink
from kafka_stream.sinks.sql import Delete
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore, batch_of, message

README = Path(__file__).parents[2] / "examples" / "README.md"

ELSEWHERE = ("enrich", "parquet_files", "sliding_clicks", "word_count")
"""Examples with tests of their own."""

Record = tuple[str | None, dict[str, Any] | None]


def encoded(value: dict[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value)


def batch(*records: Record) -> Batch:
    return batch_of(message(encoded(v), key=key, topic="t", offset=n) for n, (key, v) in enumerate(records))


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """The exchange rates, where the example looks for them."""
    with ThreadingHTTPServer(("127.0.0.1", 0), RatesHandler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        monkeypatch.setattr(async_enrichment, "RATES_URL", f"http://127.0.0.1:{server.server_port}/rates")
        yield server
        server.shutdown()


# Their functions


def test_totals_are_added_up_before_the_transaction() -> None:
    orders = [("ada", 5), ("mary", 1), ("ada", -2)]
    assert totals.prepare(batch(*((None, {"customer": c, "amount": a}) for c, a in orders))) == {"ada": 3, "mary": 1}


def test_totals_add_to_what_is_stored() -> None:
    engine = sa.create_engine("sqlite://")
    totals.metadata.create_all(engine)
    with engine.begin() as connection:
        transaction: Any = type("Transaction", (), {"connection": connection})
        totals.write(Counter(ada=3, mary=1), transaction)
        totals.write(Counter(mary=4, grace=0), transaction)
        assert dict(map(tuple, connection.execute(sa.select(totals.totals)))) == {"ada": 3, "mary": 5, "grace": 0}
    engine.dispose()


def test_arrow_totals_are_those_of_totals() -> None:
    orders = batch(*((None, {"customer": c, "amount": a}) for c, a in [("mary", 1), ("ada", 5), ("ada", -2)]))
    sums = {row["customer"]: row["amount_sum"] for row in arrow_totals.prepare(orders).to_pylist()}
    assert sums == totals.prepare(orders)
    assert arrow_totals.prepare(batch((None, None))).num_rows == 0


def test_cdc_makes_deletes_of_tombstones() -> None:
    changes = batch(("7", {"name": "ada", "city": "London"}), ("7", None))
    assert list(cdc.to_rows(changes)) == [{"id": 7, "name": "ada", "city": "London"}, Delete(7)]


def test_cdc_names_a_record_without_a_key() -> None:
    with pytest.raises(RecordError, match=r"t\[0\]@1: it has no key"):
        list(cdc.to_rows(batch(("7", None), (None, {"name": "ada"}))))


def test_two_tables_get_their_rows_from_one_basket() -> None:
    basket = {"id": 3, "customer": "ada", "lines": [{"sku": "a", "quantity": 2}, {"sku": "b", "quantity": 1}]}
    prepared = two_tables.prepare(batch((None, basket)))
    assert list(two_tables.to_basket_rows(prepared)) == [{"id": 3, "customer": "ada"}]
    assert list(two_tables.to_line_rows(prepared)) == [(3, 1, "a", 2), (3, 2, "b", 1)]


def payments(*currencies: str) -> Batch:
    return batch(*((None, {"id": n, "cents": 1000 * n, "currency": c}) for n, c in enumerate(currencies, start=1)))


@pytest.mark.usefixtures("rates")
def test_enrichment_asks_for_every_currency() -> None:
    prepared = asyncio.run(async_enrichment.prepare(payments("USD", "EUR", "USD")))
    assert prepared == [(1, 920), (2, 2000), (3, 2760)]


@pytest.mark.usefixtures("rates")
def test_enrichment_fails_on_a_currency_that_is_unknown() -> None:
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        asyncio.run(async_enrichment.prepare(payments("USD", "XXX")))


def test_enrichment_tries_again_when_the_service_is_overloaded(
    rates: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RatesHandler, "do_GET", lambda handler: handler.send_error(503))
    with pytest.raises(TransientError, match="answered 503"):
        asyncio.run(async_enrichment.prepare(payments("USD")))


def test_enrichment_tries_again_when_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), RatesHandler) as closed:
        port = closed.server_port
    monkeypatch.setattr(async_enrichment, "RATES_URL", f"http://127.0.0.1:{port}/rates")
    with pytest.raises(TransientError, match="did not answer"):
        asyncio.run(async_enrichment.prepare(payments("USD")))


# Their streams

ADA_1 = {"id": 1, "customer": "ada", "amount": 5}
MARY_2 = {"id": 2, "customer": "mary", "amount": 7}
ADA_3 = {"id": 3, "customer": "ada", "amount": -1}
BASKET_1 = {"id": 1, "customer": "ada", "lines": [{"sku": "a", "quantity": 2}, {"sku": "b", "quantity": 1}]}
BASKET_2 = {"id": 2, "customer": "mary", "lines": []}
BASKET_3 = {"id": 3, "customer": "ada", "lines": [{"sku": "a", "quantity": 4}]}

RUNS: dict[str, tuple[list[Record], list[Record], dict[str, list[tuple[Any, ...]]]]] = {
    "raw_insert": (
        [("ada", ADA_1), ("mary", MARY_2)],
        [("ada", ADA_3)],
        {"orders": [(1, "ada", 5), (2, "mary", 7), (3, "ada", -1)]},
    ),
    "totals": (
        [("ada", ADA_1), ("mary", MARY_2)],
        [("ada", ADA_3)],
        {"totals": [("ada", 4), ("mary", 7)]},
    ),
    "arrow_totals": (
        [("ada", ADA_1), ("mary", MARY_2)],
        [("ada", ADA_3), ("ada", None)],
        {"arrow_totals": [("ada", 4), ("mary", 7)]},
    ),
    "cdc": (
        [("1", {"name": "ada", "city": "London"}), ("2", {"name": "mary", "city": "Rome"}), ("3", None)],
        [("1", {"name": "ada", "city": "Turin"}), ("2", None), ("4", {"name": "grace", "city": "York"}), ("4", None)],
        {"customers": [(1, "ada", "Turin")]},
    ),
    "two_tables": (
        [("ada", BASKET_1), ("mary", BASKET_2)],
        [("ada", BASKET_3)],
        {
            "baskets": [(1, "ada"), (2, "mary"), (3, "ada")],
            "basket_lines": [(1, 1, "a", 2), (1, 2, "b", 1), (3, 1, "a", 4)],
        },
    ),
    "async_enrichment": (
        [(None, {"id": 1, "cents": 100, "currency": "USD"}), (None, {"id": 2, "cents": 100, "currency": "EUR"})],
        [(None, {"id": 3, "cents": 1000, "currency": "SEK"})],
        {"payments": [(1, 92), (2, 100), (3, 90)]},
    ),
    "fragile_orders": (
        [("ada", ADA_1), ("mary", {**MARY_2, "customer": "test"}), ("ada", {**ADA_3, "amount": 13})],
        [("ada", ADA_3), ("mary", MARY_2), ("ada", {**ADA_1, "id": None})],
        {"fragile_orders": [(1, "ada", 5), (2, "mary", 7)]},
    ),
    "mailed_orders": (
        [("ada", ADA_1), ("mary", MARY_2)],
        [("ada", ADA_3)],
        {"outbox": [(1, "ada"), (2, "mary"), (3, "ada")]},
    ),
    "orm_models": (
        [("ada", ADA_1), ("mary", MARY_2)],
        [("ada", ADA_3)],
        {
            "orm_customers": [("ada", 4), ("mary", 7)],
            "orm_orders": [(1, "ada", 5), (2, "mary", 7), (3, "ada", -1)],
        },
    ),
    "fastapi_service": (
        [("ada", ADA_1), ("mary", MARY_2)],
        [("ada", ADA_3)],
        {"service_orders": [(1, "ada"), (2, "mary"), (3, "ada")]},
    ),
}


class Shop:
    """A Kafka in memory and an SQLite database for one example."""

    def __init__(self, example: ModuleType, directory: Path) -> None:
        self.url = f"sqlite:///{directory / 'shop.db'}"
        self.topic = example.stream.settings.topics[0]
        self.kafka = MemoryKafka({self.topic: 2})
        self.tables = example.metadata.sorted_tables
        self.stream: DirectStream = example.stream.replace(kafka=self.kafka, store=self.url)
        self.engine = sa.create_engine(self.url)
        example.metadata.create_all(self.engine)

    def produce(self, records: Iterable[Record]) -> None:
        for key, value in records:
            self.kafka.produce(self.topic, encoded(value), key=key)

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        with self.engine.connect() as connection:
            return {t.name: sorted(map(tuple, connection.execute(sa.select(t)))) for t in self.tables}


@pytest.fixture
def open_shop(tmp_path: Path) -> Iterator[Callable[[str], Shop]]:
    with ExitStack() as stack:

        def opened(name: str) -> Shop:
            shop = Shop(importlib.import_module(f"examples.{name}"), tmp_path)
            stack.callback(shop.engine.dispose)
            return shop

        yield opened


@pytest.mark.usefixtures("rates")
@pytest.mark.parametrize("name", RUNS)
def test_a_stream_goes_on_where_its_last_run_ended(open_shop: Callable[[str], Shop], name: str) -> None:
    shop = open_shop(name)
    first, second, expected = RUNS[name]
    for records in (first, second, []):
        shop.produce(records)
        assert shop.stream.run(until="latest").records == len(records)
    assert shop.rows() == expected


def test_the_service_tells_how_its_stream_is(open_shop: Callable[[str], Shop]) -> None:
    shop = open_shop("fastapi_service")
    shop.produce([("ada", ADA_1), ("mary", MARY_2)])
    response = asyncio.run(health_of_a_service(shop.stream, lambda health: health["records"] == 2))
    assert response.status_code == 200
    assert response.json()["state"] == "running"
    assert response.json()["error"] is None
    assert shop.stream.status().state == "stopped"
    assert shop.rows() == {"service_orders": [(1, "ada"), (2, "mary")]}


def test_the_service_is_unhealthy_when_its_stream_has_failed(open_shop: Callable[[str], Shop]) -> None:
    shop = open_shop("fastapi_service")
    shop.kafka.produce(shop.topic, "no JSON")
    response = asyncio.run(health_of_a_service(shop.stream, lambda health: health["state"] == "failed"))
    assert response.status_code == 503
    assert "could not be decoded" in response.json()["error"]


async def health_of_a_service(stream: DirectStream, wanted: Callable[[dict[str, Any]], bool]) -> httpx.Response:
    """Start the service, ask until the answer is as wanted, and stop the service."""
    app = fastapi_service.create_app(stream)
    async with (
        asyncio.timeout(30),
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client,
    ):
        while not wanted((response := await client.get("/health")).json()):
            await asyncio.sleep(0.01)
    return response


# Those without tables


def test_enriched_orders_keep_their_keys() -> None:
    found = list(enrich.to_messages(batch(("ada", ADA_1), ("mary", MARY_2))))
    assert [(key, json.loads(order)) for key, order in found] == [
        (b"ada", {**ADA_1, "tier": "gold"}),
        (b"mary", {**MARY_2, "tier": "bronze"}),
    ]
    assert enrich.stream.guarantee is Guarantee.EXACTLY_ONCE


def test_orders_are_parquet_rows_and_the_range_decides_the_file(tmp_path: Path) -> None:
    kafka, store = MemoryKafka({"orders": 2}), MemoryOffsetStore()
    assert parquet_files.stream.guarantee is Guarantee.EFFECTIVELY_ONCE
    sink = FileSink(tmp_path, parquet_files.to_rows, format="parquet", schema=parquet_files.SCHEMA)
    stream = parquet_files.stream.replace(kafka=kafka, store=store, sink=sink)
    for partition, order in enumerate((ADA_1, MARY_2)):
        kafka.produce("orders", encoded(order), partition=partition)
    stream.run(until="latest")
    kafka.produce("orders", encoded(ADA_3), partition=0)
    stream.run(until="latest")
    files = {file.name: read_table(file).to_pylist() for file in sorted(tmp_path.glob("*.parquet"))}
    assert [(name.split("+")[1], rows) for name, rows in files.items()] == [
        ("00000", [ADA_1]),
        ("00000", [ADA_3]),
        ("00001", [MARY_2]),
    ]


# What surrounds them


def test_the_readme_lists_every_example_and_there_are_samples_for_each() -> None:
    listed = dict(re.findall(r"^\| \[(\w+)\.py\].*? \| `(\w+)` \|", README.read_text(), re.MULTILINE))
    streams = {name: importlib.import_module(f"examples.{name}").stream for name in (*RUNS, *ELSEWHERE)}
    assert listed == {name: stream.settings.topics[0] for name, stream in streams.items()}
    assert set(listed.values()) == SAMPLES.keys()


@pytest.mark.parametrize("topic", SAMPLES)
def test_samples_are_the_same_every_time(topic: str) -> None:
    assert list(sample(topic, 50)) == list(sample(topic, 50))
    assert len(list(sample(topic, 50))) == 50
    assert list(sample(topic, 50, seed=1)) != list(sample(topic, 50))
