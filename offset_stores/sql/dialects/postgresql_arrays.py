"""Many rows as the parameters of one statement: an array for each column, written as PostgreSQL reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from kafka_stream.offset_stores.sql.statements import Wanted


def arrays_of(rows: Sequence[Wanted]) -> Mapping[str, Any]:
    """An array per column, by its name."""
    return {
        "topics": _array([_quoted(r.topic) for r in rows]),
        "partitions": _array([str(r.partition) for r in rows]),
        "from_offsets": _array([str(r.from_offset) for r in rows]),
        "until_offsets": _array([str(r.until_offset) for r in rows]),
        "epochs": _array([str(r.epoch) for r in rows]),
        "leader_epochs": _array(["NULL" if r.leader_epoch is None else str(r.leader_epoch) for r in rows]),
        "topic_ids": _array(["NULL" if r.topic_id is None else _quoted(r.topic_id) for r in rows]),
    }


def _array(elements: Sequence[str]) -> str:
    return f"{{{','.join(elements)}}}"


@lru_cache(maxsize=1024)  # the names of topics, and their ids
def _quoted(element: str) -> str:
    escaped = element.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


__all__ = ["arrays_of"]
