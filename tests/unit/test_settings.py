"""Everything a user can set: what is refused, in which sentence, and that secrets stay secret."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, get_type_hints

import pytest
from confluent_kafka import Consumer, KafkaException
from pydantic import SecretStr

from kafka_stream.admin import GroupOffsetMirror
from kafka_stream.errors import ConfigurationError
from kafka_stream.librdkafka import CALLBACKS, GUARDED, HARMLESS, KNOWN
from kafka_stream.progress import StreamListener
from kafka_stream.settings import StreamOptions, StreamSettings, checked_bound
from kafka_stream.types import MAX_OFFSET, Guarantee
from tests.fakes import ORDERS_0

KAFKA = {"bootstrap.servers": "localhost:9092"}
BASE: Mapping[str, Any] = {"name": "orders", "topics": ["orders"], "kafka": KAFKA, "store": "sqlite:///orders.db"}
SECRET = "hunter2"


def _settings(**changes: Any) -> StreamSettings:
    return StreamSettings.checked({**BASE, **changes})


def _refusal(**changes: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        _settings(**changes)
    return str(caught.value)


def _kafka_refusal(**changes: Any) -> str:
    return _refusal(kafka={**KAFKA, **{key.replace("__", "."): value for key, value in changes.items()}})


class InMemory:
    def source(self, group_id: str, topics: Sequence[str], limits: Any) -> Any:
        raise NotImplementedError


def test_defaults_are_those_of_the_design() -> None:
    s = _settings()
    assert (s.start, s.assignment, s.guarantee, s.group_id) == ("earliest", "group", Guarantee.EXACTLY_ONCE, None)
    assert (s.max_records_per_batch, s.max_records_per_partition, s.max_bytes_per_batch) == (50_000, None, 64 * 2**20)
    assert (s.target_batch_duration_s, s.max_rate_per_partition, s.interval_s) == (1.0, None, None)
    assert (s.on_data_loss, s.listeners, s.code_version, s.prepare) == ("stop", (), None, None)


def test_the_arguments_of_a_stream_are_the_settings() -> None:
    assert list(get_type_hints(StreamOptions)) == list(StreamSettings.model_fields)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        _settings().name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("missing", ["name", "topics", "kafka", "store"])
def test_what_is_missing_is_named(missing: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{missing}: is missing$"):
        StreamSettings.checked({k: v for k, v in BASE.items() if k != missing})


def test_all_problems_are_told_at_once() -> None:
    message = _refusal(name="", assignment="shared", nonsense=1)
    assert [part.split(":")[0] for part in message.split("; ")] == ["name", "assignment", "nonsense"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": ""}, "name: String should have at least 1 character"),
        ({"name": "a b"}, "name: String should match pattern '^[A-Za-z0-9._-]+$'"),
        ({"name": "x" * 201}, "name: String should have at most 200 characters"),
        ({"retries": 3}, "retries: is not a setting of a stream"),
        ({"topics": []}, "topics: topics must be a list of topic names, such as topics=['orders']"),
        ({"topics": ""}, "topics: topics must be a list of topic names, such as topics=['orders']"),
        ({"topics": "a,,b"}, "topics: topics must be a list of topic names, such as topics=['orders']"),
        ({"topics": [7]}, "topics: topics must be a list of topic names, such as topics=['orders']"),
        ({"topics": ["a", "a"]}, "topics: a topic is named twice"),
        ({"topics": ["^ord(.*"]}, "topics: the pattern '^ord(.*' is no regular expression: missing ), unterminated"),
        ({"topics": "^a{1,2}$(,b"}, "topics: '2}$(' cannot be the name of a topic"),
        ({"topics": ["^ord.*", "^ord.*"]}, "topics: a topic is named twice"),
        (
            {"topics": ["^p"], "start": {ORDERS_0: 1}},
            "start names orders[0], which is of none of the topics ^p",
        ),
        ({"group_protocol": "eager"}, "group_protocol: Input should be 'auto', 'classic' or 'consumer'"),
        ({"kafka": "localhost"}, "kafka: kafka must be librdkafka's settings, such as {'bootstrap.servers': "),
        ({"kafka": {}}, "kafka: kafka needs 'bootstrap.servers', such as 'localhost:9092'"),
        ({"store": 5}, "store: store must be an offset store or its URL, such as 'sqlite:///orders.db'"),
        ({"sink": []}, "sink: sink is an empty list; give at least one"),
        ({"sink": "table"}, "sink: sink must be a function write(prepared, transaction), a sink, or a list of sinks"),
        ({"sink": [print, 5]}, "sink: sink must be a function write(prepared, transaction), a sink, or a list"),
        ({"prepare": 5}, "prepare: Input should be callable"),
        ({"start": "yesterday"}, "start: 'yesterday' is not 'earliest', 'latest' or an ISO 8601 time"),
        ({"start": 5}, "start: it must be 'earliest', 'latest', an aware datetime or {TopicPartition: offset}"),
        ({"start": None}, "start: it must be 'earliest', 'latest', an aware datetime or {TopicPartition: offset}"),
        ({"start": "2026-01-01T00:00:00"}, "start: 2026-01-01T00:00:00 has no time zone; give an aware datetime"),
        ({"start": datetime(2026, 1, 1)}, "start: 2026-01-01T00:00:00 has no time zone; give an aware datetime"),
        ({"assignment": "static:4/4"}, "assignment: 'static:4/4' is not 'group', 'static' or 'static:i/n' with 0 <="),
        ({"assignment": "static:0/0"}, "assignment: 'static:0/0' is not"),
        ({"assignment": "static:-1/2"}, "assignment: 'static:-1/2' is not"),
        ({"assignment": "cooperative"}, "assignment: 'cooperative' is not"),
        ({"guarantee": "best"}, "guarantee: Input should be 'exactly-once', 'effectively-once' or 'at-least-once'"),
        ({"group_id": ""}, "group_id: String should have at least 1 character"),
        ({"max_records_per_batch": 0}, "max_records_per_batch: Input should be greater than or equal to 1"),
        ({"max_records_per_partition": 0}, "max_records_per_partition: Input should be greater than or equal to 1"),
        ({"max_bytes_per_batch": 0}, "max_bytes_per_batch: Input should be greater than or equal to 1"),
        ({"target_batch_duration_s": 0}, "target_batch_duration_s: Input should be greater than 0"),
        ({"max_rate_per_partition": 0}, "max_rate_per_partition: Input should be greater than 0"),
        ({"max_rate_per_partition": float("inf")}, "max_rate_per_partition: Input should be a finite number"),
        ({"interval_s": -1}, "interval_s: Input should be greater than 0"),
        ({"interval_s": float("nan")}, "interval_s: Input should be"),
        ({"on_data_loss": "skip"}, "on_data_loss: Input should be 'stop', 'earliest' or 'latest'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_wrong_setting_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    assert _refusal(**changes).startswith(sentence)


@pytest.mark.parametrize("offset", [-1, MAX_OFFSET + 1, True, 1.5, "7"])
def test_start_offsets_are_offsets(offset: Any) -> None:
    assert _refusal(start={ORDERS_0: offset}).startswith("start: offsets are given as {TopicPartition('orders', 0): 42")


def test_start_offsets_are_of_the_streams_topics() -> None:
    assert _refusal(start={("orders", 0): 1}).startswith("start: offsets are given as {TopicPartition(")
    assert "start names orders[0], which is of none of the topics users" in _refusal(
        topics=["users"], start={ORDERS_0: 1}
    )
    assert _settings(start={ORDERS_0: MAX_OFFSET}).start == {ORDERS_0: MAX_OFFSET}


def test_starts() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert _settings(start="latest").start == "latest"
    assert _settings(start=at).start == at
    assert _settings(start="2026-01-01T00:00:00Z").start == at


def test_an_until_is_checked_alike_and_says_that_it_is_one() -> None:
    assert checked_bound("latest", "until") == "latest"
    with pytest.raises(ConfigurationError, match=r"^until: 'soon' is not 'earliest', 'latest' or an ISO 8601 time$"):
        checked_bound("soon", "until")


@pytest.mark.parametrize(
    "key",
    [
        "enable.auto.commit",
        "enable.auto.offset.store",
        "auto.commit.interval.ms",
        "auto.commit.enable",
        "enable.partition.eof",
        "group.id",
        "group.instance.id",
        "partition.assignment.strategy",
        "group.protocol",
        "on_commit",
        "offset_commit_cb",
        "default.topic.config",
    ],
)
@pytest.mark.parametrize("value", [True, False, "x"])
def test_settings_that_would_break_the_guarantee_are_refused_with_the_reason(key: str, value: object) -> None:
    message = _refusal(kafka={**KAFKA, key: value})
    assert message.startswith(f"kafka: kafka setting {key!r} cannot be set: ")
    assert len(message.split("cannot be set: ")[1]) > 5


@pytest.mark.parametrize("reset", ["earliest", "latest", "smallest", "none"])
def test_a_position_that_is_gone_is_never_moved_silently(reset: str) -> None:
    assert _kafka_refusal(auto__offset__reset=reset) == (
        "kafka: kafka setting 'auto.offset.reset' must be 'error': use start= for the first start and on_data_loss= "
        "for a position that is gone"
    )
    assert _settings(kafka={**KAFKA, "auto.offset.reset": "error"}).kafka_config()["auto.offset.reset"] == "error"


def test_aborted_records_are_read_only_by_who_says_so() -> None:
    kafka = {**KAFKA, "isolation.level": "read_uncommitted"}
    for guarantee in ("exactly-once", "effectively-once"):
        assert "'isolation.level' below read_committed reads records of aborted transactions" in _refusal(
            kafka=kafka, guarantee=guarantee
        )
    assert _settings(kafka=kafka, guarantee="at-least-once").guarantee is Guarantee.AT_LEAST_ONCE
    assert _settings(kafka={**KAFKA, "isolation.level": "read_committed"}).kafka["isolation.level"] == "read_committed"


# ------------------------------------------------------------------------------------------- names that there are not


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("sasl.pasword", "sasl.password"),
        ("bootstrap.server", "bootstrap.servers"),
        ("fetch.max.byte", "fetch.max.bytes"),
        ("eror_cb", "error_cb"),
        ("Client.Id", "client.id"),
    ],
)
def test_a_misspelt_setting_of_librdkafka_is_refused_with_the_nearest_name(key: str, nearest: str) -> None:
    sentence = _refusal(kafka={**KAFKA, key: "x"})
    assert sentence.startswith(f"kafka: kafka setting {key!r} is no setting of librdkafka (")
    assert sentence.endswith(f"; is {nearest!r} meant?")


def test_settings_of_other_clients_are_none_of_librdkafka() -> None:
    for key in ("key.deserializer", "schema.registry.url", "sasl.jaas.config", "", "\x00"):
        assert f"kafka setting {key!r} is no setting of librdkafka" in _refusal(kafka={**KAFKA, key: SECRET})
        assert SECRET not in _refusal(kafka={**KAFKA, key: SECRET})


@pytest.mark.parametrize("key", sorted(KNOWN - CALLBACKS))
def test_the_installed_librdkafka_has_every_setting_that_is_listed(key: str) -> None:
    with pytest.raises((KafkaException, ValueError, TypeError)) as refused:
        # The last one has no such value, so that no client is made whatever becomes of the first.
        Consumer({"group.id": "none", "log_level": 0, key: "\x01", "enable.metrics.push": "neither"})
    assert "No such configuration property" not in str(refused.value)


def test_a_setting_that_a_later_librdkafka_has_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafka_stream.librdkafka.KNOWN", KNOWN - {"client.rack"})
    monkeypatch.setattr("kafka_stream.setting_checks.HARMLESS", HARMLESS - {"client.rack"})
    s = _settings(kafka={**KAFKA, "client.rack": "r1"})
    assert s.kafka_config()["client.rack"] == "r1"
    assert "r1" not in repr(s), "and is not known to be harmless"


def test_a_misspelt_argument_is_refused_with_the_nearest_name() -> None:
    assert _refusal(max_record_per_batch=3).endswith(
        "max_record_per_batch: is not a setting of a stream; is 'max_records_per_batch' meant?"
    )


# ------------------------------------------------------------------------------------ what cannot be called as it will


class Deaf(StreamListener):
    def on_batch(self) -> None:  # type: ignore[override]
        raise NotImplementedError


class Deferring(StreamListener):
    async def on_batch(self, progress: Any) -> None:  # type: ignore[override]
        raise NotImplementedError


class Yielding(StreamListener):
    def on_stop(self, error: BaseException | None) -> Any:
        yield error


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"listeners": [3]}, "listeners: this cannot be a listener: 3 has no on_start(stream, owner, guarantee): "),
        ({"listeners": [StreamListener]}, "listeners: this cannot be a listener: StreamListener is a class; give an"),
        ({"listeners": [Deaf()]}, "listeners: this cannot be a listener: on_batch: it is called with (progress), and "),
        (
            {"listeners": [Deferring()]},
            "listeners: this cannot be a listener: on_batch is an async function, of which ",
        ),
        (
            {"listeners": [Yielding()]},
            "listeners: this cannot be a listener: on_stop is a generator function, of which ",
        ),
    ],
    ids=["no listener", "its class", "deaf", "async", "generator"],
)
def test_what_cannot_be_called_is_refused_before_anything_is_read(changes: dict[str, Any], sentence: str) -> None:
    assert _refusal(**changes).startswith(sentence)


def test_what_nobody_can_tell_is_let_through() -> None:
    for sink in (print, partial(print, 1), lambda prepared, transaction, more=1: None, lambda *args: None):
        assert _settings(sink=sink).sink is sink
    assert len(_settings(listeners=[StreamListener(), GroupOffsetMirror()]).listeners) == 2


async def _async_write(prepared: Any, transaction: Any) -> None:
    raise NotImplementedError


class AsyncSink:
    async def write(self, prepared: Any, transaction: Any) -> None:
        raise NotImplementedError


class AsyncCallable:
    async def __call__(self, prepared: Any, transaction: Any) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    "sink",
    [_async_write, AsyncSink(), AsyncCallable(), [print, _async_write], partial(_async_write, 1)],
    ids=["function", "sink", "callable", "in a list", "partial"],
)
def test_an_async_sink_is_told_where_async_belongs(sink: Any) -> None:
    assert "a sink cannot be async" in _refusal(sink=sink)
    assert "do async work in prepare (async def prepare(batch))" in _refusal(sink=sink)


def test_an_async_prepare_is_welcome() -> None:
    async def prepare(batch: Any) -> Any:
        return batch

    assert _settings(prepare=prepare).prepare is prepare


# --------------------------------------------------------------------------------------------------- secrets

SECRET_KAFKA: Mapping[str, Any] = {
    **KAFKA,
    "sasl.username": "app",
    **{key: f"{key} is {SECRET}" for key in sorted(GUARDED)},
    "oauth_cb": partial(print, SECRET),
}


@pytest.mark.parametrize("key", sorted(KNOWN - HARMLESS))
def test_what_is_not_known_to_be_harmless_is_never_shown(key: str) -> None:
    value = {"password": SECRET} if key in CALLBACKS else SECRET
    if key in {"on_commit", "default.topic.config"}:
        assert SECRET not in _refusal(kafka={**KAFKA, key: value})
        return
    s = _settings(kafka={**KAFKA, key: value})
    assert SECRET not in repr(s) + str(s) + repr(vars(s)) + repr(s.kafka)
    assert s.kafka_config()[key] == value
    assert _settings(kafka=s.kafka).kafka_config() == s.kafka_config(), "and what was covered is not covered twice"


def test_secrets_are_never_shown() -> None:
    s = _settings(kafka=SECRET_KAFKA, store=f"postgresql://app:{SECRET}@db/orders")
    for shown in (str(s), repr(s), str(s.model_dump()), s.model_dump_json(exclude={"listeners"}, fallback=str)):
        assert SECRET not in shown
        assert "localhost:9092" in shown
    assert s.kafka_config() == SECRET_KAFKA
    assert isinstance(s.store, SecretStr)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kafka": {**SECRET_KAFKA, "group.id": "x"}},
        {"kafka": {"sasl.password": SECRET}},
        {"kafka": {**SECRET_KAFKA, "isolation.level": "read_uncommitted"}},
        {"kafka": f"localhost?password={SECRET}"},
        {"store": 5, "kafka": SECRET_KAFKA},
        {"store": f"postgresql://app:{SECRET}@db/orders", "name": ""},
        {"password": SECRET},
    ],
)
def test_secrets_are_not_in_refusals_nor_in_their_tracebacks(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _settings(**wrong)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
