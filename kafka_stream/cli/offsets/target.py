"""Which store, which stream, which brokers: the options that all commands about a store take, and what they mean."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kafka_stream.cli.options import (
    AppOption,
    KafkaConfigOption,
    KafkaOption,
    StoreOption,
    kafka_given,
)
from kafka_stream.cli.output import Output, OutputOption
from kafka_stream.cli.precedence import GivenKafka, name_beside, store_beside

if TYPE_CHECKING:
    from kafka_stream.protocols import AdministeredStore, OffsetStore, RangeSink, Sink
    from kafka_stream.source.cluster import Cluster
    from kafka_stream.stream import DirectStream
    from kafka_stream.types import StoredPosition, TopicPartition

BROKER_TIMEOUT_S = 10.0
_KAFKA_SCHEME = "kafka://"


def _streams_in_store(context: typer.Context, incomplete: str) -> list[str]:
    """Names for the shell to complete; nothing, whatever goes wrong.

    Only those in a file: the prompt never waits for a server, and runs no application's code.
    """
    url = context.params.get("store")
    if not isinstance(url, str) or not url.lower().startswith("sqlite"):
        return []
    try:
        with connected(Connection(store=url)) as found:
            return [name for name in found.administered().streams() if name.startswith(incomplete)]
    except Exception:  # noqa: BLE001 - the prompt is no place for an error
        return []


StreamNameOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        envvar="KAFKA_STREAM_NAME",
        help="The stream's name, its identity in the store.",
        autocompletion=_streams_in_store,
    ),
]


@dataclass(frozen=True, slots=True)
class Connection:
    """Which store, and which brokers."""

    app: AppOption = None
    store: StoreOption = None
    kafka: KafkaOption = None
    kafka_config: KafkaConfigOption = None


@dataclass(frozen=True, slots=True)
class StoreOptions(Connection):
    """The options of a command on a whole store."""

    output: OutputOption = Output.TABLE


@dataclass(frozen=True, slots=True)
class NamedStream(Connection):
    """Which stream in the store."""

    stream: StreamNameOption = None


@dataclass(frozen=True, slots=True)
class StreamOptions(NamedStream):
    """The options of a command on one stream."""

    output: OutputOption = Output.TABLE


@dataclass(frozen=True, slots=True)
class Target:
    """What a command works on. ``kafka`` are librdkafka's settings, secrets included; empty where none were given."""

    store: OffsetStore
    kafka: Mapping[str, Any] = field(repr=False)
    sinks: Sequence[Sink] = ()
    name: str | None = None
    group: str | None = None
    topics: tuple[str, ...] = ()
    application: DirectStream | None = None

    @property
    def stream(self) -> str:
        """The stream's name.

        Raises:
            ConfigurationError: none was given.
        """
        from kafka_stream.errors import ConfigurationError

        if self.name is None:
            raise ConfigurationError("say which stream: --app MODULE:STREAM, or --store URL and --stream NAME")
        return self.name

    @property
    def group_id(self) -> str:
        """The consumer group that belongs to the stream."""
        return self.group or self.stream

    def positions(self) -> Mapping[TopicPartition, StoredPosition]:
        """What is stored for the stream.

        Raises:
            KafkaStreamError: nothing is.
        """
        from kafka_stream.errors import KafkaStreamError

        if found := self.store.positions(self.stream):
            return found
        text = f"there is no stream {self.stream!r} in {self.store.describe()}; look at the name and the store"
        if self.store.capabilities.transaction == "kafka":  # whose brokers do not tell of topics that one may not see
            text += ", and whether this principal may DESCRIBE the stream's topics"
        raise KafkaStreamError(text)

    def administered(self) -> AdministeredStore:
        """The store, as operators' commands need it.

        Raises:
            ConfigurationError: it is one that they do not work on.
        """
        from kafka_stream.errors import ConfigurationError
        from kafka_stream.protocols import AdministeredStore

        if not isinstance(self.store, AdministeredStore):
            raise ConfigurationError(
                f"{self.store.describe()} is a store that this command does not work on: its class lacks what "
                "kafka_stream.protocols.AdministeredStore asks for"
            )
        return self.store

    @property
    def has_brokers(self) -> bool:
        """Whether brokers were named."""
        return bool(self.kafka.get("bootstrap.servers") or self.kafka.get("metadata.broker.list"))

    def range_sinks(self) -> Sequence[RangeSink]:
        """The application's sinks that can discard a planned range; none without ``--app``."""
        from kafka_stream.protocols import RangeSink

        return [sink for sink in self.sinks if isinstance(sink, RangeSink)]

    def cluster(self) -> Cluster:
        """The brokers, which have answered.

        Raises:
            ConfigurationError: there are none, or a setting was refused.
            BrokerUnavailable, NotAuthorized.
        """
        from kafka_stream.errors import ConfigurationError
        from kafka_stream.source.cluster import Cluster

        if not self.has_brokers:
            raise ConfigurationError("this command needs the brokers: give --kafka bootstrap.servers=HOST:PORT")
        cluster = Cluster(self.kafka, _quiet())
        cluster.connect(BROKER_TIMEOUT_S)
        return cluster


@contextmanager
def connected(options: Connection) -> Iterator[Target]:
    """The target that the options name; it connects where it is used, and gives its connections back at the end.

    Raises:
        ConfigurationError: they name no store, or one that there is not.
    """
    name = options.stream if isinstance(options, NamedStream) else None
    given = kafka_given(options.kafka, file=options.kafka_config)
    if options.app:
        target = _of_app(options.app, options.store, name, given)
    else:
        target = _of_url(options.store, name, given.alone())
    _quiet()
    try:
        yield target
    finally:
        target.store.close()


def _of_app(app: str, store: str | None, name: str | None, given: GivenKafka) -> Target:
    """Options go before what the application says; variables must agree with it."""
    from kafka_stream.loading import load_stream
    from kafka_stream.protocols import BoundStore

    stream = load_stream(app)
    own = stream.settings.kafka_config() if isinstance(stream.settings.kafka, Mapping) else {}
    kafka = given.beside(own, app)
    name = name_beside(stream.name, name, app, "stream")
    if (url := store_beside(stream, store, app)) is not None:
        found = _of_url(url, name, kafka, stream.sinks)
        return replace(found, topics=stream.settings.topics, application=stream)
    if isinstance(stream.store, BoundStore) and (name != stream.name or kafka != own):
        _bind(stream.store, name, kafka)
    group = stream.settings.group_id if name == stream.name else None
    return Target(stream.store, kafka, stream.sinks, name, group, stream.settings.topics, stream)


def _of_url(store: str | None, name: str | None, kafka: Mapping[str, Any], sinks: Sequence[Sink] = ()) -> Target:
    from kafka_stream.errors import ConfigurationError
    from kafka_stream.plugins import store_from_url
    from kafka_stream.protocols import BoundStore

    if store is None:
        raise ConfigurationError("say which store: --app MODULE:STREAM, or --store URL and --stream NAME")
    url, kafka = _with_brokers(store, kafka)
    found = store_from_url(url)
    if isinstance(found, BoundStore) and name is not None and kafka:
        _bind(found, name, kafka)
    return Target(found, kafka, sinks, name)


def _with_brokers(url: str, kafka: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """A Kafka store's URL names the brokers, for reading too; how to log in to them is said by the settings."""
    from urllib.parse import parse_qsl, urlencode, urlsplit

    from kafka_stream.errors import ConfigurationError
    from kafka_stream.source.connection import connection_settings

    if not url.lower().startswith(_KAFKA_SCHEME):
        return url, kafka
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigurationError("a kafka:// URL that cannot be read: look at its hosts and brackets") from None
    own = dict(parse_qsl(parts.query, keep_blank_values=True))
    named = {**kafka, **own, "bootstrap.servers": parts.netloc} if parts.netloc else {**kafka, **own}
    plain = {
        key: value
        for key, value in connection_settings(named).items()
        if key != "bootstrap.servers" and isinstance(value, str | int | float)
    }
    return parts._replace(query=urlencode(plain)).geturl(), named


def _bind(store: Any, name: str, kafka: Mapping[str, Any]) -> None:
    from kafka_stream.protocols import StreamBinding

    store.bind(StreamBinding(stream=name, group_id=name, kafka=kafka, shard=None))


def _quiet() -> logging.Logger:
    """What matters comes as an exception."""
    logger = logging.getLogger("kafka_stream.librdkafka")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger


__all__ = ["BROKER_TIMEOUT_S", "Connection", "NamedStream", "StoreOptions", "StreamOptions", "Target", "connected"]
