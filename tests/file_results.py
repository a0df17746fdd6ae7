"""What files hold, to a reader that knows nothing of the service that wrote them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from pyarrow import parquet

from kafka_stream import OffsetRange, TopicPartition
from tests.file_service import Record


def rows_in(directory: Path) -> list[dict[str, Any]]:
    """All rows, in the order of the files' names."""
    rows: list[dict[str, Any]] = []
    for path in sorted(directory.glob("*")):
        if path.suffix == ".jsonl":
            rows += map(json.loads, path.read_text("utf-8").splitlines())
        elif path.suffix == ".parquet":
            rows += parquet.read_table(path).to_pylist()
        else:
            assert path.name.startswith("."), f"{path} is no result and not hidden"
    return rows


def records_in(directory: Path) -> Counter[Record]:
    """The records whose effects are there, each as often as it is."""
    return Counter((row["partition"], row["offset"], row["value"]) for row in rows_in(directory))


def ranges_in(directory: Path) -> list[OffsetRange]:
    """The ranges that the files' names tell, in the order of the names."""
    names = [path.stem.split("+") for path in sorted(directory.glob("*")) if not path.name.startswith(".")]
    return [
        OffsetRange(TopicPartition(topic, int(partition)), *map(int, offsets.split("-")))
        for topic, partition, offsets in names
    ]
