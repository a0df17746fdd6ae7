"""Every command that meets what keeps it out: one sentence, exit status 2, no secret; on every store."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from integration_tests.engine import wait_until
from integration_tests.refusals import LOGINS, RECORDS, WAIT_S, Row, Secured
from integration_tests.secured_kafka import STREAM
from integration_tests.test_security import committed
from integration_tests.tls_servers import TlsServers
from kafka_stream.errors import ConfigurationError, KafkaStreamError
from tests.command_line import Invoke, one_sentence

FILE = "offsets.csv"
OFFSETS: Mapping[str, str] = {
    "streams": "",
    "describe": "--output json",
    "describe --no-time": "",
    "export": "",
    "history": "--output json",
    "reset": "--all-topics --to-earliest --execute --yes",
    "import": f"{FILE} --yes",
    "delete": "--yes",
    "migrate": "--to sqlite:///other.db --fence --yes",
    "undo": "--to sqlite:///other.db --yes",
}
LETTERS: Mapping[str, str] = {
    "list": "--output json",
    "stats": "",
    "show": "--topic t --partition 0 --offset 0",
    "export": "letters.jsonl",
    "discard": "--execute --yes",
    "replay --through-topic": "--execute --yes",
}
IN_KAFKA = [*(("offsets", *each) for each in OFFSETS.items()), *(("dead-letters", *each) for each in LETTERS.items())]
"""Whatever the store is, all of them open it."""
ASK_BROKERS = [
    ("offsets", "describe", ""),
    ("offsets", "reset", OFFSETS["reset"]),
    ("offsets", "mirror", ""),
]
"""Those that ask the brokers, wherever the offsets are."""


def arguments(secured: Secured, group: str, command: str, options: str, store: str) -> list[str]:
    """A command line."""
    stream = [] if command == "streams" else ["--stream", secured.name]
    return [group, *command.split(), *shlex.split(options), "--store", store, *stream]


def as_client(secured: Secured, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have commands log in as a row does, by variables: no secret belongs on a command line."""
    for key, value in row.settings(secured.kafka, secured.directory).items():
        monkeypatch.setenv(f"KAFKA_STREAM_KAFKA__{key.upper().replace('.', '_')}", str(value))


BY_VARIABLES = {kind: row for kind, row in LOGINS.items() if kind != "a token that is refused"}


@pytest.mark.parametrize("kind", BY_VARIABLES)
def test_every_command_on_offsets_in_kafka_says_what_keeps_it_out(
    secured: Secured, run: Invoke, monkeypatch: pytest.MonkeyPatch, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    row = LOGINS[kind]
    (secured.directory / FILE).write_text(f"{secured.topic},0,1\n")
    as_client(secured, row, monkeypatch)
    address = row.settings(secured.kafka, secured.directory)["bootstrap.servers"]
    for group, command, options in IN_KAFKA:
        ended = run(*arguments(secured, group, command, options, f"kafka://{address}"))
        said = one_sentence(ended)
        assert (ended.status, re.search(row.sentence, said) is not None) == (2, True), (command, ended)
        secured.assert_no_secret(ended.out, ended.err, caplog.text)


@pytest.mark.parametrize("kind", BY_VARIABLES)
def test_commands_that_ask_the_brokers_say_what_keeps_them_out(
    secured: Secured, run: Invoke, monkeypatch: pytest.MonkeyPatch, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    row = LOGINS[kind]
    store = secured.url("sqlite")
    stored(secured, "sqlite")
    as_client(secured, row, monkeypatch)
    for group, command, options in ASK_BROKERS:
        ended = run(*arguments(secured, group, command, options, store))
        said = one_sentence(ended)
        assert (ended.status, re.search(row.sentence, said) is not None) == (2, True), (command, ended)
        secured.assert_no_secret(ended.out, ended.err, caplog.text)


def stored(secured: Secured, store: str) -> None:
    """The stream has run to the end of its topic."""
    secured.grant_all_but()
    secured.stream(store, secured.kafka.login(STREAM)).run(until="latest")


# ------------------------------------------------------------------------------------------- databases and ZooKeeper

STORE_TLS = {
    "postgresql": r"^no TLS connection with postgresql.+ came about while .+; check the authority's certificate",
    "mariadb": r"^no TLS connection with mysql.+ came about while .+; check the authority's certificate",
    "zookeeper": r"^zookeeper://\S+ cannot be reached: .+ (that is not believed|cannot be read) \(.+\): check ca",
}
STORE_CREDENTIALS = {
    "postgresql": r"^postgresql\S+ .*refused us while .+; check user, password, database and grants$",
    "mariadb": r"^mysql\S+ .*refused us while .+; check user, password, database and grants$",
    "zookeeper": r"^zookeeper://\S+ refused us while .+; check the credentials and the znodes' ACLs$",
}
STORE_ROWS: Mapping[str, Callable[[TlsServers], dict[str, str]]] = {
    "wrong password": lambda _: {"password": "wrong-secret"},
    "unknown authority": lambda servers: {"ca": str(servers.other_authority.certificate)},
    "wrong host name": lambda _: {"host": "localhost"},
    "no such file": lambda _: {"ca": "/nowhere/ca.pem"},
}


@dataclass(frozen=True)
class KeptOut:
    """A stream, and every command, that meet a store which keeps them out."""

    secured: Secured
    servers: TlsServers
    run: Invoke
    monkeypatch: pytest.MonkeyPatch
    caplog: pytest.LogCaptureFixture

    def url(self, store: str, **settings: str) -> str:
        """Of the store, perhaps with a wrong setting."""
        make: Callable[..., str] = getattr(self.servers, {"postgresql": "postgres"}.get(store, store))
        return make(**settings)

    def says(self, url: str, sentence: str) -> None:
        """A stream with this store ends with the sentence, as does every command that opens it."""
        secured = self.secured
        stream = secured.stream("sqlite", secured.kafka.login(STREAM)).replace(store=url)
        said = secured.refusal(stream, Row(lambda *_: {}, sentence, KafkaStreamError))
        secured.assert_no_secret(said, stream, stream.settings, stream.status())
        as_client(secured, Row(lambda kafka, _: kafka.login(STREAM), ""), self.monkeypatch)
        (secured.directory / FILE).write_text(f"{secured.topic},0,1\n")
        for group, command, options in IN_KAFKA:
            ended = self.run(*arguments(secured, group, command, options, url))
            said = one_sentence(ended)
            assert (ended.status, re.search(sentence, said) is not None) == (2, True), (command, ended)
            secured.assert_no_secret(ended.out, ended.err, self.caplog.text)


@pytest.fixture
def kept_out(
    secured: Secured,
    tls_servers: TlsServers,
    run: Invoke,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> KeptOut:
    return KeptOut(secured, tls_servers, run, monkeypatch, caplog)


@pytest.mark.parametrize("kind", STORE_ROWS)
@pytest.mark.parametrize("store", ["postgresql", "mariadb", "zookeeper"])
def test_a_store_says_what_keeps_us_out(kept_out: KeptOut, store: str, kind: str) -> None:
    """A stream does, and every command that opens it."""
    stored(kept_out.secured, store)
    url = kept_out.url(store, **STORE_ROWS[kind](kept_out.servers))
    kept_out.says(url, (STORE_CREDENTIALS if kind == "wrong password" else STORE_TLS)[store])


@pytest.mark.parametrize("store", ["postgresql", "mariadb", "zookeeper"])
def test_a_certificate_that_has_expired_keeps_us_out(kept_out: KeptOut, store: str) -> None:
    stored(kept_out.secured, store)
    with kept_out.servers.expired():
        kept_out.says(kept_out.url(store), STORE_TLS[store])


@pytest.mark.parametrize("store", ["postgresql", "mariadb"])
def test_a_certificate_that_expires_under_a_stream_stops_it_at_its_next_connection(
    kept_out: KeptOut, store: str
) -> None:
    secured = kept_out.secured
    secured.grant_all_but()
    stream = secured.stream(store, secured.kafka.login(STREAM))
    stream.start()
    assert wait_until(lambda: committed(stream, RECORDS), WAIT_S), stream.status()
    with kept_out.servers.expired():
        secured.kafka.produce(secured.topic, ["over the connection that is there"])
        assert wait_until(lambda: committed(stream, RECORDS + 1), WAIT_S), stream.status()
        kept_out.servers.end_sessions(store)
        secured.kafka.produce(secured.topic, ["over another one"])
        with pytest.raises(ConfigurationError, match=STORE_TLS[store]):
            stream.wait(WAIT_S)
    stored(secured, store)
