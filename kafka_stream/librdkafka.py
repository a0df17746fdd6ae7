"""Pure: which settings librdkafka has, which name is meant by one that it has not, and which may be shown to people."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, libversion

HIDDEN = "**********"

_HARMLESS = """
    acks allow.auto.create.topics api.version.fallback.ms api.version.request api.version.request.timeout.ms
    auto.commit.enable auto.commit.interval.ms auto.offset.reset batch.num.messages batch.size bootstrap.servers
    broker.address.family broker.address.ttl broker.version.fallback builtin.features check.crcs client.dns.lookup
    client.id client.rack compression.codec compression.level compression.type connections.max.idle.ms
    consume.callback.max.messages coordinator.query.interval.ms debug delivery.report.only.error delivery.timeout.ms
    enable.auto.commit enable.auto.offset.store enable.gapless.guarantee enable.idempotence enable.metrics.push
    enable.partition.eof enable.random.seed enable.sasl.oauthbearer.unsecure.jwt enable.ssl.certificate.verification
    enabled_events fetch.error.backoff.ms fetch.max.bytes fetch.message.max.bytes fetch.min.bytes
    fetch.queue.backoff.ms fetch.wait.max.ms group.id group.instance.id group.protocol group.protocol.type
    group.remote.assignor heartbeat.interval.ms https.ca.location internal.termination.signal isolation.level
    linger.ms log.connection.close log.queue log.thread.name log_level max.in.flight
    max.in.flight.requests.per.connection max.partition.fetch.bytes max.poll.interval.ms max.poll.records
    message.copy.max.bytes message.max.bytes message.send.max.retries message.timeout.ms metadata.broker.list
    metadata.max.age.ms metadata.recovery.rebootstrap.trigger.ms metadata.recovery.strategy offset.store.method
    offset.store.path offset.store.sync.interval.ms partition.assignment.strategy partitioner plugin.library.paths
    produce.offset.report queue.buffering.backpressure.threshold queue.buffering.max.kbytes
    queue.buffering.max.messages queue.buffering.max.ms queued.max.messages.kbytes queued.min.messages
    queuing.strategy receive.message.max.bytes reconnect.backoff.jitter.ms reconnect.backoff.max.ms
    reconnect.backoff.ms request.required.acks request.timeout.ms retries retry.backoff.max.ms retry.backoff.ms
    sasl.kerberos.keytab sasl.kerberos.min.time.before.relogin sasl.kerberos.principal sasl.kerberos.service.name
    sasl.mechanism sasl.mechanisms sasl.oauthbearer.assertion.algorithm sasl.oauthbearer.assertion.claim.aud
    sasl.oauthbearer.assertion.claim.exp.seconds sasl.oauthbearer.assertion.claim.iss
    sasl.oauthbearer.assertion.claim.jti.include sasl.oauthbearer.assertion.claim.nbf.seconds
    sasl.oauthbearer.assertion.claim.sub sasl.oauthbearer.assertion.file
    sasl.oauthbearer.assertion.jwt.template.file sasl.oauthbearer.assertion.private.key.file
    sasl.oauthbearer.client.credentials.client.id sasl.oauthbearer.client.id sasl.oauthbearer.grant.type
    sasl.oauthbearer.metadata.authentication.type sasl.oauthbearer.method sasl.oauthbearer.scope
    sasl.oauthbearer.sub.claim.name sasl.username security.protocol session.timeout.ms share.acknowledgement.mode
    socket.blocking.max.ms socket.connection.setup.timeout.ms socket.keepalive.enable socket.max.fails
    socket.nagle.disable socket.receive.buffer.bytes socket.send.buffer.bytes socket.timeout.ms
    ssl.ca.certificate.stores ssl.ca.location ssl.certificate.location ssl.cipher.suites ssl.crl.location
    ssl.curves.list ssl.endpoint.identification.algorithm ssl.engine.id ssl.engine.location ssl.key.location
    ssl.keystore.location ssl.providers ssl.sigalgs.list statistics.interval.ms sticky.partitioning.linger.ms
    topic.blacklist topic.metadata.propagation.max.ms topic.metadata.refresh.fast.cnt
    topic.metadata.refresh.fast.interval.ms topic.metadata.refresh.interval.ms topic.metadata.refresh.sparse
    test.mock.broker.rtt test.mock.num.brokers transaction.timeout.ms transactional.id
    """
HARMLESS = frozenset(_HARMLESS.split())
"""The settings of librdkafka 2.16 that never hold a secret; all others, those of later versions too, are not shown."""

_GUARDED = """
    https.ca.pem sasl.kerberos.kinit.cmd sasl.oauthbearer.assertion.private.key.passphrase
    sasl.oauthbearer.assertion.private.key.pem sasl.oauthbearer.client.credentials.client.secret
    sasl.oauthbearer.client.secret sasl.oauthbearer.config sasl.oauthbearer.extensions
    sasl.oauthbearer.token.endpoint.url sasl.password ssl.ca.pem ssl.certificate.pem ssl.key.password ssl.key.pem
    ssl.keystore.password
    """
GUARDED = frozenset(_GUARDED.split())
"""Those that are, or may hold, a secret."""

_CALLBACKS = "default.topic.config error_cb logger oauth_cb on_commit on_delivery stats_cb throttle_cb"
CALLBACKS = frozenset(_CALLBACKS.split())
"""What confluent-kafka takes beside them; not shown, since nobody knows what their values hold."""

KNOWN = HARMLESS | GUARDED | CALLBACKS

CLASSIC, CONSUMER = "classic", "consumer"
"""The protocols that there are between a group's members and its coordinator; the latter is KIP-848's."""

CLASSIC_ONLY: Mapping[str, str] = {
    "session.timeout.ms": "the brokers' group.consumer.session.timeout.ms, or the group's consumer.session.timeout.ms",
    "heartbeat.interval.ms": (
        "the brokers' group.consumer.heartbeat.interval.ms, or the group's consumer.heartbeat.interval.ms"
    ),
    "partition.assignment.strategy": "group.remote.assignor, one of the brokers' group.consumer.assignors",
    "group.protocol.type": "nothing",
}
"""What only the classic protocol has, and what has taken its place in the consumer protocol."""

CONSUMER_ONLY = frozenset({"group.remote.assignor"})
"""What only the consumer protocol has."""


class ClientSettings(dict[str, Any]):
    """Settings of a client that show, where they are printed, only what is harmless."""

    def __repr__(self) -> str:
        """As a dict's."""
        return repr(shown(self))


def shown(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as people may see them."""
    return {key: value if key in HARMLESS else HIDDEN for key, value in config.items()}


def setting_of_variable(name: str) -> str:
    """The setting that a variable's name such as ``BOOTSTRAP_SERVERS`` means, in which an underscore is a dot."""
    lower = name.lower()
    return lower if lower in KNOWN else lower.replace("_", ".")


def group_protocol_of(wanted: str, config: Mapping[str, Any], instance_id: str | None = None) -> str:
    """The protocol that settings ask for; what is left to the group (``"auto"``) is told by a setting of only one.

    A static member's is the classic one then: by the consumer protocol brokers keep the id of a member that was killed
    until its session is over, instead of giving its place to who comes with the same id.
    """
    if wanted != "auto":
        return wanted
    if config.keys() & CONSUMER_ONLY:
        return CONSUMER
    return CLASSIC if instance_id is not None or config.keys() & CLASSIC_ONLY.keys() else wanted


def why_unfit(wanted: str, config: Mapping[str, Any]) -> str | None:
    """What is wrong with settings for a group's protocol, and what to set instead; ``None`` if nothing is."""
    of_classic = next((key for key in CLASSIC_ONLY if key in config), None)
    of_consumer = next((key for key in sorted(CONSUMER_ONLY) if key in config), None)
    if of_classic is not None and (wanted == CONSUMER or of_consumer is not None):
        return (
            f"{of_classic!r} is of the classic group protocol, and this stream's is the consumer protocol: "
            f"{CLASSIC_ONLY[of_classic]} has taken its place"
        )
    if of_consumer is not None and wanted == CLASSIC:
        return (
            f"{of_consumer!r} is of the consumer group protocol, and this stream's is the classic one, whose members "
            "use cooperative-sticky: leave it out, or leave group_protocol to 'auto'"
        )
    return None


def why_unknown(config: Mapping[str, Any]) -> str | None:
    """What is wrong with the names of these settings, and what may be meant; ``None`` if librdkafka has them all.

    One that is not listed here is shown to the installed librdkafka, which may be a later one.
    """
    for key, value in config.items():
        if key not in KNOWN and not _is_taken(key, value):
            return f"{key!r} is no setting of librdkafka ({libversion()[0]}){meant(str(key), KNOWN)}"
    return None


def meant(name: str, known: Iterable[str]) -> str:
    """The nearest of the names that there are, as the end of a sentence; nothing if none is near."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    return f"; is {near[0]!r} meant?" if near else ""


def _is_taken(key: str, value: Any) -> bool:
    """Whether a client can be made with it, which connects to nothing; an unknown name is refused before that."""
    try:
        Consumer({"group.id": "none", "log_level": 0, key: value}).close()
    except (KafkaException, TypeError, ValueError):
        return False
    return True


__all__ = [
    "CALLBACKS",
    "CLASSIC",
    "CLASSIC_ONLY",
    "CONSUMER",
    "CONSUMER_ONLY",
    "GUARDED",
    "HARMLESS",
    "HIDDEN",
    "KNOWN",
    "ClientSettings",
    "group_protocol_of",
    "meant",
    "setting_of_variable",
    "shown",
    "why_unfit",
    "why_unknown",
]
