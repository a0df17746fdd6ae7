"""The result table, and the count of it against what the broker acknowledged: all by SQL, nothing assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Engine, MetaData, String, Table, create_engine, func, insert, select, text
from sqlalchemy.engine import make_url

from kafka_stream.cli.demo.orders import Acknowledged

_DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the table holds, compared with the producer's record."""

    produced: int
    stored: int
    lost: int
    repeated: int
    unknown: int
    cents_produced: int
    cents_stored: int
    stored_by: Mapping[str, int]

    @property
    def is_right(self) -> bool:
        """Whether every acknowledged order is there once, and nothing else."""
        return (
            self.produced == self.stored
            and not (self.lost or self.repeated or self.unknown)
            and self.cents_produced == self.cents_stored
        )


class Ledger:
    """The table that the services write to. It has no unique key, so that a repeat would show."""

    def __init__(self, url: str, table: str) -> None:
        parsed = make_url(url)
        self.url = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
        self._engine: Engine = create_engine(self.url)
        metadata = MetaData()
        self.orders = Table(
            table,
            metadata,
            Column("order_id", BigInteger),
            Column("customer", String(40)),
            Column("cents", BigInteger),
            Column("stored_by", String(40)),
        )
        self.acknowledged = Table(
            f"{table}_acknowledged", metadata, Column("order_id", BigInteger), Column("cents", BigInteger)
        )

    def describe(self) -> str:
        """The kind of database and where it is, for people; never a password."""
        kind = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}.get(self.url.get_backend_name(), "the database")
        if self.url.host is None:
            return kind
        return f"{kind} at {self.url.host}{f':{self.url.port}' if self.url.port else ''}"

    def create(self) -> None:
        """Make the empty table, as version 1 of the service needs it."""
        self.orders.create(self._engine)

    def add_size_column(self) -> None:
        """The migration that version 2 of the service needs; version 1 goes on working beside it."""
        with self._engine.begin() as connection:
            connection.execute(text(f"ALTER TABLE {self.orders.name} ADD COLUMN size VARCHAR(10)"))

    def rows_and_repeats(self) -> tuple[int, int]:
        """How many rows there are now, and how many of them repeat an order."""
        order_id = self.orders.c.order_id
        with self._engine.connect() as connection:
            rows, different = connection.execute(select(func.count(), func.count(order_id.distinct()))).one()
        return rows, rows - different

    def verdict(self, record: Sequence[Acknowledged]) -> Verdict:
        """Put the producer's record beside the table and compare the two."""
        orders, acknowledged = self.orders.c, self.acknowledged.c
        self.acknowledged.create(self._engine)
        with self._engine.begin() as connection:
            rows = [{"order_id": order.order_id, "cents": order.cents} for order in record]
            if rows:
                connection.execute(insert(self.acknowledged), rows)

        lost = select(func.count()).where(acknowledged.order_id.not_in(select(orders.order_id)))
        unknown = select(func.count()).where(orders.order_id.not_in(select(acknowledged.order_id)))
        sums = [select(func.coalesce(func.sum(column), 0)) for column in (acknowledged.cents, orders.cents)]
        stored_by = select(orders.stored_by, func.count()).group_by(orders.stored_by).order_by(orders.stored_by)
        stored, repeated = self.rows_and_repeats()
        with self._engine.connect() as connection:
            return Verdict(
                produced=connection.execute(select(func.count()).select_from(self.acknowledged)).scalar_one(),
                stored=stored,
                lost=connection.execute(lost).scalar_one(),
                repeated=repeated,
                unknown=connection.execute(unknown).scalar_one(),
                cents_produced=int(connection.execute(sums[0]).scalar_one()),
                cents_stored=int(connection.execute(sums[1]).scalar_one()),
                stored_by={row[0]: row[1] for row in connection.execute(stored_by)},
            )

    def close(self) -> None:
        """Give the connections back; the tables stay, to be looked at."""
        self._engine.dispose()


__all__ = ["Ledger", "Verdict"]
