"""A database with a result table beside the offsets, as the stores' contract wants it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import Connection, Engine, MetaData, Table, create_engine, insert, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from offset_stores.sql import SqlOffsetStore, SqlTransaction, define_tables
from offset_stores.sql.tables import TopicState

TABLES = define_tables(MetaData())


class _Base(DeclarativeBase):
    pass


class Result(_Base):
    """A row of the result table."""

    __tablename__ = "results"

    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]


RESULTS = cast("Table", Result.__table__)


class SqlBackend:
    """Reaches round the stores with an engine of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine: Engine = create_engine(url)
        with self.engine.begin() as connection:
            RESULTS.create(connection)

    def store(self) -> SqlOffsetStore:
        return SqlOffsetStore(self.url)

    def write(self, transaction: SqlTransaction, value: int) -> None:
        write(transaction.connection, value)

    def results(self) -> Sequence[int]:
        with self.engine.connect() as connection:
            return list(connection.execute(select(RESULTS.c.value)).scalars())

    def escape(self, transaction: SqlTransaction) -> None:
        transaction.connection.execute(text("COMMIT"))

    def close_topic(self, stream: str, topic: str, reason: str) -> None:
        self._close(stream, topic, TopicState.CLOSED, reason)

    def delete_topic(self, stream: str, topic: str) -> None:
        self._close(stream, topic, TopicState.DELETED, None)

    def _close(self, stream: str, topic: str, state: TopicState, reason: str | None) -> None:
        topics, offsets = TABLES.topics.c, TABLES.offsets.c
        closed: dict[str, Any] = {"state": "closed", "state_reason": reason, "owner": None}
        with self.engine.begin() as connection:
            connection.execute(
                update(TABLES.topics)
                .where(topics.stream == stream, topics.topic == topic)
                .values(state=state, state_reason=reason)
            )
            connection.execute(
                update(TABLES.offsets)
                .where(offsets.stream == stream, offsets.topic == topic)
                .values(owner_epoch=offsets.owner_epoch + 1, **closed)
            )


def write(connection: Connection, value: int) -> None:
    """Add a result."""
    connection.execute(insert(RESULTS).values(value=value))
