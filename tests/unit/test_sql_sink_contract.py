"""``SqlSink`` keeps the sinks' contract, on SQLite."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_stream.sinks.sql import SqlSink
from kafka_stream.testing.sink_backend import numbers_of
from kafka_stream.testing.sink_contract import SinkFunctionContract, SinkOf, TransactionSinkContract
from tests.sink_law import Transaction

RESULTS = sa.Table(
    "results", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("value", sa.Integer)
)


class SqlSinkBackend:
    def __init__(self, url: str, secrets: Collection[str] = ()) -> None:
        self.engine = sa.create_engine(url)
        self._secrets = secrets
        RESULTS.create(self.engine)

    def sink(self) -> SqlSink:
        return SqlSink(RESULTS, lambda batch: [{"value": number} for number in numbers_of(batch)])

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with self.engine.connect() as connection:
            yield Transaction(connection)

    def commit(self, transaction: Transaction) -> None:
        transaction.connection.commit()

    def results(self) -> Sequence[int]:
        with self.engine.connect() as connection:
            return list(connection.execute(sa.select(RESULTS.c.value).order_by(RESULTS.c.id)).scalars())

    def secrets(self) -> Collection[str]:
        return self._secrets


class TestSqlSink(TransactionSinkContract, SinkFunctionContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[SqlSinkBackend]:
        backend = SqlSinkBackend(f"sqlite:///{tmp_path}/results.db")
        yield backend
        backend.engine.dispose()

    @pytest.fixture
    def sink_of(self) -> SinkOf:
        def build(to_rows: Callable[[Any], Any]) -> SqlSink:
            return SqlSink(RESULTS, to_rows)

        return build
