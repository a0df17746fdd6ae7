"""Which protocol a member joins its group by, and what of librdkafka's settings goes with which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError

from kafka_stream.errors import BrokerUnavailable, ConfigurationError, KafkaStreamError
from kafka_stream.librdkafka import CLASSIC_ONLY, CONSUMER_ONLY, group_protocol_of, why_unfit
from kafka_stream.settings import StreamSettings
from kafka_stream.source.consumer.creation import consumer_settings
from kafka_stream.source.group_protocol import WILLING, GroupProtocol
from kafka_stream.source.kafka_errors import without_cover

BROKERS = {"bootstrap.servers": "localhost:1"}


def settings(protocol: str, **kafka: Any) -> StreamSettings:
    config = {**BROKERS, **{name.replace("__", "."): value for name, value in kafka.items()}}
    values = {"name": "orders", "topics": ["orders"], "kafka": config, "store": "sqlite:///orders.db"}
    return StreamSettings.checked({**values, "group_protocol": protocol})


@pytest.mark.parametrize(
    ("setting", "instead"),
    [
        ("session.timeout.ms", "the brokers' group.consumer.session.timeout.ms"),
        ("heartbeat.interval.ms", "the brokers' group.consumer.heartbeat.interval.ms"),
        ("group.protocol.type", "nothing has taken its place"),
    ],
)
def test_what_the_consumer_protocol_has_not_got_is_refused_with_what_took_its_place(setting: str, instead: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings("consumer", **{setting: 6000})
    assert str(refused.value).startswith(f"kafka setting {setting!r} is of the classic group protocol")
    assert instead in str(refused.value)
    for protocol in ("auto", "classic"):
        assert settings(protocol, **{setting: 6000}).group_protocol == protocol


def test_an_assignor_of_the_brokers_goes_with_the_consumer_protocol_only() -> None:
    with pytest.raises(ConfigurationError, match=r"'group\.remote\.assignor' is of the consumer group protocol"):
        settings("classic", group__remote__assignor="range")
    with pytest.raises(ConfigurationError, match=r"'session\.timeout\.ms' is of the classic group protocol"):
        settings("auto", group__remote__assignor="range", session__timeout__ms=6000)
    for protocol in ("auto", "consumer"):
        assert settings(protocol, group__remote__assignor="range").group_protocol == protocol


def test_the_broker_has_a_setting_for_each_that_is_refused() -> None:
    assert all(why_unfit("consumer", {name: 1}) is not None for name in CLASSIC_ONLY)
    assert all(why_unfit("classic", {name: 1}) is not None for name in CONSUMER_ONLY)
    assert why_unfit("consumer", BROKERS) is why_unfit("classic", BROKERS) is why_unfit("auto", BROKERS) is None


def test_the_environment_names_the_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_STREAM_GROUP_PROTOCOL", "consumer")
    found = StreamSettings.from_env(name="orders", topics=["orders"], kafka=BROKERS, store="sqlite:///orders.db")
    assert found.group_protocol == "consumer"


@pytest.mark.parametrize(
    ("config", "protocol"),
    [
        ({}, "auto"),
        ({"session.timeout.ms": 6000}, "classic"),
        ({"heartbeat.interval.ms": 500}, "classic"),
        ({"group.remote.assignor": "range"}, "consumer"),
    ],
)
def test_what_is_left_to_the_group_is_decided_by_a_setting_of_one(config: Mapping[str, Any], protocol: str) -> None:
    assert group_protocol_of("auto", config) == protocol
    for told in ("classic", "consumer"):
        assert group_protocol_of(told, config) == told


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_librdkafka_takes_what_is_left_of_settings_for_each_protocol(protocol: str) -> None:
    given = {**BROKERS, "session.timeout.ms": 6000, "heartbeat.interval.ms": 500, "group.remote.assignor": "range"}
    made = consumer_settings(given, "group", protocol)
    assert made.get("group.protocol", "classic") == protocol
    Consumer({**made, "log_level": 0}).close()


# Which one is joined by -----------------------------------------------------------------------------------------------


class Group:
    """What a coordinator says."""

    servers = "localhost:1"

    def __init__(self, used: str | None = None, *members: str) -> None:
        self.used = used
        self.members = list(members)
        self.now = 1_000.0
        self.session_ms: str | None = None

    def protocol(self, wanted: str) -> GroupProtocol:
        return GroupProtocol(wanted, "orders", lambda: self.now)

    def group_protocol(self, group_id: str) -> str | None:
        if self.used == "away":
            raise BrokerUnavailable("away")
        return self.used

    def broker_setting(self, name: str, group: str | None = None) -> str | None:
        return self.session_ms if name == f"{'group.' if group is None else ''}consumer.session.timeout.ms" else None

    def group_members(self, group_id: str) -> Sequence[str]:
        return [f"{name} on host" for name in self.members]


@pytest.mark.parametrize(
    ("wanted", "used", "current"),
    [
        ("auto", None, "consumer"),
        ("auto", "consumer", "consumer"),
        ("auto", "classic", "classic"),
        ("classic", None, "classic"),
        ("classic", "consumer", "classic"),
        ("consumer", None, "consumer"),
        ("consumer", "consumer", "consumer"),
        ("consumer", "classic", "classic"),
    ],
)
def test_a_member_joins_as_it_was_told_or_as_the_others_have(wanted: str, used: str | None, current: str) -> None:
    group = Group(used)
    protocol = group.protocol(wanted)
    assert protocol.current == "classic", "outside the group"
    protocol.choose(group)
    assert protocol.current == current
    assert protocol.is_waiting is (wanted == "consumer" and used == "classic")


def fatal(code: int) -> KafkaError:
    """As a consumer tells of it: under another code."""
    cause = KafkaError(code).str()
    return without_cover(KafkaError(KafkaError._FATAL, f"Fatal error: {cause}: ConsumerGroupHeartbeat fatal error"))


def test_a_fatal_error_is_told_under_the_code_of_its_cause() -> None:
    found = fatal(KafkaError.GROUP_ID_NOT_FOUND)
    assert (found.code(), found.fatal()) == (KafkaError.GROUP_ID_NOT_FOUND, True)
    unknown = without_cover(KafkaError(KafkaError._FATAL, "Fatal error: out of luck"))
    assert (unknown.code(), unknown.fatal()) == (KafkaError._FATAL, True)
    passing = KafkaError(KafkaError._TRANSPORT)
    assert without_cover(passing) is passing


@pytest.mark.parametrize("code", [KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE])
def test_brokers_that_have_not_got_it_are_joined_by_the_classic_protocol(code: int) -> None:
    group = Group()
    protocol = group.protocol("auto")
    protocol.choose(group)
    protocol.ended(fatal(code), group)
    assert protocol.current == "classic"
    protocol.choose(group)
    assert protocol.current == "classic", "they are not asked again"


def test_brokers_that_have_not_got_it_are_refused_where_it_was_asked_for() -> None:
    group = Group()
    protocol = group.protocol("consumer")
    protocol.choose(group)
    with pytest.raises(ConfigurationError, match=r"localhost:1 do not have the consumer group protocol .* Kafka 4\.0"):
        protocol.ended(fatal(KafkaError.UNSUPPORTED_VERSION), group)


def test_a_member_that_is_put_out_joins_again_and_not_for_ever() -> None:
    group = Group()
    protocol = group.protocol("auto")
    protocol.choose(group)
    put_out = fatal(KafkaError.GROUP_ID_NOT_FOUND)
    protocol.ended(put_out, group)
    assert protocol.current == "consumer"
    with pytest.raises(KafkaStreamError, match="failed for good"):
        protocol.ended(put_out, group)
    group.now += 61
    protocol.ended(put_out, group)


@pytest.mark.parametrize("wanted", ["auto", "consumer"])
def test_a_classic_group_that_was_there_first_is_joined_as_it_is(wanted: str) -> None:
    group = Group()
    protocol = group.protocol(wanted)
    protocol.choose(group)
    group.used = "classic"
    for _ in range(2):
        protocol.current = "consumer"
        protocol.ended(fatal(KafkaError.GROUP_ID_NOT_FOUND), group)
        assert (protocol.current, protocol.is_waiting) == ("classic", wanted == "consumer")


# From classic to consumer ---------------------------------------------------------------------------------------------


def waiting(*others: str) -> tuple[Group, GroupProtocol]:
    group = Group("classic", f"me{WILLING}", *others)
    protocol = group.protocol("consumer")
    protocol.choose(group)
    return group, protocol


def is_due(group: Group, protocol: GroupProtocol) -> bool:
    protocol.look(group)
    return protocol.is_due


def test_nobody_migrates_before_all_are_willing() -> None:
    group, protocol = waiting("old")
    assert not is_due(group, protocol)
    group.members[1] = f"new{WILLING}"
    assert is_due(group, protocol)
    group.members.clear()
    assert not is_due(group, protocol), "nobody is seen, not even this one"
    others = Group("classic", f"me{WILLING}")
    assert not is_due(others, others.protocol("auto"))


@pytest.fixture
def asleep(monkeypatch: pytest.MonkeyPatch) -> Callable[[Group, Callable[[], object]], None]:
    """Have the sleep between two questions pass time, and do something."""

    def set_up(group: Group, meanwhile: Callable[[], object]) -> None:
        def sleep(seconds: float) -> None:
            group.now += seconds
            meanwhile()

        monkeypatch.setattr("kafka_stream.source.group_protocol.time", SimpleNamespace(sleep=sleep))

    return set_up


@pytest.mark.parametrize("then", [None, "consumer"])
def test_who_has_left_joins_by_the_consumer_protocol_when_all_have(
    asleep: Callable[[Group, Callable[[], object]], None], then: str | None
) -> None:
    group, protocol = waiting()
    asleep(group, lambda: setattr(group, "used", then))
    protocol.migrate(group, lambda: False)
    assert (protocol.current, protocol.is_waiting) == ("consumer", False)


@pytest.mark.parametrize("used", ["classic", "away"])
def test_who_waits_in_vain_goes_on_as_before_and_tries_again_later(
    asleep: Callable[[Group, Callable[[], object]], None], used: str
) -> None:
    group, protocol = waiting()
    asleep(group, lambda: setattr(group, "used", used))
    began = group.now
    protocol.migrate(group, lambda: False)
    assert 15 <= group.now - began < 16
    assert (protocol.current, protocol.is_waiting) == ("classic", True)
    assert not is_due(group, protocol)
    group.now += 61
    assert is_due(group, protocol)


def test_a_stop_is_not_kept_waiting(asleep: Callable[[Group, Callable[[], object]], None]) -> None:
    group, protocol = waiting()
    asleep(group, lambda: pytest.fail("it waited"))
    protocol.migrate(group, lambda: True)
    assert protocol.current == "classic"


def test_a_static_member_does_not_wait_in_a_classic_group_for_what_others_cannot_do() -> None:
    group = Group("classic", "one", "other")
    protocol = GroupProtocol("consumer", "orders", lambda: group.now, instance_id="orders-0")
    protocol.choose(group)
    assert (protocol.current, protocol.is_waiting) == ("classic", False)
    protocol.current = "consumer"
    protocol.ended(fatal(KafkaError.GROUP_ID_NOT_FOUND), group)
    assert (protocol.current, protocol.is_waiting) == ("classic", False)
