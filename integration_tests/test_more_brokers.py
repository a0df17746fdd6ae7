"""The brokers that only some tests need, a cluster of three and one with rights, do what those tests rely on."""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from integration_tests.engine import wait_until
from integration_tests.kafka_cluster import KafkaCluster
from integration_tests.secured_kafka import ADMIN, NOBODY, STREAM, SecuredKafka
from integration_tests.servers import random_name

WAIT_S = 60.0


def test_another_broker_leads_what_a_dead_one_led(kafka_cluster: KafkaCluster) -> None:
    topic = kafka_cluster.create_topic(partitions=1)
    kafka_cluster.produce(topic, ["before"])
    dead = kafka_cluster.leader_of(topic, 0)
    kafka_cluster.kill(dead)
    assert wait_until(lambda: kafka_cluster.leader_of(topic, 0) != dead, WAIT_S)
    kafka_cluster.produce(topic, ["meanwhile"])
    assert [value for *_, value in kafka_cluster.read_committed(topic)] == [b"before", b"meanwhile"]
    kafka_cluster.start(dead)
    kafka_cluster.wait_until_up()


def test_the_broker_that_keeps_a_groups_offsets_is_found(kafka_cluster: KafkaCluster) -> None:
    topic, group = kafka_cluster.create_topic(partitions=1), random_name("group")
    consumer = Consumer({"bootstrap.servers": kafka_cluster.bootstrap_servers, "group.id": group})
    consumer.commit(offsets=[TopicPartition(topic, 0, 7)], asynchronous=False)
    told: list[tuple[int, int]] = []

    def is_described() -> bool:
        client = (
            kafka_cluster.client()
        )  # a new one: an older one asks whom it knows; held for as long as it is waited for
        described = client.describe_consumer_groups([group])[group].result(WAIT_S)
        told.append((kafka_cluster.coordinator_of(group), described.coordinator.id))
        return told[-1][0] == told[-1][1]

    # Brokers that were restarted take their partitions back, perhaps between the two questions.
    assert wait_until(is_described, WAIT_S), told
    consumer.close()


def test_a_stranger_is_turned_away(secured_kafka: SecuredKafka) -> None:
    heard: list[KafkaError] = []
    settings = secured_kafka.credentials(STREAM, password="wrong") | {"error_cb": heard.append}
    producer = Producer({**settings, "log_level": 2})
    assert wait_until(lambda: producer.poll(0.1) or heard, WAIT_S)
    assert heard[0].code() == KafkaError._AUTHENTICATION
    Producer(secured_kafka.credentials(ADMIN)).list_topics(timeout=WAIT_S)


def test_nobody_may_do_what_was_not_granted(secured_kafka: SecuredKafka) -> None:
    topic = secured_kafka.create_topic(partitions=1)
    secured_kafka.grant(STREAM, "topic", topic, "describe", "read")
    assert topic in Producer(secured_kafka.credentials(STREAM)).list_topics(timeout=WAIT_S).topics
    assert topic not in Producer(secured_kafka.credentials(NOBODY)).list_topics(timeout=WAIT_S).topics
    failed: list[KafkaError | None] = []
    producer = Producer(secured_kafka.credentials(STREAM))
    producer.produce(topic, "a record", on_delivery=lambda error, _: failed.append(error))
    assert producer.flush(WAIT_S) == 0
    assert failed[0] is not None
    assert failed[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    secured_kafka.revoke_all()
    assert topic not in Producer(secured_kafka.credentials(STREAM)).list_topics(timeout=WAIT_S).topics
