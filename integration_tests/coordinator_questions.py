"""``python -m integration_tests.coordinator_questions <broker>``: asks coordinators that cannot be reached in time.

In a process of its own, since what goes wrong ends the process. The clients that nobody answered are held, as somebody
does who waits for another answer of theirs, and are asked again when the brokers are back.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from confluent_kafka.admin import AdminClient

from integration_tests.kafka_proxy import KafkaProxy
from kafka_stream import TopicPartition
from kafka_stream.errors import BrokerUnavailable
from kafka_stream.offset_stores.kafka import brokers as store_brokers
from kafka_stream.offset_stores.kafka.requests import Waits
from kafka_stream.source.cluster import Cluster

GROUP = "coordinator-questions"
SETTINGS = {"reconnect.backoff.max.ms": 200, "log_level": 0}
WAIT_S = 30.0
GIVEN_UP_AFTER_S = 1.0
STORE_PATIENCE_S = 3.0
"""Longer than a cluster's first question (2 s) is waited for, so that it would have run out by then."""
DONE = "every client was answered"

TO_COORDINATOR: tuple[Callable[[Cluster], Any], ...] = (
    lambda cluster: cluster.group_members(GROUP),
    lambda cluster: cluster.group_protocol(GROUP),
    lambda cluster: cluster.group_offsets(GROUP, [TopicPartition("orders", 0)]),
    lambda cluster: cluster.commit_group_offsets(GROUP, {TopicPartition("orders", 0): 7}),
)


def _ask_in_vain(question: Callable[[Cluster], Any], config: dict[str, Any], ends_at: float) -> AdminClient:
    cluster = Cluster(config, logging.getLogger("test"), lambda: time.monotonic() >= ends_at)
    held = cluster._connection.client
    with suppress(BrokerUnavailable):
        question(cluster)
        raise AssertionError("nobody can have answered")
    return held


def _ask_store_in_vain(config: dict[str, Any]) -> AdminClient:
    brokers = store_brokers.Brokers(config, "the test's cluster", Waits())
    held: AdminClient = brokers._connection.client.client
    assert brokers.members(GROUP) == ()
    return held


def main(address: str) -> None:
    """Ask all that is asked of coordinators, first in vain."""
    host, _, port = address.partition(":")
    setattr(store_brokers, "REQUEST_TIMEOUT_S", STORE_PATIENCE_S)  # noqa: B010 - the module does not export it
    with KafkaProxy(host, int(port)) as proxy, ThreadPoolExecutor() as pool:
        proxy.refuse()
        config = {**SETTINGS, "bootstrap.servers": proxy.bootstrap_servers}
        ask = partial(_ask_in_vain, config=config, ends_at=time.monotonic() + GIVEN_UP_AFTER_S)
        asking = [pool.submit(ask, question) for question in TO_COORDINATOR]
        asking.append(pool.submit(_ask_store_in_vain, config))
        held = [each.result() for each in asking]
        proxy.admit()
        for client in held:
            client.describe_consumer_groups([GROUP], request_timeout=WAIT_S)[GROUP].exception()
            client.list_topics(timeout=WAIT_S)
    print(DONE)


if __name__ == "__main__":
    main(sys.argv[1])
