"""Inside FastAPI: the stream lives as long as the service, and ``/health`` says how it is.

    uvicorn examples.fastapi_service:app

``start`` runs it on a thread of its own and touches neither signals nor logging. ``kafka-stream run
examples.fastapi_service:stream`` runs the same stream without the web service.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Response
from sqlalchemy import BigInteger, Column, MetaData, Table, Text

from kafka_stream import Batch, DirectStream
from kafka_stream.sinks.sql import SqlSink

metadata = MetaData()
orders = Table("service_orders", metadata, Column("id", BigInteger, primary_key=True), Column("customer", Text))


def to_rows(batch: Batch) -> Iterator[dict[str, Any]]:
    for _, order in batch.decoded(json.loads):
        yield {"id": order["id"], "customer": order["customer"]}


stream = DirectStream(
    name="fastapi-service",
    topics=["orders"],
    kafka={"bootstrap.servers": os.environ.get("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", "localhost:9092")},
    store=os.environ.get("KAFKA_STREAM_STORE", "sqlite:///orders.db"),
    sink=SqlSink(orders, to_rows, on_conflict="ignore"),
)


def create_app(stream: DirectStream) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stream.start()
        yield
        await asyncio.to_thread(stream.stop)  # it finishes the batch in hand, which may take seconds

    app = FastAPI(lifespan=lifespan)

    @app.get("/health")
    def health(response: Response) -> dict[str, Any]:
        status = stream.status()
        if status.state == "failed":
            response.status_code = 503
        return {
            "state": status.state,
            "records": status.records,
            "lag": {str(partition): lag for partition, lag in status.lag.items()},
            "committed_at": status.committed_at,
            "error": status.error and str(status.error),
        }

    return app


app = create_app(stream)
