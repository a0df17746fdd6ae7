"""The connection to ZooKeeper with a client that does what servers rarely do."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from kazoo.exceptions import ConnectionLoss, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KazooState, KeeperState

from kafka_stream.errors import NotAuthorized, StoreUnavailable
from kafka_stream.offset_stores.zookeeper import ZooKeeperOffsetStore, connection

VALUE: Any = (b"value", None)


class Answer:
    """What a request gets; ``waited_for`` is told of it when somebody asks."""

    def __init__(self, outcome: Any, waited_for: Callable[[], None] = lambda: None) -> None:
        self._outcome = outcome
        self._waited_for = waited_for

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        assert timeout is not None, "it would wait for ever"
        self._waited_for()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class Client:
    """A ``KazooClient`` whose connection and answers are scripted."""

    made: ClassVar[list[Client]]
    outcome: Any = VALUE
    connects = True
    state_when_refused = KeeperState.CLOSED

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.client_state = "CONNECTING"
        self.is_stopped = False
        self.in_flight = 0
        self.most_in_flight = 0
        self._listeners: list[Callable[[str], object]] = []
        type(self).made.append(self)

    def add_listener(self, listener: Callable[[str], object]) -> None:
        self._listeners.append(listener)

    def start_async(self) -> threading.Event:
        connected = threading.Event()
        if self.connects:
            connected.set()
        else:
            self.client_state = self.state_when_refused
            self.tell(KazooState.LOST)
        return connected

    def tell(self, state: str) -> None:
        for listener in self._listeners:
            listener(state)

    def get_async(self, path: str) -> Answer:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        return Answer(self.outcome, self._answered)

    def _answered(self) -> None:
        self.in_flight -= 1

    def stop(self) -> None:
        self.is_stopped = True
        raise RuntimeError("kazoo's threads do not end")

    def close(self) -> None:
        raise RuntimeError("kazoo was not stopped")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Client]]:
    class Scripted(Client):
        made: ClassVar[list[Client]] = []

    monkeypatch.setattr(connection, "KazooClient", Scripted)
    yield Scripted


@pytest.fixture
def asked(client: type[Client]) -> connection.Connection:
    return ZooKeeperOffsetStore("h1,h2/chroot", auth=("digest", "a:b"), session_timeout_s=0.01)._connection


def test_the_client_gets_what_the_store_was_given(client: type[Client], asked: connection.Connection) -> None:
    asked.read(["/a"])
    options = client.made[0].options
    assert (options["hosts"], options["timeout"]) == ("h1:2181,h2:2181", 0.01)
    assert options["auth_data"] == [("digest", "a:b")]
    assert options["connection_retry"]["max_delay"] <= 2, "kazoo's own waits up to an hour"


def test_kazoo_shows_no_request_and_warns_of_nothing_that_the_store_raises(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    for level in (5, logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        connection.logger.log(level, "level %d", level)
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert said == [("INFO", "level 20"), ("INFO", "level 30"), ("ERROR", "level 40")]


def test_requests_are_pipelined_within_a_bound(client: type[Client], asked: connection.Connection) -> None:
    assert asked.read([f"/{number}" for number in range(5_000)]) == [VALUE] * 5_000
    assert 100 < client.made[0].most_in_flight <= 256


def test_a_znode_that_is_not_there_is_none(client: type[Client], asked: connection.Connection) -> None:
    client.outcome = NoNodeError()
    assert asked.read(["/a", "/b"]) == [None, None]


@pytest.mark.parametrize(
    ("outcome", "raised"),
    [(KazooTimeoutError(), KazooTimeoutError), (RuntimeError("Invalid error code"), ConnectionLoss)],
)
def test_after_an_answer_that_does_not_come_or_is_not_understood_the_client_is_another(
    client: type[Client], asked: connection.Connection, outcome: Exception, raised: type[Exception]
) -> None:
    client.outcome = outcome
    with pytest.raises(raised):
        asked.read(["/a"])
    assert client.made[0].is_stopped
    client.outcome = VALUE
    assert asked.read(["/a"]) == [VALUE]
    assert len(client.made) == 2


def test_a_client_that_does_not_connect_is_replaced(client: type[Client], asked: connection.Connection) -> None:
    client.connects = False
    for made in (1, 2):
        with pytest.raises(StoreUnavailable, match="zookeeper://h1:2181,h2:2181/chroot"):
            asked.connect()
        assert len(client.made) == made
        assert client.made[-1].is_stopped
    client.connects = True
    asked.connect()


def test_credentials_that_are_refused_are_not_tried_again(client: type[Client], asked: connection.Connection) -> None:
    client.connects, client.state_when_refused = False, KeeperState.AUTH_FAILED
    with pytest.raises(NotAuthorized, match="credentials"):
        asked.connect()


def test_only_a_session_that_is_lost_counts(client: type[Client], asked: connection.Connection) -> None:
    asked.connect()
    for state in (KazooState.CONNECTED, KazooState.SUSPENDED, KazooState.CONNECTED):
        client.made[0].tell(state)
    assert asked.sessions_lost == 0
    client.made[0].tell(KazooState.LOST)
    assert asked.sessions_lost == 1


def test_closing_raises_nothing_and_may_be_repeated(client: type[Client], asked: connection.Connection) -> None:
    asked.connect()
    asked.close()
    asked.close()
    assert client.made[0].is_stopped
