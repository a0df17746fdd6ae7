"""Members with an id of their own: what their settings say, and what another one with the same id means to them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from kafka_stream.cli.exit_status import ExitStatus, exit_status
from kafka_stream.errors import BrokerUnavailable, ConfigurationError, InstanceIdInUse
from kafka_stream.librdkafka import group_protocol_of
from kafka_stream.settings import StreamSettings
from kafka_stream.source.sessions.group_wait import GroupWait, classic_session_s
from kafka_stream.source.sessions.static_member import HeldId, refuse_if_taken, taken

VALUES: dict[str, Any] = {
    "name": "orders",
    "topics": ["orders"],
    "kafka": {"bootstrap.servers": "localhost:1"},
    "store": "sqlite:///orders.db",
}
REASON = KafkaError(KafkaError.UNRELEASED_INSTANCE_ID).str()


class Group:
    """What a coordinator says; time passes where somebody sleeps."""

    def __init__(self, *members: tuple[str, str], session_ms: str | None = None) -> None:
        self.described = [SimpleNamespace(group_instance_id=i, member_id=m, host="/10.0.0.1") for i, m in members]
        self.session_ms = session_ms
        self.now = 1_000.0
        self.is_away = False

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def broker_setting(self, name: str, group: str | None = None) -> str | None:
        return self.session_ms if (name, group) == ("consumer.session.timeout.ms", "orders") else None

    def group_members(self, group_id: str) -> Sequence[str]:
        return [f"client on {member.host}" for member in self.described]

    def group(self, group_id: str) -> Any:
        if self.is_away:
            raise BrokerUnavailable("away")
        return SimpleNamespace(members=self.described) if self.described else None


# Settings -------------------------------------------------------------------------------------------------------------


def test_librdkafkas_own_setting_is_refused_with_ours() -> None:
    kafka = {**VALUES["kafka"], "group.instance.id": "orders-0"}
    with pytest.raises(ConfigurationError, match=r"'group\.instance\.id' cannot be set: use group_instance_id"):
        StreamSettings.checked({**VALUES, "kafka": kafka})


@pytest.mark.parametrize("given", ["", "two words", "a/b", "x" * 250])
def test_an_id_that_brokers_would_refuse_is_refused(given: str) -> None:
    with pytest.raises(ConfigurationError, match="group_instance_id"):
        StreamSettings.checked({**VALUES, "group_instance_id": given})


@pytest.mark.parametrize("assignment", ["static", "static:0/2"])
def test_who_joins_no_group_has_no_id_in_one(assignment: str) -> None:
    with pytest.raises(ConfigurationError, match=r"group_instance_id has no effect with assignment='static"):
        StreamSettings.checked({**VALUES, "group_instance_id": "orders-0", "assignment": assignment})


def test_the_environment_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_STREAM_GROUP_INSTANCE_ID", "orders-0")
    assert StreamSettings.from_env(**VALUES).group_instance_id == "orders-0"


def test_a_static_member_is_a_classic_one_unless_it_is_told_otherwise() -> None:
    assert group_protocol_of("auto", {}, "orders-0") == "classic"
    assert group_protocol_of("consumer", {}, "orders-0") == "consumer"
    assert group_protocol_of("auto", {"group.remote.assignor": "range"}, "orders-0") == "consumer"


# Another one with the id ----------------------------------------------------------------------------------------------


def test_a_copy_that_was_put_out_needs_an_operator() -> None:
    error = taken("broker:9092", "fenced")
    assert exit_status(error) is ExitStatus.REFUSED
    assert "give each copy a group_instance_id of its own" in str(error)


def test_a_member_does_not_take_its_place_back_from_another_copy() -> None:
    group = Group(("orders-0", "theirs"), ("orders-1", "others"))
    with pytest.raises(InstanceIdInUse, match=r"another copy, on 10\.0\.0\.1, has joined group 'orders'"):
        refuse_if_taken(group, "orders", "orders-0", "ours")
    with pytest.raises(InstanceIdInUse):
        refuse_if_taken(group, "orders", "orders-0", None)


def test_a_member_joins_again_where_its_place_is_its_own_or_nobodys(caplog: pytest.LogCaptureFixture) -> None:
    refuse_if_taken(Group(("orders-0", "ours"), ("orders-1", "others")), "orders", "orders-0", "ours")
    refuse_if_taken(Group(("orders-1", "others")), "orders", "orders-0", "ours")
    refuse_if_taken(Group(), "orders", "orders-0", "ours")
    refuse_if_taken(Group(("", "others")), "orders", None, "ours")
    away = Group(("orders-0", "theirs"))
    away.is_away = True
    refuse_if_taken(away, "orders", "orders-0", "ours")
    assert "was not found out: away" in caplog.text


@pytest.mark.parametrize(("session_ms", "session_s"), [("6000", 6), (None, 45)])
def test_an_id_that_is_held_is_waited_for_as_long_as_a_session_lasts(
    session_ms: str | None, session_s: int, caplog: pytest.LogCaptureFixture
) -> None:
    group = Group(session_ms=session_ms)
    held, begun = HeldId("orders", group.clock), group.now
    with pytest.raises(InstanceIdInUse, match=f"did not leave within {session_s} s"):
        for _ in range(100):
            held.wait(group, REASON, group.sleep)
    assert session_s < group.now - begun < session_s + 10
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"{session_s} s at most" in caplog.text


def test_an_id_that_is_held_another_time_is_waited_for_anew() -> None:
    group = Group(session_ms="6000")
    held = HeldId("orders", group.clock)
    held.wait(group, REASON, group.sleep)
    group.now += 600
    held.wait(group, REASON, group.sleep)


# What is waited for ---------------------------------------------------------------------------------------------------


def test_a_wait_for_the_group_is_told_once_with_its_longest_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    group = Group(("", "dead"), ("", "ours"))
    wait = GroupWait("orders", classic_session_s({"session.timeout.ms": "10000"}), group.clock)
    since = group.now
    wait.look(None, "classic", group)
    wait.look(since, "classic", group)
    assert not caplog.records, "not in the first seconds"
    group.now += 5
    for _ in range(2):
        wait.look(since, "classic", group)
    (record,) = caplog.records
    assert "for 5 s; its members are client on /10.0.0.1" in record.message
    assert "10 s at most" in record.message
    assert (record.__dict__["event"], record.__dict__["at_most_s"]) == ("waiting", 10.0)
    group.now += 5
    wait.look(group.now - 5, "consumer", group)
    assert "45 s at most" in caplog.records[-1].message


def test_who_is_alone_in_its_group_waits_for_no_session(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    group = Group(("", "ours"))
    GroupWait("orders", classic_session_s({}), group.clock).look(group.now - 10, "classic", group)
    assert not caplog.records
