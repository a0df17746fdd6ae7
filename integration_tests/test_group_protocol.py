"""Members by Kafka's two group protocols: what they are assigned, who joins by which, and migrations online."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, cast

import pytest

from integration_tests.group_protocols import protocol_of
from integration_tests.servers import KafkaServer, random_name
from integration_tests.streams import WAIT_S
from integration_tests.test_source import KafkaHarness
from kafka_stream.errors import ConfigurationError
from kafka_stream.protocols import Source
from kafka_stream.source.inbox import SourceLimits
from kafka_stream.source.kafka_source import KafkaSource
from kafka_stream.testing.source_group_contract import SourceGroupContract
from kafka_stream.testing.source_reader import Reader


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class ByConsumerProtocol(KafkaHarness):
    def source(self, group_id: str, topics: Sequence[str], limits: SourceLimits) -> Source:
        config = {"bootstrap.servers": self._server.bootstrap_servers}
        return KafkaSource(config, group_id, topics, limits, "consumer")


class TestMembersByTheConsumerProtocol(SourceGroupContract):
    @pytest.fixture
    def harness(self, kafka: KafkaServer) -> ByConsumerProtocol:
        return ByConsumerProtocol(kafka)


# Who joins by which ---------------------------------------------------------------------------------------------------


class Members:
    """Of one group, each with the protocol that it was told; they give up at once what they are asked for."""

    def __init__(self, kafka: KafkaServer, stack: ExitStack) -> None:
        self.servers = kafka.bootstrap_servers
        self.group = random_name("group")
        self._topic = kafka.create_topic(partitions=4)
        self._stack = stack
        self._readers: list[Reader] = []

    def join(self, protocol: str, **settings: Any) -> None:
        """One more; all have a share then."""
        config = {"bootstrap.servers": self.servers, **settings}
        source = KafkaSource(config, self.group, [self._topic], SourceLimits(), protocol)
        source.open(WAIT_S)
        self._stack.callback(source.close)
        source.subscribe()
        reader = Reader(source)
        self._readers.append(reader)
        reader.until(self._turn)

    def _turn(self) -> bool:
        """Whether the newest has a share."""
        for reader in self._readers:
            reader.look()
            reader.source.release(sorted(reader.revoked))
        return bool(self._readers[-1].assigned)

    def protocols(self) -> list[str]:
        """By which the members have joined, oldest first."""
        return [cast("KafkaSource", reader.source).group_protocol for reader in self._readers]


@pytest.fixture
def members(kafka: KafkaServer) -> Iterator[Members]:
    with ExitStack() as stack:
        yield Members(kafka, stack)


def test_who_is_left_the_choice_joins_as_the_others_have(members: Members) -> None:
    members.join("auto")
    members.join("auto")
    assert members.protocols() == ["consumer", "consumer"]
    assert protocol_of(members.servers, members.group) == "consumer"


def test_who_is_left_the_choice_does_not_migrate_a_classic_group(members: Members) -> None:
    members.join("classic")
    members.join("auto")
    assert members.protocols() == ["classic", "classic"]
    assert protocol_of(members.servers, members.group) == "classic"


def test_a_setting_that_only_one_protocol_has_chooses_it(members: Members) -> None:
    members.join("auto", **{"group.remote.assignor": "range"})
    assert members.protocols() == ["consumer"]
    members.join("auto", **{"session.timeout.ms": 6000})
    assert members.protocols() == ["consumer", "classic"]
    assert protocol_of(members.servers, members.group) == "consumer", "both in one group"


def test_an_assignor_that_brokers_have_not_got_is_refused_with_the_setting(
    kafka: KafkaServer, stack: ExitStack
) -> None:
    topic = kafka.create_topic(partitions=1)
    config = {"bootstrap.servers": kafka.bootstrap_servers, "group.remote.assignor": "no-such-assignor"}
    reader = Reader(KafkaSource(config, random_name("group"), [topic], SourceLimits()))
    reader.source.open(WAIT_S)
    stack.callback(reader.source.close)
    reader.source.subscribe()
    with pytest.raises(ConfigurationError, match=r"set group\.remote\.assignor to one of the brokers'"):
        reader.until(lambda: reader.assigned)
