"""Who is kept out is told why, in one sentence, at once; who is let in reads on, also while tokens change.

The rows that take long, on every store and with every command, are in ``cluster/cluster_security.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration_tests.engine import wait_until
from integration_tests.kafka_proxy import KafkaProxy
from integration_tests.refusals import LOGINS, RECORDS, WAIT_S, Secured, oidc
from integration_tests.secured_kafka import STREAM, SecuredKafka
from integration_tests.token_issuer import CLIENT_SECRET
from kafka_stream import DirectStream

SHORT = ("wrong password, SCRAM-SHA-512", "a token that is refused", "unknown authority", "expired client certificate")


@pytest.fixture
def secured(secured_kafka: SecuredKafka, tmp_path: Path) -> Iterator[Secured]:
    found = Secured(secured_kafka, None, tmp_path)
    found.grant_all_but()
    yield found
    secured_kafka.issuer.lifetime_s, secured_kafka.issuer.is_away = 300.0, False


@pytest.mark.parametrize("kind", SHORT)
def test_who_is_not_let_in_is_told_why(
    secured: Secured, kind: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    row = LOGINS[kind]
    stream = secured.stream("kafka", row.settings(secured.kafka, secured.directory))
    said = secured.refusal(stream, row)
    secured.assert_no_secret(said, stream, stream.settings, stream.status(), caplog.text, *capfd.readouterr())


def committed(stream: DirectStream, count: int) -> bool:
    """Whether so many records are committed; raises what the stream failed of."""
    return sum(stream.status().positions.values()) >= count or stream.wait(0) is not None


def test_tokens_are_renewed_as_long_as_the_stream_runs(secured: Secured) -> None:
    """Of few seconds, by all its clients: those that read, that write, and that are only asked now and then."""
    issuer = secured.kafka.issuer
    issuer.lifetime_s = 8.0
    with secured.stream("kafka", secured.kafka.token(STREAM), "group") as stream:
        assert wait_until(lambda: committed(stream, RECORDS), WAIT_S), stream.status()
        before = issuer.issued
        assert wait_until(lambda: issuer.issued >= before + 8, WAIT_S), issuer.issued
        secured.kafka.produce(secured.topic, ["after"])
        assert wait_until(lambda: committed(stream, RECORDS + 1), WAIT_S), stream.status()


@pytest.mark.parametrize("store", ["sqlite", "kafka"])
def test_a_connection_that_breaks_during_a_login_is_no_refusal(secured: Secured, store: str) -> None:
    """As brokers break it that stop just then; librdkafka has one code for that and for a wrong password."""
    host, _, port = secured.kafka.client_address.partition(":")
    with KafkaProxy(host, int(port)) as proxy:
        client = {**secured.kafka.credentials(STREAM), "bootstrap.servers": proxy.bootstrap_servers}
        with secured.stream(store, {**client, "reconnect.backoff.max.ms": 500}) as stream:
            assert wait_until(lambda: committed(stream, RECORDS), WAIT_S), stream.status()
            proxy.cut_logins()
            assert wait_until(lambda: proxy.logins_cut >= 5, WAIT_S), proxy.logins_cut
            proxy.admit_logins()
            secured.kafka.produce(secured.topic, ["after"])
            assert wait_until(lambda: committed(stream, RECORDS + 1), WAIT_S), stream.status()


def test_librdkafkas_own_way_to_an_issuer(secured: Secured) -> None:
    with secured.stream("kafka", oidc(secured.kafka, STREAM, CLIENT_SECRET)) as stream:
        assert wait_until(lambda: committed(stream, RECORDS), WAIT_S), stream.status()
