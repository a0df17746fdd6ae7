"""What a stream's life looks like in the log, whoever runs it: golden lines, fields for programs, and no secret."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import pytest

from kafka_stream import DirectStream
from kafka_stream.batch import Batch
from kafka_stream.cli.logs import JsonFormatter
from kafka_stream.errors import ProcessingError, StoreUnavailable
from kafka_stream.running.log_context import LOGGERS, logged_as
from kafka_stream.running.stream_log import StreamLog
from kafka_stream.testing import MemoryKafka
from tests.fakes import ORDERS_0
from tests.simulation import Clock, ResultsStore, ResultsTransaction, Simulation, twenty_each, write

ABOUT = {"topics": ["orders"], "results": ["table shop"], "store": "sqlite:///o"}


def _logged(kafka: MemoryKafka, store: ResultsStore, every_s: float = 60.0, **settings: Any) -> Simulation:
    clock = Clock()
    log = StreamLog(ABOUT, every_s=every_s, clock=clock)
    return Simulation(kafka, store, clock=clock, **{"max_records_per_batch": 10, "listeners": [log]} | settings)


def _lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def _fields(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if vars(record).get("event") == event]


# A life -------------------------------------------------------------------------------------------------------------


def test_start_outage_unknown_outcomes_and_stop(store: ResultsStore, caplog: pytest.LogCaptureFixture) -> None:
    run = _logged(twenty_each(), store)
    store.failures["begin"] = [StoreUnavailable("postgresql://db/shop does not answer")]
    store.lost_answers = ["after", "before"]
    with caplog.at_level(logging.INFO, "kafka_stream"):
        run.run("latest")
    started, *others = _lines(caplog)
    assert started == f"s started: orders into table shop, offsets in sqlite:///o, owner {run.owner}, exactly-once"
    not_committed = "the commit of orders[0] [5, 10) did not take effect: the connection broke during COMMIT"
    assert others == [
        "s reads 2 partitions: orders[0] from 0, orders[1] from 0",
        "postgresql://db/shop does not answer; trying again in 0.1 s",
        "s has settled a commit whose outcome was unknown: committed",
        "s has settled a commit whose outcome was unknown: not committed",
        f"{not_committed}; trying again in 0.1 s",
        "s stopped after 40 records in 4 batches, 0.2 s (200 records/s)",
    ]
    assert {record.levelname for record in caplog.records if vars(record)["event"] == "retrying"} == {"WARNING"}
    assert [it["committed"] for it in _fields(caplog, "settled")] == [True, False]
    assert [it["error"] for it in _fields(caplog, "retrying")] == ["StoreUnavailable", "TransientError"]


def test_partitions_that_come_and_go(store: ResultsStore, caplog: pytest.LogCaptureFixture) -> None:
    kafka = twenty_each()
    run, other = _logged(kafka, store, assignment="group"), Simulation(kafka, store, assignment="group")
    run.at(1, other.source.subscribe)
    run.at(2, other.source.close)
    run.at(4, run.stop)
    with caplog.at_level(logging.INFO, "kafka_stream"):
        run.run()
    assert _lines(caplog)[1:-1] == [
        "s reads 2 partitions: orders[0] from 0, orders[1] from 0",
        "s reads 1 partition no more: orders[1]",
        "s reads 1 partition: orders[1] from 20",
    ]
    assert [it["positions"] for it in _fields(caplog, "assigned")] == [
        {"orders[0]": 0, "orders[1]": 0},
        {"orders[1]": 20},
    ]
    assert [it["partitions"] for it in _fields(caplog, "revoked")] == [["orders[1]"]]


def test_data_loss(store: ResultsStore, caplog: pytest.LogCaptureFixture) -> None:
    kafka = twenty_each()
    Simulation(kafka, store).run({ORDERS_0: 5})
    kafka.delete_records("orders", 0, 12)
    with caplog.at_level(logging.INFO, "kafka_stream"):
        _logged(kafka, store, on_data_loss="earliest").run("latest")
    (loss,) = _fields(caplog, "data loss")
    assert (loss["levelname"], loss["partition"], loss["offset"], loss["loss"]) == (
        "WARNING",
        "orders[0]",
        12,
        "OffsetOutOfRange",
    )


def test_a_failure_is_told_with_its_type_and_the_cause_is_whoevers_who_hears_of_it(
    store: ResultsStore, caplog: pytest.LogCaptureFixture
) -> None:
    def sink(batch: Batch, transaction: ResultsTransaction) -> None:
        raise LookupError("planted@example.com")

    with caplog.at_level(logging.INFO, "kafka_stream"), pytest.raises(ProcessingError):
        _logged(twenty_each(), store, sink=sink).run("latest")
    (failed,) = _fields(caplog, "failed")
    assert (failed["error"], failed["records"], failed["batches"]) == ("ProcessingError", 0, 0)
    assert "planted" not in caplog.text


def test_a_run_that_fails_before_it_has_started_says_whose_it_is(
    store: ResultsStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.failures["open"] = [ProcessingError("no")]
    with caplog.at_level(logging.INFO, "kafka_stream"), pytest.raises(ProcessingError):
        _logged(twenty_each(), store).run("latest")
    (failed,) = _fields(caplog, "failed")
    assert failed["stream"] == "s"
    assert failed["message"].startswith("s failed after 0 records")


# Batches ------------------------------------------------------------------------------------------------------------


def test_each_batch_is_told_at_debug(store: ResultsStore, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "kafka_stream"):
        _logged(twenty_each(), store).run("latest")
    batches = _fields(caplog, "batch")
    assert [it["records"] for it in batches] == [10, 10, 10, 10]
    assert {it["levelname"] for it in batches} == {"DEBUG"}
    assert batches[0]["ranges"] == ["orders[0] [0, 5)", "orders[1] [0, 5)"]
    assert {"prepare_s", "claim_s", "write_s", "commit_s", "duration_s", "lag", "attempt", "bytes"} <= batches[0].keys()


def test_summaries_come_once_in_a_while_and_add_up(store: ResultsStore, caplog: pytest.LogCaptureFixture) -> None:
    def slowly(batch: Batch, transaction: ResultsTransaction) -> None:
        write(batch, transaction)
        run.clock.sleep(30.0)

    run = _logged(twenty_each(), store, every_s=60.0, sink=slowly)
    with caplog.at_level(logging.INFO, "kafka_stream"):
        run.run("latest")
    summaries = _fields(caplog, "summary")
    assert [(it["records"], it["batches"], it["records_in_all"]) for it in summaries] == [
        (12, 2, 12),
        (12, 2, 24),
        (16, 2, 40),
    ]
    assert summaries[0]["message"] == "s: 12 records in 2 batches, 60.0 s (0 records/s); 12 in all, lag 28"


# Whose it is --------------------------------------------------------------------------------------------------------


def _stream(name: str, **settings: Any) -> DirectStream:
    given: dict[str, Any] = {
        "kafka": MemoryKafka({"orders": 1}),
        "topics": ["orders"],
        "sink": lambda batch, transaction: None,
    }
    return DirectStream(name=name, **given | settings)


def test_a_stream_inside_a_program_logs_its_life(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "kafka_stream"):
        _stream("shop", store=f"sqlite:///{tmp_path}/o.db", assignment="static").run("latest")
    (started,) = _fields(caplog, "started")
    assert started["stream"] == "shop"
    assert started["store"].startswith("sqlite+pysqlite:///")
    assert (started["settings"]["assignment"], started["guarantee"]) == ("static", "exactly-once")
    assert [it["records"] for it in _fields(caplog, "stopped")] == [0]


def test_settings_are_told_without_secrets(tmp_path: Any) -> None:
    stream = _stream(
        "shop",
        kafka={"bootstrap.servers": "127.0.0.1:1", "sasl.password": "planted-password"},
        store="postgresql+psycopg://me:planted-password@127.0.0.1/shop",
    )
    told = json.dumps(stream.about(), default=str)
    assert "planted" not in told
    assert stream.about()["settings"]["kafka"]["bootstrap.servers"] == "127.0.0.1:1"  # type: ignore[index]


@pytest.mark.parametrize("name", LOGGERS)
def test_records_of_the_whole_tree_say_whose_they_are(name: str, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger(f"kafka_stream{name}")
    with logged_as("shop"):
        logger.warning("inside")
        logger.warning("its own", extra={"stream": "other"})
    logger.warning("outside")
    assert [vars(record).get("stream") for record in caplog.records] == ["shop", "other", None]


def test_two_streams_at_once_are_told_apart(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    both = threading.Barrier(2)

    def prepare(batch: Batch) -> None:
        both.wait(20)
        logging.getLogger("kafka_stream").warning("from prepare")

    streams = []
    for name in ("one", "two"):
        kafka = MemoryKafka({"orders": 1})
        kafka.produce("orders", "x")
        settings: dict[str, Any] = {"kafka": kafka, "store": f"sqlite:///{tmp_path}/{name}.db", "assignment": "static"}
        streams.append(_stream(name, prepare=prepare, **settings))
    threads = [threading.Thread(target=stream.run, args=("latest",)) for stream in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    told = [record for record in caplog.records if record.getMessage() == "from prepare"]
    assert sorted(vars(record)["stream"] for record in told) == ["one", "two"]


def test_every_field_can_be_json(store: ResultsStore, caplog: pytest.LogCaptureFixture) -> None:
    store.lost_answers = ["after"]
    with caplog.at_level(logging.DEBUG, "kafka_stream"):
        _logged(twenty_each(), store).run("latest")
    for record in caplog.records:
        found = json.loads(JsonFormatter().format(record))
        assert found["stream"] == "s"
        assert found["event"]
