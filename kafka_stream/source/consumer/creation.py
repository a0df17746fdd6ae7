"""Making a consumer: the user's settings with what the guarantee rests on, and who hears of its errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError

from kafka_stream.librdkafka import CLASSIC, CLASSIC_ONLY, CONSUMER_ONLY
from kafka_stream.source.client_log import CLIENT_LOG
from kafka_stream.source.connection import soon_again
from kafka_stream.source.kafka_errors import settings_accepted
from kafka_stream.source.security.tokens import with_token_callback

_DEFAULTS: Mapping[str, Any] = {
    "isolation.level": "read_committed",
    # With librdkafka's own second of backoff its queue runs empty, and reading takes three times as long.
    "fetch.queue.backoff.ms": 2,
    # Of the whole consumer; with one response on its way per broker they bound librdkafka's memory.
    "queued.min.messages": 50_000,
    "queued.max.messages.kbytes": 32_768,
    "fetch.max.bytes": 16 * 2**20,
    # A partition that is resumed or moved waits for the request that is under way.
    "fetch.wait.max.ms": 100,
    "topic.metadata.refresh.interval.ms": 30_000,
}
_FORCED: Mapping[str, Any] = {
    "allow.auto.create.topics": False,
    "auto.offset.reset": "error",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
}


def consumer_settings(config: Mapping[str, Any], group_id: str, protocol: str = CLASSIC) -> dict[str, Any]:
    """The user's librdkafka settings, with what the guarantee rests on, and defaults that read fast.

    What is of the other group protocol than this one is left out: it is of no use to a consumer outside a group.
    """
    settings = {**_DEFAULTS, **soon_again(config), **config, **_FORCED, "group.id": group_id}
    if protocol == CLASSIC:
        kept = {key: value for key, value in settings.items() if key not in CONSUMER_ONLY}
        return {**kept, "partition.assignment.strategy": "cooperative-sticky"}
    kept = {key: value for key, value in settings.items() if key not in CLASSIC_ONLY}
    return {**kept, "group.protocol": protocol}


def new_consumer(
    settings: Mapping[str, Any], on_error: Callable[[KafkaError], None], make: Callable[[dict[str, Any]], Consumer]
) -> Consumer:
    """A consumer whose errors are told to ``on_error``, and then to the user's ``error_cb``, if there is one.

    Raises:
        ConfigurationError: librdkafka has refused a setting.
        NotAuthorized, BrokerUnavailable: ``oauth_cb`` gave no token.
    """
    users = settings.get("error_cb")

    def tell_both(error: KafkaError) -> None:
        on_error(error)
        if users is not None:
            users(error)

    own = with_token_callback({"logger": CLIENT_LOG, **settings, "error_cb": tell_both})
    with settings_accepted(own):
        return make(own)


__all__ = ["consumer_settings", "new_consumer"]
