"""What a Kafka store can tell without a broker: settings, URLs, bindings, errors."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException

from kafka_stream import DirectStream
from kafka_stream.errors import (
    ConfigurationError,
    KafkaStreamError,
    NotAuthorized,
    ProcessingError,
    StoreUnavailable,
    TopicNotFound,
    TransientError,
    UnsupportedGuarantee,
)
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.offset_stores.kafka.brokers import Brokers
from kafka_stream.offset_stores.kafka.errors import is_fenced, mapped, undelivered
from kafka_stream.offset_stores.kafka.requests import Waits
from kafka_stream.offset_stores.kafka.settings import checked_config, merged_config, producer_settings, servers_of
from kafka_stream.plugins import store_from_url
from kafka_stream.protocols import BoundStore, StreamBinding
from kafka_stream.sinks.kafka import KafkaSink
from kafka_stream.testing import MemoryKafka
from kafka_stream.types import Guarantee

OF_STREAM = {
    "bootstrap.servers": "b1:9092",
    "security.protocol": "SASL_SSL",
    "sasl.password": "hush-hush",
    "session.timeout.ms": 9_000,
    "fetch.max.bytes": 1_000,
    "isolation.level": "read_committed",
}


def binding(**changes: Any) -> StreamBinding:
    values: dict[str, Any] = {"stream": "orders", "group_id": "orders", "kafka": OF_STREAM, "shard": None}
    return StreamBinding(**{**values, **changes})


# Settings -------------------------------------------------------------------------------------------------------------


def test_brokers_security_and_session_come_from_the_stream() -> None:
    settings = producer_settings(merged_config({"linger.ms": 5}, OF_STREAM))
    assert settings["bootstrap.servers"] == "b1:9092"
    assert (settings["security.protocol"], settings["sasl.password"]) == ("SASL_SSL", "hush-hush")
    assert settings["transaction.timeout.ms"] == 9_000
    assert settings["linger.ms"] == 5
    assert not settings.keys() & {"fetch.max.bytes", "isolation.level", "session.timeout.ms"}
    assert producer_settings(merged_config({}, {"bootstrap.servers": "b1"}))["transaction.timeout.ms"] == 45_000
    of_group = producer_settings(merged_config({}, {"bootstrap.servers": "b1"}), 7_000)
    assert (of_group["transaction.timeout.ms"], of_group["socket.timeout.ms"]) == (7_000, 7_000)
    assert producer_settings(merged_config({}, OF_STREAM), 7_000)["transaction.timeout.ms"] == 9_000


def test_a_store_that_names_brokers_takes_nothing_from_the_stream_but_its_timeout() -> None:
    own = {"bootstrap.servers": "b2:9092"}
    assert merged_config(own, OF_STREAM) == {**own, "transaction.timeout.ms": 9_000}
    assert merged_config(own, {}) == own
    assert servers_of(own) == "b2:9092"
    asked_for = {**own, "transaction.timeout.ms": 10_000}
    assert merged_config(asked_for, OF_STREAM) == asked_for


@pytest.mark.parametrize(
    "key",
    ["transactional.id", "enable.idempotence", "acks", "on_delivery", "delivery.report.only.error", "group.id"],
)
def test_settings_that_would_break_it_are_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match=key):
        KafkaOffsetStore({key: "x"})


def test_a_url_has_brokers_and_settings() -> None:
    assert checked_config("kafka://h1:9092,h2:9093") == {"bootstrap.servers": "h1:9092,h2:9093"}
    assert checked_config("kafka://[::1]:9092/?security.protocol=SSL&ssl.ca.location=/ca%20s.pem") == {
        "bootstrap.servers": "[::1]:9092",
        "security.protocol": "SSL",
        "ssl.ca.location": "/ca s.pem",
    }
    assert isinstance(store_from_url("kafka://h1:9092"), KafkaOffsetStore)


@pytest.mark.parametrize("url", ["kafka://", "kafka:h1", "sqlite://h1", "kafka://u:p@h1:9092", "kafka://h1/topic"])
def test_other_urls_are_refused_without_a_secret(url: str) -> None:
    with pytest.raises(ConfigurationError, match="kafka://") as refused:
        KafkaOffsetStore(url)
    assert "u:p" not in str(refused.value)


def test_it_describes_itself_without_a_secret() -> None:
    store = KafkaOffsetStore()
    assert "brokers of the stream" in store.describe()
    store.bind(binding())
    assert store.describe() == "consumer group 'orders' at b1:9092"
    assert "hush" not in f"{store!r} {KafkaOffsetStore({**OF_STREAM})!r}"


# Bindings -------------------------------------------------------------------------------------------------------------


def test_it_is_a_bound_store_without_compare_and_set() -> None:
    store = KafkaOffsetStore()
    assert isinstance(store, BoundStore)
    assert (store.capabilities.transaction, store.capabilities.compare_and_set) == ("kafka", False)
    assert store.capabilities.durable_plan


def test_the_group_must_be_named_after_the_stream() -> None:
    with pytest.raises(ConfigurationError, match="group_id='others'"):
        KafkaOffsetStore().bind(binding(group_id="others"))


@pytest.mark.parametrize("store", [KafkaOffsetStore(), KafkaOffsetStore("kafka://h1:9092")])
def test_a_stream_without_brokers_is_refused(store: KafkaOffsetStore) -> None:
    with pytest.raises(ConfigurationError, match="MemoryKafka"):
        DirectStream(name="orders", topics=["orders"], kafka=MemoryKafka(), store=store, sink=lambda batch, tx: None)


def test_a_mock_cluster_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="mock"):
        KafkaOffsetStore().bind(binding(kafka={"test.mock.num.brokers": 1}))
    with pytest.raises(ConfigurationError, match="mock"):
        KafkaOffsetStore({"test.mock.num.brokers": 1})


def test_without_brokers_or_with_another_stream_it_says_what_is_missing() -> None:
    store = KafkaOffsetStore()
    with pytest.raises(ConfigurationError, match="names no brokers"):
        store.positions("orders")
    store.bind(binding())
    with pytest.raises(ConfigurationError, match="not bound to stream 'payments'"):
        store.take_over("payments", None, [], {})  # type: ignore[arg-type]  # it does not come so far


def test_the_guarantee_of_a_kafka_sink() -> None:
    sink = KafkaSink("enriched", lambda batch: batch)
    kafka = {"bootstrap.servers": "localhost:9092"}
    stream = DirectStream(name="orders", topics=["orders"], kafka=kafka, store="kafka://localhost:9092", sink=sink)
    assert stream.guarantee is Guarantee.EXACTLY_ONCE
    with pytest.raises(UnsupportedGuarantee, match="topic enriched"):
        DirectStream(name="orders", topics=["orders"], kafka=kafka, store="sqlite://", sink=sink)


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (KafkaError.ILLEGAL_GENERATION, TransientError),
        (KafkaError.STALE_MEMBER_EPOCH, TransientError),
        (KafkaError.UNKNOWN_MEMBER_ID, TransientError),
        (KafkaError._TIMED_OUT, StoreUnavailable),
        (KafkaError.COORDINATOR_NOT_AVAILABLE, StoreUnavailable),
        (KafkaError.CONCURRENT_TRANSACTIONS, StoreUnavailable),
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, NotAuthorized),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, NotAuthorized),
        (KafkaError.INVALID_TRANSACTION_TIMEOUT, ConfigurationError),
        (KafkaError.OFFSET_METADATA_TOO_LARGE, ConfigurationError),
    ],
)
def test_requests_errors_by_code(code: int, expected: type[KafkaStreamError]) -> None:
    error = mapped(KafkaError(code), "committing a transaction", "b1:9092")
    assert type(error) is expected
    assert "b1:9092" in str(error)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, ProcessingError),
        (KafkaError.INVALID_RECORD, ProcessingError),
        (KafkaError._UNKNOWN_PARTITION, ProcessingError),
        (KafkaError._UNKNOWN_TOPIC, TopicNotFound),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, NotAuthorized),
        (KafkaError._MSG_TIMED_OUT, StoreUnavailable),
        (KafkaError.NOT_ENOUGH_REPLICAS, StoreUnavailable),
    ],
)
def test_deliveries_errors_by_code_name_the_topic(code: int, expected: type[KafkaStreamError]) -> None:
    error = undelivered(KafkaError(code), "enriched", "b1:9092")
    assert type(error) is expected
    assert "'enriched'" in str(error)


def test_fences_by_code() -> None:
    fences = [KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH]
    assert all(is_fenced(KafkaError(code)) for code in fences)
    assert not is_fenced(KafkaError(KafkaError.ILLEGAL_GENERATION))


# Groups ---------------------------------------------------------------------------------------------------------------


class LoadingAdmin:
    """The admin client of a broker that was just started: it answers with errors before it answers with groups."""

    def __init__(self, *errors: KafkaError) -> None:
        self._errors = list(errors)

    def poll(self, timeout: float) -> int:
        return 0

    def list_consumer_groups(self, request_timeout: float) -> Future[SimpleNamespace]:
        answer: Future[SimpleNamespace] = Future()
        errors = [KafkaException(self._errors.pop(0))] if self._errors else []
        valid = [] if errors else [SimpleNamespace(group_id="orders", state=ConsumerGroupState.STABLE)]
        answer.set_result(SimpleNamespace(valid=valid, errors=errors))
        return answer


def brokers(monkeypatch: pytest.MonkeyPatch, *errors: KafkaError) -> Brokers:
    monkeypatch.setattr("kafka_stream.offset_stores.kafka.brokers._client", lambda *_: LoadingAdmin(*errors))
    return Brokers({}, "b1:9092", Waits())


def test_groups_are_asked_for_again_while_their_coordinator_loads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    loading = KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS)
    assert brokers(monkeypatch, loading, loading).group_ids() == ["orders"]
    assert brokers(monkeypatch, loading).has_members("orders")


def test_a_broker_that_does_not_list_its_groups_is_an_error_not_an_empty_group(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreUnavailable, match="b1:9092 did not answer, or could not, while asking whether group"):
        brokers(monkeypatch, KafkaError(KafkaError.UNKNOWN)).has_members("orders")
