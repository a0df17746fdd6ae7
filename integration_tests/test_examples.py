"""The examples on a real Kafka and a real PostgreSQL: two bounded runs each, the second with more records."""

from __future__ import annotations

import importlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pyarrow.parquet import read_table

from examples import enrich, parquet_files, raw_insert, sample_data
from examples.rates_service import RATES, RatesHandler
from examples.sample_data import Record, produce, sample
from integration_tests.servers import KafkaServer, PostgresDatabase, random_name
from kafka_stream.sinks.files import FileSink
from kafka_stream.sinks.kafka import KafkaSink

Rows = list[tuple[Any, ...]]


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The exchange rates, where the example looks for them."""
    with ThreadingHTTPServer(("127.0.0.1", 0), RatesHandler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        monkeypatch.setattr("examples.async_enrichment.RATES_URL", f"http://127.0.0.1:{server.server_port}/rates")
        yield
        server.shutdown()


def _values(records: list[Record]) -> list[dict[str, Any]]:
    return [value for _, value in records if value is not None]


def every_order(records: list[Record]) -> dict[str, Rows]:
    return {"orders": [(order["id"], order["customer"], order["amount"]) for order in _values(records)]}


def every_order_that_is_good(records: list[Record]) -> dict[str, Rows]:
    good = [
        o for o in _values(records) if o["id"] is not None and o["customer"] != "test" and o["amount"] not in (-5, 13)
    ]
    return {"fragile_orders": [(order["id"], order["customer"], order["amount"]) for order in good]}


def every_order_of_the_service(records: list[Record]) -> dict[str, Rows]:
    return {"service_orders": [(order["id"], order["customer"]) for order in _values(records)]}


def the_totals(records: list[Record]) -> dict[str, Rows]:
    amounts: Counter[str] = Counter()
    for order in _values(records):
        amounts[order["customer"]] += order["amount"]
    return {"totals": list(amounts.items())}


def every_order_and_customer(records: list[Record]) -> dict[str, Rows]:
    orders = [(order["id"], order["customer"], order["amount"]) for order in _values(records)]
    return {"orm_orders": orders, "orm_customers": the_totals(records)["totals"]}


def the_latest_of_each_customer(records: list[Record]) -> dict[str, Rows]:
    latest = {int(key): row for key, row in records}
    return {"customers": [(key, row["name"], row["city"]) for key, row in latest.items() if row is not None]}


def every_basket_and_line(records: list[Record]) -> dict[str, Rows]:
    lines = [
        (basket["id"], number, line["sku"], line["quantity"])
        for basket in _values(records)
        for number, line in enumerate(basket["lines"], start=1)
    ]
    return {"baskets": [(basket["id"], basket["customer"]) for basket in _values(records)], "basket_lines": lines}


def every_payment_in_euros(records: list[Record]) -> dict[str, Rows]:
    return {"payments": [(p["id"], round(p["cents"] * Decimal(RATES[p["currency"]]))) for p in _values(records)]}


def every_word_in_both_tables(records: list[Record]) -> dict[str, Rows]:
    counts = Counter(word for text in _values(records) for word in text["line"].split())
    return {"word_counts": list(counts.items()), "merged_word_counts": list(counts.items())}


@pytest.fixture
def database(postgres: PostgresDatabase) -> Iterator[sa.Engine]:
    engine = sa.create_engine(postgres.url)
    yield engine
    engine.dispose()


@pytest.mark.usefixtures("rates")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("raw_insert", every_order),
        ("totals", the_totals),
        ("arrow_totals", lambda records: {"arrow_totals": the_totals(records)["totals"]}),
        ("cdc", the_latest_of_each_customer),
        ("two_tables", every_basket_and_line),
        ("fragile_orders", every_order_that_is_good),
        ("mailed_orders", lambda records: {"outbox": every_order_of_the_service(records)["service_orders"]}),
        ("orm_models", every_order_and_customer),
        ("async_enrichment", every_payment_in_euros),
        ("fastapi_service", every_order_of_the_service),
        ("word_count", every_word_in_both_tables),
    ],
)
def test_an_example_runs_on_real_servers(
    kafka: KafkaServer, database: sa.Engine, name: str, expected: Callable[[list[Record]], dict[str, Rows]]
) -> None:
    example = importlib.import_module(f"examples.{name}")
    records = list(sample(example.stream.settings.topics[0], count=2000))
    topic = kafka.create_topic(random_name(name))
    store = database.url.render_as_string(hide_password=False)
    stream = example.stream.replace(topics=[topic], kafka={"bootstrap.servers": kafka.bootstrap_servers}, store=store)
    example.metadata.create_all(database)

    for part in (records[:1500], records[1500:]):
        produce(topic, iter(part), kafka.bootstrap_servers)
        assert stream.run(until="latest").records == len(part)

    tables = example.metadata.tables
    with database.connect() as connection:
        stored = {name: [tuple(row) for row in connection.execute(sa.select(tables[name]))] for name in tables}
    assert {name: sorted(rows) for name, rows in stored.items()} == {
        name: sorted(rows) for name, rows in expected(records).items()
    }


def test_orders_are_enriched_from_kafka_to_kafka(kafka: KafkaServer) -> None:
    records = list(sample("orders", count=2000))
    topic, enriched = kafka.create_topic(random_name("enrich")), kafka.create_topic(random_name("enriched_orders"))
    stream = enrich.stream.replace(
        name=random_name("enrich"),
        topics=[topic],
        kafka={"bootstrap.servers": kafka.bootstrap_servers},
        sink=KafkaSink(enriched, enrich.to_messages),
    )
    for part in (records[:1500], records[1500:]):
        produce(topic, iter(part), kafka.bootstrap_servers)
        assert stream.run(until="latest").records == len(part)
    values = [json.loads(value or b"") for _, _, _, value in kafka.read_committed(enriched)]
    found = sorted(values, key=lambda order: int(order["id"]))
    assert found == [{**order, "tier": enrich.TIERS.get(order["customer"], "bronze")} for order in _values(records)]


def test_orders_become_parquet_files_with_the_offsets_in_zookeeper(
    kafka: KafkaServer, zookeeper: str, tmp_path: Path
) -> None:
    records = list(sample("orders", count=2000))
    topic = kafka.create_topic(random_name("parquet_files"))
    stream = parquet_files.stream.replace(
        topics=[topic],
        kafka={"bootstrap.servers": kafka.bootstrap_servers},
        store=f"zookeeper://{zookeeper}",
        sink=FileSink(tmp_path, parquet_files.to_rows, format="parquet", schema=parquet_files.SCHEMA),
    )
    for part in (records[:1500], records[1500:]):
        produce(topic, iter(part), kafka.bootstrap_servers)
        assert stream.run(until="latest").records == len(part)
    rows = [row for file in tmp_path.glob("*.parquet") for row in read_table(file).to_pylist()]
    assert sorted(rows, key=lambda row: int(row["id"])) == _values(records)


def test_sample_data_is_what_an_example_needs(
    kafka: KafkaServer, database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.create_topic(random_name("orders"))
    store = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    brokers = {"bootstrap.servers": kafka.bootstrap_servers}
    stream = raw_insert.stream.replace(topics=[topic], kafka=brokers, store=store)
    monkeypatch.setattr(raw_insert, "stream", stream)
    monkeypatch.setitem(sample_data.SAMPLES, topic, sample_data.orders)
    monkeypatch.setenv("KAFKA_STREAM_STORE", store)
    monkeypatch.setenv("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", kafka.bootstrap_servers)

    sample_data.main("raw_insert")
    stream.run(until="latest")

    with database.connect() as connection:
        rows = connection.execute(sa.select(raw_insert.orders.c.id).order_by("id")).scalars().all()
    assert rows == list(range(1, 1001))
