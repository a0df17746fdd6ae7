"""Every way to be let in, and to be kept out, on every store: one sentence, a type, an exit status, no secret."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from integration_tests.engine import wait_until
from integration_tests.message_proxy import MessageProxy
from integration_tests.refusals import (
    LOGINS,
    RECORDS,
    RIGHTS,
    RIGHTS_IN_KAFKA,
    STORES,
    WAIT_S,
    Row,
    Secured,
    Settings,
    oidc,
)
from integration_tests.secured_kafka import KEY_PASSWORD, STREAM, SecuredKafka
from integration_tests.test_security import committed
from integration_tests.test_sql_broken_connections import break_first_logins
from integration_tests.tls_servers import TlsServers
from integration_tests.token_issuer import CLIENT_SECRET
from kafka_stream import Batch
from kafka_stream.errors import NotAuthorized
from kafka_stream.executors import ProcessExecutor

# ------------------------------------------------------------------------------------------------------ who is let in


def _certificate(kafka: SecuredKafka, _: Path) -> dict[str, Any]:
    return kafka.mutual(kafka.certificates.of_client(STREAM, password=KEY_PASSWORD), password=KEY_PASSWORD)


LET_IN: Mapping[str, Settings] = {
    "PLAIN": lambda kafka, _: kafka.login(STREAM, "PLAIN"),
    "SCRAM-SHA-256": lambda kafka, _: kafka.login(STREAM, "SCRAM-SHA-256"),
    "SCRAM-SHA-512": lambda kafka, _: kafka.login(STREAM, "SCRAM-SHA-512"),
    "a certificate": _certificate,
    "oauth_cb": lambda kafka, _: kafka.token(STREAM),
    "oidc": lambda kafka, _: oidc(kafka, STREAM, CLIENT_SECRET),
}


@pytest.mark.parametrize("assignment", ["static", "group"])
@pytest.mark.parametrize("way", LET_IN)
def test_who_is_let_in_reads_and_writes(
    secured: Secured, way: str, assignment: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    secured.grant_all_but()
    if way.startswith("SCRAM"):
        secured.kafka.add_scram_user(STREAM, way)
    with secured.stream("kafka", LET_IN[way](secured.kafka, secured.directory), assignment) as stream:
        assert wait_until(lambda: committed(stream, RECORDS), WAIT_S), stream.status()
    assert len(secured.kafka.read_committed(secured.results)) == RECORDS
    secured.assert_no_secret(stream, stream.settings, stream.status(), caplog.text, *capfd.readouterr())
    if way.startswith("SCRAM"):
        secured.kafka.remove_scram_user(STREAM, way)


def test_workers_ask_for_tokens_of_their_own(secured: Secured) -> None:
    issuer = secured.kafka.issuer
    issuer.lifetime_s = 10.0
    secured.grant_all_but()
    stream = secured.stream("sqlite", secured.kafka.token(STREAM), prepare=values_of, executor=ProcessExecutor(2))
    with stream:
        for number in range(4):
            assert wait_until(lambda: committed(stream, RECORDS + number), WAIT_S), stream.status()  # noqa: B023
            before = issuer.issued
            assert wait_until(lambda: issuer.issued >= before + 4, WAIT_S)  # noqa: B023
            secured.kafka.produce(secured.topic, ["more"])


def values_of(batch: Batch) -> list[bytes | None]:
    return [message.value() for message in batch]


# ----------------------------------------------------------------------------------------------------------- streams

ROWS = [
    *((kind, row, store) for kind, row in {**LOGINS, **RIGHTS}.items() for store in STORES),
    *((kind, row, "kafka") for kind, row in RIGHTS_IN_KAFKA.items()),
]


@pytest.mark.parametrize(("kind", "row", "store"), ROWS, ids=[f"{kind}, {store}" for kind, _, store in ROWS])
def test_a_stream_says_what_keeps_it_out(
    secured: Secured,
    kind: str,
    row: Row,
    store: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    secured.grant_all_but(row.missing)
    more = {"on_error": "dead-letter"} if row.missing == "cluster" else {}
    client = row.settings(secured.kafka, secured.directory)
    stream = secured.stream(store, client, "group" if row.missing == "group" else "static", **more)
    said = secured.refusal(stream, row)
    secured.assert_no_secret(said, stream, stream.settings, stream.status(), caplog.text, *capfd.readouterr())


# ------------------------------------------------------------------------------------------------------ while running


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_password_that_is_taken_away_stops_a_running_stream(
    secured: Secured, store: str, mechanism: str, caplog: pytest.LogCaptureFixture
) -> None:
    secured.grant_all_but()
    secured.kafka.add_scram_user(STREAM, mechanism)
    try:
        stream = secured.stream(store, secured.kafka.login(STREAM, mechanism))
        stream.start()
        assert wait_until(lambda: committed(stream, RECORDS), WAIT_S), stream.status()
    finally:
        secured.kafka.remove_scram_user(STREAM, mechanism)
    with pytest.raises(NotAuthorized, match=r"refused the credentials \(.+\); check security\.protocol"):
        stream.wait(WAIT_S)
    secured.assert_no_secret(stream, stream.status(), caplog.text)


@pytest.mark.parametrize("store", STORES)
def test_a_right_that_is_taken_away_stops_a_running_stream(secured: Secured, store: str) -> None:
    secured.grant_all_but()
    stream = secured.stream(store, secured.kafka.login(STREAM))
    stream.start()
    assert wait_until(lambda: committed(stream, RECORDS), WAIT_S), stream.status()
    secured.kafka.revoke_all()
    secured.kafka.produce(secured.topic, ["more"])
    with pytest.raises(NotAuthorized, match=r"grant this principal"):
        stream.wait(WAIT_S)


@pytest.mark.parametrize("assignment", ["static", "group"])
@pytest.mark.parametrize("store", STORES)
def test_tokens_of_seconds_are_renewed_for_minutes(secured: Secured, store: str, assignment: str) -> None:
    issuer = secured.kafka.issuer
    issuer.lifetime_s = 10.0
    secured.grant_all_but()
    with secured.stream(store, secured.kafka.token(STREAM), assignment) as stream:
        rounds = 15 if store == "kafka" else 4
        for number in range(rounds):
            assert wait_until(lambda: committed(stream, RECORDS + number), WAIT_S), stream.status()  # noqa: B023
            before = issuer.issued
            assert wait_until(lambda: issuer.issued > before, WAIT_S)  # noqa: B023
            secured.kafka.produce(secured.topic, ["more"])
        assert wait_until(lambda: committed(stream, RECORDS + rounds), WAIT_S), stream.status()


@pytest.mark.parametrize("store", STORES)
def test_an_issuer_that_is_away_for_longer_than_a_token_lives_is_waited_for(
    secured: Secured, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    issuer = secured.kafka.issuer
    issuer.lifetime_s = 10.0
    secured.grant_all_but()
    stream = secured.stream(store, secured.kafka.token(STREAM))
    with stream:
        assert wait_until(lambda: committed(stream, RECORDS), WAIT_S), stream.status()
        issuer.is_away = True
        assert wait_until(lambda: "gave no token: HTTPError: HTTP Error 503" in caplog.text, WAIT_S)
        assert wait_until(lambda: "invalid_token" in caplog.text or stream.wait(0), WAIT_S), caplog.text
        issuer.is_away = False
        secured.kafka.produce(secured.topic, ["more"])
        assert wait_until(lambda: committed(stream, RECORDS + 1), WAIT_S), stream.status()
    secured.assert_no_secret(caplog.text)


# ------------------------------------------------------------------------------------------------- databases with TLS


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("store", ["postgresql", "mariadb"])
def test_a_first_login_over_tls_that_breaks_is_no_refusal(tls_servers: TlsServers, store: str, answered: bool) -> None:
    direct = make_url(tls_servers.postgres() if store == "postgresql" else tls_servers.mariadb())
    assert direct.port is not None
    with MessageProxy("127.0.0.1", direct.port) as proxy:
        url = direct.set(port=proxy.port).render_as_string(hide_password=False)
        break_first_logins(proxy, url, answered=answered)
