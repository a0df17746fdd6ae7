"""Orders as SQLAlchemy ORM models: ``transaction.session()`` is an ORM session inside the batch's own transaction."""

import json
import os
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from kafka_stream import Batch, DirectStream
from kafka_stream.offset_stores.sql import SqlTransaction


class Model(DeclarativeBase):
    pass


class Customer(Model):
    __tablename__ = "orm_customers"

    name: Mapped[str] = mapped_column(primary_key=True)
    spent: Mapped[int] = mapped_column(BigInteger, default=0)


class Order(Model):
    __tablename__ = "orm_orders"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    customer_name: Mapped[str] = mapped_column(ForeignKey(Customer.name))
    amount: Mapped[int] = mapped_column(BigInteger)
    customer: Mapped[Customer] = relationship()


metadata = Model.metadata


def prepare(batch: Batch) -> list[dict[str, Any]]:
    return [order for _, order in batch.decoded(json.loads)]


def write(orders: list[dict[str, Any]], transaction: SqlTransaction) -> None:
    session = transaction.session()
    names = {order["customer"] for order in orders}
    # Orders are keyed by customer: no other copy of this service reads and writes the same ones at this time.
    customers = {c.name: c for c in session.scalars(select(Customer).where(Customer.name.in_(names)))}
    for name in names - customers.keys():
        customers[name] = Customer(name=name, spent=0)
        session.add(customers[name])
    for order in orders:
        customer = customers[order["customer"]]
        session.add(Order(id=order["id"], amount=order["amount"], customer=customer))
        customer.spent += order["amount"]
    # No commit: what the session holds is flushed and committed with the offsets.


stream = DirectStream(
    name="orm-models",
    topics=["orders"],
    kafka={"bootstrap.servers": os.environ.get("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", "localhost:9092")},
    store=os.environ.get("KAFKA_STREAM_STORE", "sqlite:///orders.db"),
    prepare=prepare,
    sink=write,
)
