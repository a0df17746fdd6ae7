"""What the processes of a pool run: light, since each imports it anew."""

from __future__ import annotations

import json

from kafka_stream import Batch
from kafka_stream.errors import RecordError


def refuse(offset: int) -> None:
    """As a handler does that cannot decode a record."""
    try:
        json.loads("{")
    except ValueError as cause:
        raise RecordError("no JSON", topic="orders", partition=0, offset=offset) from cause


def write(batch: Batch, transaction: object) -> None:
    """A sink's function that can be sent, since it has a name at the top of a module."""
