"""A client of librdkafka in whose place a new one is put when it finds no broker.

A client may have forgotten every broker for good, those of ``bootstrap.servers`` too: metadata without a broker, as of
a lone broker that was fenced for a moment, makes it drop them all, and the start over that follows is sometimes
cancelled (librdkafka issue 5301, from 2.10 on). It says nothing then, and connects nowhere. A new client costs
milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from confluent_kafka import KafkaError, KafkaException

# ruff: noqa: SLF001 - librdkafka's own codes begin with an underscore

_NO_BROKER = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._NOENT,  # list_offsets: no leader found
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._WAIT_COORD,
    }
)

Client = TypeVar("Client")


class Renewed(Generic[Client]):
    """A client, and how to make another. Who waits for an answer holds the client: without it, it ends."""

    def __init__(self, make: Callable[[], Client]) -> None:
        self.make = make
        self._client: Client | None = make()
        self._is_closed = False

    @property
    def client(self) -> Client:
        """The one that is used now.

        Raises:
            KafkaException: it was closed.
        """
        client = self._client
        if client is None:
            if self._is_closed:
                raise KafkaException(KafkaError(KafkaError._DESTROY))
            client = self._client = self.make()
        return client

    @client.setter
    def client(self, client: Client) -> None:
        """Use another from now on."""
        self._client = client

    def failed(self, error: KafkaError) -> None:
        """Have a new client if this error of the old one may mean that it knows no broker."""
        if error.code() in _NO_BROKER:
            self.client = self.make()

    def let_go(self, client: Client) -> None:
        """Have a new client the next time, unless there is one already: this one is asked something in vain."""
        if self._client is client:
            self._client = None

    def close(self) -> None:
        """Let the client go, and with it its connections and threads, as soon as nobody waits for an answer."""
        self._is_closed, self._client = True, None


__all__ = ["Renewed"]
