"""A stream that other processes import by name: its handler writes a line per order beside its transaction, too."""

from __future__ import annotations

import json
import os
from pathlib import Path

from kafka_stream import Batch
from kafka_stream.offset_stores.sql import SqlTransaction
from tests.unit.exactly_once import handlers

MAILS = "KAFKA_STREAM_TEST_MAILS"


def write(batch: Batch, transaction: SqlTransaction) -> None:
    transaction.connection.execute(handlers.orders.insert(), handlers.rows_of(batch))
    if file := os.environ.get(MAILS):
        with Path(file).open("a") as mails:
            mails.writelines(f"{order['id']}\n" for _, order in batch.decoded(json.loads))


stream = handlers.stream(write)
