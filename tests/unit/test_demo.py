"""The demo's parts: what it counts, what it says, and that a loss or a repeat makes it fail."""

from __future__ import annotations

import io
import json
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message
from rich.console import Console
from sqlalchemy import delete, insert, select

from kafka_stream.batch import Batch
from kafka_stream.cli.demo import command, service_v1, service_v2
from kafka_stream.cli.demo.cluster import EmbeddedCluster
from kafka_stream.cli.demo.display import Board, LiveDisplay, Mark, PlainDisplay, display_for
from kafka_stream.cli.demo.kills import Kill, Script
from kafka_stream.cli.demo.ledger import Ledger, Verdict
from kafka_stream.cli.demo.orders import Acknowledged, OrderProducer
from kafka_stream.cli.demo.probe import Probe
from kafka_stream.cli.demo.report import Places, print_intro, print_outcome
from kafka_stream.cli.demo.show import Outcome
from kafka_stream.errors import ConfigurationError
from kafka_stream.types import Guarantee, OffsetRange, Owner, Phase, TopicPartition

TIMEOUT_S = 30.0
RANGES = (OffsetRange(TopicPartition("orders", 0), 5, 8),)
RIGHT = Verdict(
    produced=9,
    stored=9,
    lost=0,
    repeated=0,
    unknown=0,
    cents_produced=123_456,
    cents_stored=123_456,
    stored_by={"version 1": 4, "version 2": 5},
)
KILLS = (Kill(1, Phase.AFTER_WRITE, at_random=False, records=3),)
PLACES = Places(
    store_url="sqlite:////tmp/x/orders.db", stream="demo-orders-1", table="orders", sqlite_file="/tmp/x/orders.db"
)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    waiting = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        waiting.wait(0.01)


# ----------------------------------------------------------------------------------------------------------- ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger(f"sqlite:///{tmp_path / 'orders.db'}", "orders")
    found.create()
    yield found
    found.close()


def store(ledger: Ledger, *order_ids: int, cents: int = 100) -> None:
    rows = [{"order_id": number, "customer": "x", "cents": cents, "stored_by": "version 1"} for number in order_ids]
    with ledger._engine.begin() as connection:
        connection.execute(insert(ledger.orders), rows)


def record(*order_ids: int) -> list[Acknowledged]:
    return [Acknowledged(number, 100, 0, number) for number in order_ids]


def test_a_right_table(ledger: Ledger) -> None:
    store(ledger, 1, 2, 3)
    verdict = ledger.verdict(record(1, 2, 3))
    assert verdict.is_right
    assert (verdict.produced, verdict.stored, verdict.cents_stored, verdict.stored_by) == (3, 3, 300, {"version 1": 3})


@pytest.mark.parametrize(
    ("stored", "acknowledged", "lost", "repeated", "unknown"),
    [
        ((1, 2), (1, 2, 3), 1, 0, 0),
        ((), (1, 2, 3), 3, 0, 0),
        ((1, 2, 2, 2, 3), (1, 2, 3), 0, 2, 0),
        ((1, 1, 2), (1, 2, 3), 1, 1, 0),  # the number of rows alone would not show it
        ((1, 2, 3, 4), (1, 2, 3), 0, 0, 1),
    ],
)
def test_what_is_wrong_with_a_table_is_counted(
    stored: tuple[int, ...],
    acknowledged: tuple[int, ...],
    lost: int,
    repeated: int,
    unknown: int,
    ledger: Ledger,
) -> None:
    if stored:
        store(ledger, *stored)
    assert ledger.rows_and_repeats() == (len(stored), repeated)
    verdict = ledger.verdict(record(*acknowledged))
    assert not verdict.is_right
    assert (verdict.lost, verdict.repeated, verdict.unknown) == (lost, repeated, unknown)


def test_a_wrong_amount_is_wrong(ledger: Ledger) -> None:
    store(ledger, 1, 2)
    store(ledger, 3, cents=99)
    assert not ledger.verdict(record(1, 2, 3)).is_right


# ----------------------------------------------------------------------------------------- the producer, the services


def test_the_producer_keeps_to_what_it_may_and_records_what_was_acknowledged() -> None:
    cluster = EmbeddedCluster("demo-orders-test")
    producer = OrderProducer(cluster.producer, cluster.topic, records=300, duration_s=0.1)
    try:
        producer.start()
        producer.allow(120)
        wait_until(lambda: producer.produced == 120)
        assert producer.is_waiting
        assert not producer.has_ended
        producer.allow(10)  # an allowance is never taken back
        producer.allow(10_000)
        wait_until(lambda: producer.has_ended)
    finally:
        producer.close()
        cluster.close()
    assert producer.failure is None
    assert [order.order_id for order in sorted(producer.acknowledged, key=lambda it: it.order_id)] == list(range(300))
    assert sum(producer.ends().values()) == 300
    assert len({(order.partition, order.offset) for order in producer.acknowledged}) == 300


class Transaction:
    def __init__(self, connection: Any) -> None:
        self.connection = connection


def test_both_versions_of_the_service_write_to_one_table(ledger: Ledger) -> None:
    value = json.dumps({"order_id": 7, "customer": "Ada Turing", "cents": 45_000}).encode()
    ranges = (OffsetRange(TopicPartition("orders", 0), 0, 1),)
    batch = Batch(ranges, {ranges[0].topic_partition: [Message(topic="orders", partition=0, offset=0, value=value)]})
    with ledger._engine.begin() as connection:
        service_v1.write(batch, Transaction(connection))
    ledger.add_size_column()
    with ledger._engine.begin() as connection:
        service_v1.write(batch, Transaction(connection))  # the old version goes on beside the new one
        service_v2.store(service_v2.to_rows(batch), Transaction(connection))
        rows = connection.execute(select(service_v2.purchases)).mappings().all()
    assert [(row["order_id"], row["size"], row["stored_by"]) for row in rows] == [
        (7, None, "version 1"),
        (7, None, "version 1"),
        (7, "large", "version 2"),
    ]


class Pipe:
    """A stdin that does not end before it is told to."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.changed = threading.Condition()
        self.ended = False

    def send(self, line: str | None) -> None:
        with self.changed:
            if line is None:
                self.ended = True
            else:
                self.lines.append(line)
            self.changed.notify_all()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        with self.changed:
            assert self.changed.wait_for(lambda: self.lines or self.ended, TIMEOUT_S)
            if self.lines:
                return self.lines.pop(0)
            raise StopIteration


def test_a_probe_reports_holds_and_goes_with_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    orders, reports = Pipe(), io.StringIO()
    probe = Probe(orders, reports)
    probe.on_start("orders", Owner("1", "h"), Guarantee.EXACTLY_ONCE)
    probe.on_positions({TopicPartition("orders", 3): 42})
    probe.on_phase(Phase.AFTER_WRITE, RANGES)
    probe.on_stop(None)
    orders.send("after_write\n")
    wait_until(lambda: probe._hold_at is Phase.AFTER_WRITE)
    probe.on_phase(Phase.AFTER_WRITE, ())  # a batch without records is none to be killed in
    held = threading.Thread(target=probe.on_phase, args=(Phase.AFTER_WRITE, RANGES), daemon=True)
    held.start()
    wait_until(lambda: reports.getvalue().count("\n") == 6)
    assert held.is_alive()
    events = [json.loads(line) for line in reports.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["started", "positions", "phase", "stopped", "phase", "phase"]
    assert events[1]["positions"] == {"3": 42}
    assert [event["held"] for event in events if event["event"] == "phase"] == [False, False, True]
    assert events[-1]["records"] == 3
    orders.send(None)
    wait_until(lambda: left == [1])


# --------------------------------------------------------------------------------------------- what a person is told


@pytest.mark.parametrize("kills", [1, 2, 3, 6, 7, 20])
def test_every_kill_is_shared_out_and_one_hits_inside_the_transaction(kills: int) -> None:
    first, second = Script(kills, random.Random(1)).points()
    assert len(first) + len(second) == kills
    assert first[0] is Phase.AFTER_WRITE


@pytest.mark.parametrize("phase", [*Phase, None])
@pytest.mark.parametrize("at_random", [True, False])
def test_every_point_has_words(phase: Phase | None, *, at_random: bool) -> None:
    words = Kill(1, phase, at_random, 1234).where()
    assert ("1 234" in words) is (phase is not None)
    assert ("random" in words) is (at_random and phase is not None)


def board() -> Board:
    return Board("Kafka (embedded mock)", "SQLite", 9000, 6, produced=8000, rows=7500, kills=2, service="version 1")


def test_the_board_on_a_terminal() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, color_system=None)
    display = display_for(console, board())
    assert isinstance(display, LiveDisplay)
    with display:
        display.say(Mark.KILL, "kill -9", "and so on")
        display.refresh()
        console.print(display._render())
    text = out.getvalue()
    for part in ("Kafka (embedded mock)", "SQLite", "8 000", "7 500", "2 of 6", "waiting in Kafka 500", "✖ kill -9"):
        assert part in text


def test_plain_lines_elsewhere() -> None:
    out = io.StringIO()
    display = display_for(Console(file=out, width=100), board())
    assert isinstance(display, PlainDisplay)
    with display:
        display.say(Mark.KILL, "kill -9", "and so on")
        display.refresh()
        display._refreshed_at -= 10
        display.refresh()
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("✖ kill -9. and so on")
    assert "orders in Kafka 8 000, rows in the database 7 500, repeated 0, killed 2 of 6" in lines[1]


def printed(outcome: Outcome, places: Places = PLACES) -> str:
    out = io.StringIO()
    console = Console(file=out, width=100)
    print_intro(console, 6, database="SQLite")
    print_outcome(console, outcome, places)
    return " ".join(out.getvalue().split())


def test_the_outcome_of_a_right_run_says_where_to_go_next() -> None:
    text = printed(Outcome(RIGHT, KILLS, batches=12, duration_s=41.0))
    for part in (
        "lost │ 0",
        "repeated │ 0",
        "1 234.56",
        "✔ Every order is there once",
        "3 rows were written",
        "the README",
    ):
        assert part in text
    assert "kafka-stream offsets describe --store sqlite:////tmp/x/orders.db --stream demo-orders-1" in text


def test_the_outcome_of_a_wrong_run_does_not_cheer() -> None:
    text = printed(Outcome(replace(RIGHT, lost=1, stored=8), KILLS, batches=12, duration_s=41.0))
    assert "lost │ 1" in text
    assert "Every order is there once" not in text
    assert "please report it" in text


@pytest.mark.parametrize(
    "verdict",
    [replace(RIGHT, lost=1), replace(RIGHT, repeated=1), replace(RIGHT, unknown=1), replace(RIGHT, cents_stored=1)],
)
def test_a_wrong_table_makes_the_command_fail(
    verdict: Verdict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(command, "_play", lambda *_: Outcome(verdict, KILLS, batches=12, duration_s=41.0))
    with pytest.raises(SystemExit) as ended:
        command.demo(kafka=None, records=1000, kills=1)
    assert ended.value.code == 1


def test_the_embedded_broker_has_its_limit() -> None:
    with pytest.raises(ConfigurationError, match="the embedded Kafka keeps 100000 orders; use --bootstrap-servers"):
        command.demo(kafka=None, records=100_001, kills=1)


def test_rows_that_are_removed_behind_its_back_are_seen(ledger: Ledger) -> None:
    store(ledger, 1, 2, 3)
    with ledger._engine.begin() as connection:
        connection.execute(delete(ledger.orders).where(ledger.orders.c.order_id == 2))
    assert ledger.verdict(record(1, 2, 3)).lost == 1
