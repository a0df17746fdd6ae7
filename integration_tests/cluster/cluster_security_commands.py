"""Every command that meets what keeps it out: one sentence, exit status 2, no secret; on every store."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

import pytest

from integration_tests.refusals import LOGINS, Row, Secured
from integration_tests.secured_kafka import STREAM
from integration_tests.tls_servers import TlsServers
from kafka_stream.errors import KafkaStreamError
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
STORE_ROWS = {
    "wrong password": lambda make, servers: make(password="wrong-secret"),
    "unknown authority": lambda make, servers: make(ca=str(servers.other_authority.certificate)),
    "wrong host name": lambda make, servers: make(host="localhost"),
    "no such file": lambda make, servers: make(ca="/nowhere/ca.pem"),
}


@pytest.mark.parametrize("kind", STORE_ROWS)
@pytest.mark.parametrize("store", ["postgresql", "mariadb", "zookeeper"])
def test_a_store_says_what_keeps_us_out(
    secured: Secured,
    tls_servers: TlsServers,
    run: Invoke,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    store: str,
    kind: str,
) -> None:
    """A stream does, and every command that opens it."""
    stored(secured, store)
    url = STORE_ROWS[kind](getattr(tls_servers, {"postgresql": "postgres"}.get(store, store)), tls_servers)
    sentence = (STORE_CREDENTIALS if kind == "wrong password" else STORE_TLS)[store]
    stream = secured.stream("sqlite", secured.kafka.login(STREAM)).replace(store=url)
    said = secured.refusal(stream, Row(lambda *_: {}, sentence, KafkaStreamError))
    secured.assert_no_secret(said, stream, stream.settings, stream.status())
    as_client(secured, Row(lambda kafka, _: kafka.login(STREAM), ""), monkeypatch)
    (secured.directory / FILE).write_text(f"{secured.topic},0,1\n")
    for group, command, options in IN_KAFKA:
        ended = run(*arguments(secured, group, command, options, url))
        said = one_sentence(ended)
        assert (ended.status, re.search(sentence, said) is not None) == (2, True), (command, ended)
        secured.assert_no_secret(ended.out, ended.err, caplog.text)
