"""Async enrichment: exchange rates are fetched over HTTP, many at a time, before the transaction opens.

``prepare`` may run again for the same records, so it only reads. A service that does not answer is worth another try:
``TransientError`` drops the batch, and it is repeated after a backoff.
"""

import asyncio
import json
import os
from decimal import Decimal

import httpx
from sqlalchemy import BigInteger, Column, MetaData, Table

from kafka_stream import Batch, DirectStream
from kafka_stream.errors import TransientError
from kafka_stream.sinks.sql import SqlSink

RATES_URL = os.environ.get("RATES_URL", "http://127.0.0.1:8080/rates")

metadata = MetaData()
payments = Table("payments", metadata, Column("id", BigInteger, primary_key=True), Column("euro_cents", BigInteger))


async def prepare(batch: Batch) -> list[tuple[int, int]]:
    found = [payment for _, payment in batch.decoded(json.loads)]
    currencies = sorted({payment["currency"] for payment in found})
    async with httpx.AsyncClient(base_url=RATES_URL, timeout=5, limits=httpx.Limits(max_connections=20)) as client:
        rates = await asyncio.gather(*(fetch_rate(client, currency) for currency in currencies))
    euros = dict(zip(currencies, rates, strict=True))
    return [(payment["id"], round(payment["cents"] * euros[payment["currency"]])) for payment in found]


async def fetch_rate(client: httpx.AsyncClient, currency: str) -> Decimal:
    try:
        response = await client.get(f"/{currency}")
    except httpx.TransportError as error:
        raise TransientError(f"no exchange rate for {currency}: {RATES_URL} did not answer ({error})") from error
    if response.is_server_error:
        raise TransientError(f"no exchange rate for {currency}: {RATES_URL} answered {response.status_code}")
    return Decimal(response.raise_for_status().json()["euros"])


stream = DirectStream(
    name="async-enrichment",
    topics=["payments"],
    kafka={"bootstrap.servers": os.environ.get("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", "localhost:9092")},
    store=os.environ.get("KAFKA_STREAM_STORE", "sqlite:///orders.db"),
    prepare=prepare,
    sink=SqlSink(payments, lambda rows: rows, on_conflict="update"),
)
