"""Two streams of one name on a real broker: with their offsets in two places, or in two groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from integration_tests.engine import wait_until
from integration_tests.servers import KafkaServer, random_name
from kafka_stream import DirectStream
from kafka_stream.errors import ConfigurationError
from kafka_stream.progress import StreamState

WAIT_S = 60.0
StreamOf = Callable[..., DirectStream]


def _nothing(batch: Any, transaction: Any) -> None:
    """Read, and write nowhere."""


@pytest.fixture
def stream_of(kafka: KafkaServer) -> Iterator[StreamOf]:
    """Makes streams of one name and one topic; all are stopped at the end."""
    topic, name = kafka.create_topic(partitions=2), random_name("stream")
    client = {"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0}
    with ExitStack() as stack:

        def make(store: str, **options: Any) -> DirectStream:
            more = {"kafka": client, **options}
            found = DirectStream(name=name, topics=[topic], store=store, sink=_nothing, **more)
            stack.callback(found.stop)
            return found

        yield make


def _start(stream: DirectStream) -> DirectStream:
    """Start it, and wait until it has its partitions."""
    stream.start()
    assert wait_until(lambda: len(stream.status().positions) == 2, WAIT_S), stream.status()
    return stream


@pytest.fixture(params=["sqlite", "zookeeper", "kafka"])
def store(request: pytest.FixtureRequest, tmp_path: Path, kafka: KafkaServer) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/one.db"
    if request.param == "kafka":
        return f"kafka://{kafka.bootstrap_servers}"
    return f"zookeeper://{request.getfixturevalue('zookeeper')}"


def test_one_whose_offsets_are_elsewhere_is_refused_and_the_other_goes_on(
    stream_of: StreamOf, store: str, tmp_path: Path
) -> None:
    running = _start(stream_of(store))
    elsewhere = stream_of(f"sqlite:///{tmp_path}/two.db")
    with pytest.raises(ConfigurationError, match="members that keep their offsets elsewhere"):
        elsewhere.run()
    assert running.status().state is StreamState.RUNNING
    assert len(running.status().positions) == 2
    assert running.stop()
    assert wait_until(lambda: _joins(elsewhere), WAIT_S)


def _joins(stream: DirectStream) -> bool:
    _start(stream)
    return stream.stop()


def test_members_of_one_stream_join_each_other(stream_of: StreamOf, store: str) -> None:
    one, two = _start(stream_of(store)), stream_of(store)
    two.start()
    assert wait_until(lambda: len(one.status().positions) == len(two.status().positions) == 1, WAIT_S)


def test_a_client_id_of_the_users_stays_and_is_let_be(stream_of: StreamOf, kafka: KafkaServer, tmp_path: Path) -> None:
    client = {"bootstrap.servers": kafka.bootstrap_servers, "client.id": "billing", "log_level": 0}
    _start(stream_of(f"sqlite:///{tmp_path}/one.db", kafka=client))
    other = stream_of(f"sqlite:///{tmp_path}/two.db")
    other.start()
    assert wait_until(lambda: len(other.status().positions) == 1, WAIT_S)


@pytest.mark.parametrize("store", ["sqlite", "zookeeper"], indirect=True)
def test_another_group_is_refused_as_long_as_the_first_lives(stream_of: StreamOf, store: str) -> None:
    running = _start(stream_of(store, group_id="one"))
    with pytest.raises(ConfigurationError, match=r"owned by .* in group one, and this one is in group 'two'"):
        stream_of(store, group_id="two").run()
    assert running.status().state is StreamState.RUNNING
    assert running.stop()
    _start(stream_of(store, group_id="two"))
