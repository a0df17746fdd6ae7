"""Every command on offsets and dead letters against wrong passwords, missing rights and dead servers, by real servers.

``golden/faults.txt`` is the table. To accept a change, delete the part of a fault and run the test: it writes what it
got, and fails once. Hosts, ports and names are placeholders.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.security import make_digest_acl
from sqlalchemy import make_url

from integration_tests.mariadb_server import MariadbDatabase, MariadbServer
from integration_tests.secured_kafka import ADMIN, NOBODY, STREAM, SecuredKafka
from integration_tests.servers import PostgresDatabase, free_port, random_name
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.offset_stores.zookeeper import ZooKeeperOffsetStore
from kafka_stream.protocols import Action, ActionKind, Change
from kafka_stream.testing.dead_letter_contract import letter
from kafka_stream.testing.store_backend import OLDER, claim_of
from kafka_stream.types import TopicPartition
from tests.command_line import Invoke, in_directory, one_sentence

GOLDEN = Path(__file__).parent / "golden" / "faults.txt"
SECRET = "hush-hush"
COMMANDS: Mapping[str, Sequence[str]] = {
    "streams": (),
    "describe": (),
    "reset": ("--all-topics", "--to-current", "--execute", "--yes"),
    "delete": ("--yes",),
    "export": (),
    "import": ("offsets.csv", "--yes"),
    "migrate": ("--to", "sqlite:///other.db", "--fence", "--yes"),
    "mirror": (),
    "history": (),
    "undo": ("--yes",),
}
LETTERS: Mapping[str, Sequence[str]] = {
    "dead-letters list": (),
    "dead-letters show": (),
    "dead-letters stats": (),
    "dead-letters export": (),
    "dead-letters discard": ("--execute", "--yes"),
    "dead-letters replay": ("--through-topic", "--execute", "--yes"),
}
_PLACES = (
    (re.compile(r"(127\.0\.0\.1|localhost):\d+"), "HOST:PORT"),
    (re.compile(r'"127\.0\.0\.1", port \d+'), '"HOST", port PORT'),
    (re.compile(r"\b(t|reader|stream)_[0-9a-f]{12}\b"), "NAME"),
    (re.compile(r"/[^\s:'()]*/pytest-of-[^\s/]*/[^\s/]*/[^\s/:'()]*"), "DIRECTORY"),
    (re.compile(r"'172(\.\d+){3}'|'127\.0\.0\.1'|'localhost'"), "'HOST'"),
    (re.compile(r"within [\d.]+ s"), "within N s"),
    (re.compile(r"\b\d+(\.\d+)? ?ms\b"), "N ms"),
    # Whatever librdkafka has said last: a refused connection, or that all brokers are down.
    (re.compile(r"(?<=asking for the cluster's id: ).*"), "REASON"),
)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Invoke]:
    """The console script."""
    with in_directory(tmp_path, capsys, monkeypatch) as invoke:
        (tmp_path / "offsets.csv").write_text("orders,0,1\n")
        yield invoke


@pytest.fixture
def faults(run: Invoke, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run all commands on a store, and compare what they say with the table."""

    def compare(fault: str, url: str, *, stream: str = "orders", commands: Sequence[str] = tuple(COMMANDS)) -> None:
        monkeypatch.setenv("KAFKA_STREAM_STORE", url)
        told: dict[str, list[str]] = {}
        for command in commands:
            name = () if command == "streams" else ("--stream", stream)
            words = command.split() if command in LETTERS else ["offsets", command]
            ended = run(*words, *name, *{**COMMANDS, **LETTERS}[command])
            said = one_sentence(ended) if ended.status else "done"
            assert SECRET not in ended.out + ended.err
            told.setdefault(f"{ended.status} {_without_places(said.replace(stream, 'STREAM'))}", []).append(command)
        lines = "".join(f"{', '.join(named)}: {answer}\n" for answer, named in told.items())
        _same_as_golden(fault, lines)

    return compare


def _without_places(text: str) -> str:
    for pattern, placeholder in _PLACES:
        text = pattern.sub(placeholder, text)
    return text


def _parts() -> dict[str, str]:
    if not GOLDEN.exists():
        return {}
    found = re.split(r"^# (.*)\n", GOLDEN.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {name: part.rstrip("\n") + "\n" for name, part in zip(found[::2], found[1::2], strict=True)}


def _same_as_golden(fault: str, got: str) -> None:
    parts = _parts()
    if fault not in parts:
        GOLDEN.parent.mkdir(exist_ok=True)
        parts[fault] = got
        GOLDEN.write_text("\n".join(f"# {name}\n{parts[name]}" for name in sorted(parts)), encoding="utf-8")
        pytest.fail(f"{fault!r} was not in the table; it was written, look at it")
    assert got == parts[fault]


# SQLite ---------------------------------------------------------------------------------------------------------------


def test_sqlite_a_missing_file(faults: Callable[..., None]) -> None:
    faults("SQLite: the file is missing", "sqlite:///missing.db", commands=[c for c in COMMANDS if c != "import"])
    faults("SQLite: the file is missing (dead letters)", "sqlite:///missing.db", commands=list(LETTERS))
    assert not Path("missing.db").exists()


def test_sqlite_a_file_that_is_no_database(faults: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "orders.db").write_text("this is no database, but a text that is long enough to be looked at" * 20)
    faults("SQLite: the file is no database", "sqlite:///orders.db")
    faults("SQLite: the file is no database (dead letters)", "sqlite:///orders.db", commands=list(LETTERS))


def test_sqlite_what_cannot_be_opened(faults: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "orders.db").mkdir()
    faults("SQLite: the file cannot be opened", "sqlite:///orders.db")


def test_sqlite_a_file_that_may_only_be_read(faults: Callable[..., None], tmp_path: Path) -> None:
    with closing(SqlOffsetStore(f"sqlite:///{tmp_path}/orders.db")) as store:
        store.open()
        store.initialise("orders", "orders", {0: 5}, None)
    only_changing = ["delete", "import", "undo", "migrate"]
    faults("SQLite: read-only", "sqlite:///file:orders.db?mode=ro&uri=true", commands=only_changing)
    with closing(SqlOffsetStore(f"sqlite:///{tmp_path}/orders.db")) as store:
        positions = store.take_over("orders", OLDER, [TopicPartition("orders", 0)], {})
        with store.begin(claim_of(OLDER, {TopicPartition("orders", 0): (5, 9)}, positions)) as transaction:
            transaction.set_aside([letter(7)])
            transaction.advance()
            transaction.commit()
    faults("SQLite: read-only (dead letters)", "sqlite:///file:orders.db?mode=ro&uri=true", commands=list(LETTERS))


# PostgreSQL, MariaDB --------------------------------------------------------------------------------------------------


def _without_rights(database: PostgresDatabase | MariadbDatabase) -> None:
    with closing(SqlOffsetStore(database.url)) as store:
        store.open()
        store.initialise("orders", "orders", {0: 5}, None)


def _as(url: str, user: str | None = None, password: str = SECRET) -> str:
    parts = make_url(url)
    return parts.set(username=user or parts.username, password=password).render_as_string(hide_password=False)


def test_postgresql(faults: Callable[..., None], postgres: PostgresDatabase) -> None:
    dead = _as(postgres.at("127.0.0.1", free_port()).url)
    faults("PostgreSQL: a wrong password", _as(postgres.url))
    faults("PostgreSQL: a dead server", dead)
    faults("PostgreSQL: a wrong password (dead letters)", _as(postgres.url), commands=list(LETTERS))
    faults("PostgreSQL: a dead server (dead letters)", dead, commands=list(LETTERS))


def test_postgresql_without_rights(faults: Callable[..., None], postgres: PostgresDatabase) -> None:
    _without_rights(postgres)
    user = random_name("reader")
    postgres.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{SECRET}'")
    try:
        faults("PostgreSQL: no right on the tables", _as(postgres.url, user))
        postgres.execute(f"GRANT SELECT ON kafka_stream_offsets TO {user}")
        faults("PostgreSQL: no right on the dead letters", _as(postgres.url, user), commands=list(LETTERS))
        postgres.execute(f"DROP OWNED BY {user}")
    finally:
        postgres.execute(f"DROP ROLE {user}")


def test_mariadb(faults: Callable[..., None], mariadb: MariadbDatabase) -> None:
    dead = _as(mariadb.at("127.0.0.1", free_port()).url)
    faults("MariaDB: a wrong password", _as(mariadb.url))
    faults("MariaDB: a dead server", dead)
    faults("MariaDB: a wrong password (dead letters)", _as(mariadb.url), commands=list(LETTERS))
    faults("MariaDB: a dead server (dead letters)", dead, commands=list(LETTERS))


def test_mariadb_without_rights(
    faults: Callable[..., None], mariadb: MariadbDatabase, mariadb_server: MariadbServer
) -> None:
    _without_rights(mariadb)
    user = random_name("reader")
    mariadb_server.execute(f"CREATE USER {user}@'%%' IDENTIFIED BY '{SECRET}'", ())
    try:
        faults("MariaDB: no right in the database", _as(mariadb.url, user))
    finally:
        mariadb_server.execute(f"DROP USER {user}@'%'")


# ZooKeeper ------------------------------------------------------------------------------------------------------------


def test_zookeeper_a_dead_server(faults: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = dict(ZooKeeperOffsetStore.__init__.__kwdefaults__ or {})
    monkeypatch.setattr(ZooKeeperOffsetStore.__init__, "__kwdefaults__", {**defaults, "session_timeout_s": 1.0})
    faults("ZooKeeper: a dead server", f"zookeeper://ops:{SECRET}@127.0.0.1:{free_port()}/shop")


def test_zookeeper_without_rights(faults: Callable[..., None], zookeeper: str) -> None:
    acl = [make_digest_acl("owner", "of-the-znodes", all=True)]
    with closing(ZooKeeperOffsetStore(zookeeper, auth=("digest", "owner:of-the-znodes"), acl=acl)) as store:
        store.open()
        store.initialise("orders", "orders", {0: 5}, None)
    try:
        faults("ZooKeeper: a wrong password", f"zookeeper://owner:{SECRET}@{zookeeper}")
    finally:
        client = KazooClient(zookeeper, auth_data=[("digest", "owner:of-the-znodes")])
        client.start()
        client.delete("/kafka_stream", recursive=True)
        client.stop()
        client.close()


# Kafka ----------------------------------------------------------------------------------------------------------------


def test_kafka_a_dead_server(faults: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafka_stream.offset_stores.kafka.brokers.REQUEST_TIMEOUT_S", 1.0)
    faults("Kafka: a dead server", f"kafka://127.0.0.1:{free_port()}")


@pytest.mark.parametrize(
    ("fault", "user", "password"),
    [("Kafka: a wrong password", STREAM, SECRET), ("Kafka: no rights", NOBODY, None)],
)
def test_kafka_refuses(
    faults: Callable[..., None],
    secured_kafka: SecuredKafka,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    user: str,
    password: str | None,
) -> None:
    topic, stream = secured_kafka.create_topic(partitions=1), random_name("stream")
    tp = TopicPartition(topic, 0)
    with closing(KafkaOffsetStore(secured_kafka.credentials(ADMIN))) as store:
        store.open()
        store.change(stream, [tp], Action("reset-1", ActionKind.RESET, "op@here"), lambda _: [Change(tp, 1)])
    for key, value in secured_kafka.credentials(user, password=password).items():
        monkeypatch.setenv(f"KAFKA_STREAM_KAFKA__{key.upper().replace('.', '_')}", str(value))
    Path("offsets.csv").write_text(f"{topic},0,1\n")
    faults(fault, f"kafka://{secured_kafka.client_address}", stream=stream)


def test_the_table_has_nothing_but_these() -> None:
    stores = {name.partition(":")[0] for name in _parts()}
    assert stores == {"SQLite", "PostgreSQL", "MariaDB", "ZooKeeper", "Kafka"}
