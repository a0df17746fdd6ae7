"""What Spark reads for a batch: all of exactly its ranges, as a read-committed reader sees them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise

import pytest
from confluent_kafka import Producer

from integration_tests.servers import KafkaServer
from integration_tests.spark.tasks import Ends, Tasks, only, pieces_of, slices_of
from kafka_stream.protocols.executors import Outcome

PARTITIONS = 3


@pytest.fixture(scope="module")
def topic(kafka: KafkaServer) -> str:
    """Records of transactions that were committed or aborted, plain ones, tombstones, and markers at the ends."""
    found = kafka.create_topic(partitions=PARTITIONS)
    for partition in range(PARTITIONS):
        kafka.produce(found, [(f"k{n}", None if n % 5 == 0 else f"v{n}") for n in range(40)], partition)
        kafka.transaction(found, [f"aborted {n}" for n in range(30)], partition, "abort")
        kafka.transaction(found, [(b"\xff\x00", f"committed {n}") for n in range(20)], partition)
        for n in range(4):
            kafka.transaction(found, [f"one {n}"], partition, "abort" if n % 2 else "commit")
    kafka.transaction(found, ["the last"] * 7, 1, "abort")
    return found


Row = tuple[int, int, bytes | None, bytes | None]


def _rows(outcome: Outcome) -> list[Row]:
    pieces = pieces_of(outcome)
    names = ("partition", "offset", "key", "value")
    return [tuple(row[name] for name in names) for [table] in pieces for row in table.to_pylist()]


def _batches(ends: dict[int, int], seed: int) -> Iterator[Ends]:
    """Cuts of all partitions, wherever they happen to lie: between records, in a hole, on a marker."""
    chosen = random.Random(seed)
    cuts = {number: sorted({0, end, *chosen.sample(range(1, end), 4)}) for number, end in ends.items()}
    for at in zip(*(pairwise(each) for each in cuts.values()), strict=True):
        yield dict(zip(cuts, at, strict=True))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_batches_together_are_what_an_independent_reader_reads(
    tasks: Tasks, kafka: KafkaServer, topic: str, seed: int
) -> None:
    found: list[Row] = []
    workers = tasks.workers()
    for ends in _batches(kafka.end_offsets(topic), seed):
        outcome = workers.submit(slices_of(topic, ends)).result(180)
        rows = _rows(outcome)
        assert all(ends[number][0] <= offset < ends[number][1] for number, offset, _, _ in rows)
        assert sum(outcome.records) == len(rows)
        assert sum(outcome.value_bytes) == sum(len(value or b"") for _, _, _, value in rows)
        found += rows
    assert sorted(found, key=lambda row: row[:2]) == kafka.read_committed(topic)


def test_a_range_without_a_visible_record_has_no_results(tasks: Tasks, topic: str, kafka: KafkaServer) -> None:
    end = kafka.end_offsets(topic)[1]
    aborted = tasks.outcome(slices_of(topic, {0: (40, 70), 1: (end - 8, end)}))
    assert (list(aborted.records), pieces_of(aborted)) == ([0, 0], [])
    marker = tasks.outcome(slices_of(topic, {1: (end - 1, end)}))
    assert (list(marker.records), pieces_of(marker)) == ([0], [])


def test_rows_come_in_the_order_of_partitions_and_offsets_however_many_tasks_read_them(
    tasks: Tasks, kafka: KafkaServer
) -> None:
    from pyspark.sql import functions

    topic = kafka.create_topic(partitions=2)
    kafka.produce(topic, [str(n) for n in range(5_000)], 0)
    kafka.produce(topic, [str(n) for n in range(300)], 1)
    named = functions.spark_partition_id().alias("task")
    slices = slices_of(topic, {0: (0, 5_000), 1: (0, 300)})
    table = only(tasks.outcome(slices, lambda frame: frame.select("*", named), options={"minPartitions": 4}))
    rows = [(row["partition"], row["offset"]) for row in table.to_pylist()]
    assert rows == sorted(rows)
    assert len(rows) == 5_300
    assert len({row["task"] for row in table.to_pylist() if row["partition"] == 0}) > 1


def test_one_partition_with_a_backlog_keeps_all_cores_busy(tasks: Tasks, kafka: KafkaServer) -> None:
    from pyspark.sql import functions

    topic = kafka.create_topic(partitions=1)
    kafka.produce(topic, [str(n) for n in range(3_000)], 0)
    named = functions.spark_partition_id().alias("task")
    table = only(tasks.outcome(slices_of(topic, {0: (0, 3_000)}), lambda frame: frame.select(named)))
    assert len({row["task"] for row in table.to_pylist()}) == 2


def test_headers_and_what_else_a_record_has_come_along(tasks: Tasks, kafka: KafkaServer) -> None:
    topic = kafka.create_topic(partitions=1)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    headers: list[tuple[str, bytes | None]] = [("trace", b"\x01"), ("trace", b"\x02"), ("none", None)]
    producer.produce(topic, b"v", b"k", 0, headers=headers, timestamp=1_700_000_000_123)  # type: ignore[arg-type]
    assert producer.flush(30) == 0
    [row] = only(tasks.outcome(slices_of(topic, {0: (0, 1)}))).to_pylist()
    assert [(header["key"], header["value"]) for header in row["headers"]] == headers
    assert row["timestamp"].timestamp() == 1_700_000_000.123
    assert (row["topic"], row["partition"], row["offset"], row["timestampType"]) == (topic, 0, 0, 0)


def test_two_topics_in_one_batch_are_told_apart(tasks: Tasks, kafka: KafkaServer) -> None:
    first, second = kafka.create_topic(partitions=1), kafka.create_topic(partitions=2)
    kafka.produce(first, ["a", "b"], 0)
    kafka.produce(second, ["c", "d"], 1)
    slices = [*slices_of(first, {0: (1, 2)}), *slices_of(second, {1: (0, 1)})]
    rows = only(tasks.outcome(slices)).to_pylist()
    assert sorted((row["topic"], row["value"]) for row in rows) == sorted([(first, b"b"), (second, b"c")])
