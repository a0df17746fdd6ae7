"""An admin client that is asked: how long for an answer, who asks again, and what it says when none comes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from kafka_stream.errors import BrokerUnavailable, KafkaStreamError, TopicNotFound, TransientError
from kafka_stream.source.client_log import ClientLog
from kafka_stream.source.connection import connection_settings, servers_of, soon_again
from kafka_stream.source.kafka_errors import asked_anew, insisting, refusal, settings_accepted, why_unreachable
from kafka_stream.source.renewed import Renewed
from kafka_stream.source.security.listener_probe import wrong_protocol
from kafka_stream.source.security.logins import LastError
from kafka_stream.source.security.tokens import with_token_callback

REQUEST_TIMEOUT_S = 10.0
COORDINATOR_TIMEOUT_S = 10.0  # for a group's coordinator: while it moves, and while the topic of its groups is created
_GIVE_UP_WITHIN_S = 0.2
_CONNECT_STEP_S = 0.5
_GRACE_S = 1.0  # how much longer than its own timeout a request is waited for
_PROBE_AFTER_S = 1.0
_RENEW_AFTER_S = 5.0  # time enough for a slow broker's connection, and its handshakes

# librdkafka's mock cluster says so in its id; it has no topic ids, and requests to describe things time out.
_MOCK_CLUSTER = "mockCluster"

T = TypeVar("T")


def until(timeout_s: float) -> float:
    """When an answer is not waited for any more: the same for all that one request asks about."""
    return time.monotonic() + timeout_s + _GRACE_S


def _admin_client(settings: Mapping[str, Any]) -> AdminClient:
    own = with_token_callback(settings)
    with settings_accepted(own):
        return AdminClient(own)


class Questions:
    """An admin client, made anew when it finds nobody. Safe to use from several threads.

    ``config`` are librdkafka's settings; only those of the connection are used. What is asked is given up as soon as
    ``is_given_up`` says so.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        logger: logging.Logger | ClientLog,
        is_given_up: Callable[[], bool] = lambda: False,
    ) -> None:
        settings = connection_settings(config)
        self.servers = servers_of(settings) or "(no servers)"
        self._last = last = LastError()
        self._is_given_up, self._settings = is_given_up, settings
        self._is_mock = False
        client_settings = {"logger": logger, **soon_again(settings), **settings, "error_cb": last}
        self._connection = Renewed(lambda: _admin_client(client_settings))

    @property
    def _admin(self) -> AdminClient:
        return self._connection.client

    def close(self) -> None:
        """Let the connections go; nothing can be asked any more."""
        self._connection.close()

    def is_found(self, timeout_s: float) -> bool:
        """Whether a new client finds a broker; it takes the old one's place then."""
        try:
            client = self._connection.make()
            client.cluster_id(timeout=timeout_s)
        except (KafkaException, TransientError):  # or there is no token for it
            return False
        self._connection.client = client
        return True

    def connect(self, timeout_s: float) -> None:
        """Wait until a broker answers.

        Raises:
            BrokerUnavailable: none did within ``timeout_s``, or before it was given up.
            NotAuthorized: it refused the credentials.
            ConfigurationError: TLS, or its absence, is not what the broker expects.
        """
        self._is_mock = self._ask_for_id(timeout_s).startswith(_MOCK_CLUSTER)

    def _ask_for_id(self, timeout_s: float) -> str:
        started = time.monotonic()
        ask_otherwise_at = started + _PROBE_AFTER_S
        while True:
            try:
                cluster_id = str(self._admin.cluster_id(timeout=min(_CONNECT_STEP_S, timeout_s)))
            except KafkaException as error:
                now = time.monotonic()
                self._refuse(error, now - started, timeout_s)
                if now >= ask_otherwise_at:
                    ask_otherwise_at = now + _RENEW_AFTER_S
                    if (wrong := wrong_protocol(self._settings)) is not None:
                        raise wrong from error
                    self._connection.failed(error.args[0])
            else:
                self._last.error = None
                return cluster_id

    def _refuse(self, error: KafkaException, waited_s: float, timeout_s: float) -> None:
        """Raise what a client that was not connected in all that time has to say, if that is the end of it."""
        self._admin.poll(0)
        last = self._last.error or error.args[0]
        if (refused := why_unreachable(last, self.servers, waited_s)) is not None:
            raise refused from error
        if self._is_given_up():
            raise BrokerUnavailable(
                f"no Kafka broker had answered at {self.servers} ({last.str()}) when waiting for it was given up"
            ) from error
        if waited_s >= timeout_s:
            raise BrokerUnavailable(
                f"no Kafka broker answered at {self.servers} within {timeout_s:g} s ({last.str()}); "
                "check bootstrap.servers, and that it is running and reachable from here"
            ) from error

    def cluster_id(self) -> str:
        """The id that the brokers of one cluster share.

        Raises:
            NotAuthorized, BrokerUnavailable.
        """
        return self._ask_for_id(REQUEST_TIMEOUT_S)

    def not_found(self, topic: str, names: Iterable[str]) -> TopicNotFound:
        """The error for a topic that does not exist."""
        listed = ", ".join(repr(name) for name in names)
        return TopicNotFound(
            f"topic {topic!r} does not exist on {self.servers}; create it, or correct topics=[{listed}]"
        )

    def _insisting(self, ask: Callable[[], T]) -> T:
        return insisting(ask, COORDINATOR_TIMEOUT_S, self._is_given_up)

    def _anew(self, ask: Callable[[float], T]) -> T:
        return asked_anew(ask, self._connection.failed, self._is_given_up)

    def _answer(self, asked: Future[Any], ends_at: float) -> Any:
        """What was asked for, unless we are refused or give up; librdkafka has left some without any answer."""
        while True:
            try:
                answer = asked.result(min(_GIVE_UP_WITHIN_S, max(0.0, ends_at - time.monotonic())))
            except TimeoutError:
                if time.monotonic() >= ends_at:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None  # noqa: SLF001
                self._admin.poll(0)
                if (refused := self._refused()) is not None:
                    raise refused from None
                if self._is_given_up():
                    raise BrokerUnavailable(
                        f"{self.servers} had not answered when waiting for it was given up"
                    ) from None
            else:
                self._last.error = None
                return answer

    def _of_coordinator(self, ask: Callable[[AdminClient], Future[Any]], timeout_s: float) -> Any:
        """What a group's coordinator answers; who gets no answer lets go of the client (``coordinators`` says why)."""
        admin = self._admin
        asked = ask(admin)
        try:
            return self._answer(asked, time.monotonic() + timeout_s)
        finally:
            if not asked.done():
                self._connection.let_go(admin)

    def _refused(self) -> KafkaStreamError | None:
        error = self._last.error
        return None if error is None else refusal(error, self.servers, "access to the cluster")

    def _translated(self, error: KafkaException, what: str) -> KafkaStreamError:
        reason = error.args[0]
        if (refused := refusal(reason, self.servers, f"access to {what}")) is not None:
            return refused
        self._connection.failed(reason)
        return BrokerUnavailable(
            f"{self.servers} did not answer about {what} ({reason.str()}); is the cluster healthy?"
        )


__all__ = ["COORDINATOR_TIMEOUT_S", "REQUEST_TIMEOUT_S", "Questions", "until"]
