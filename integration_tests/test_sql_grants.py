"""The grants that docs/operating.md names are enough, on PostgreSQL and MariaDB, and each of them is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from integration_tests.command_line import CommandLine
from integration_tests.servers import KafkaServer
from integration_tests.sql_roles import STATE_TABLES, Grants, Role, documented, role_of
from kafka_stream import DirectStream
from kafka_stream.errors import KafkaStreamError
from kafka_stream.observe.page.looking import StoreLooks
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import Action, ActionKind, Change, HistoryEntry, LetterStatus, Replay
from kafka_stream.testing import MemoryKafka
from kafka_stream.testing.dead_letter_contract import letter
from kafka_stream.testing.store_backend import OLDER, P0, P1, STREAM, TOPIC, claim_of, commit
from tests.sql_backend import SqlBackend, write

STREAM_GRANTS = documented("a stream")
LOOKING = documented("`streams`")
CHANGING = {**documented("`reset`"), **documented("`reset`, `import`", STATE_TABLES)}
LETTERS = documented("`dead-letters`")
CHECKING = documented("`schema check`")


@pytest.fixture
def mariadb_role(request: pytest.FixtureRequest) -> Iterator[Role]:
    with role_of(request, "mariadb") as found:
        yield found


@pytest.fixture(params=["postgres", "mariadb"])
def role(request: pytest.FixtureRequest) -> Iterator[Role]:
    with role_of(request, request.param) as found:
        yield found


def _entry(kind: ActionKind, number: str) -> HistoryEntry:
    return HistoryEntry(datetime.now(UTC), Action(number, kind, "me"), P0, from_offset=0, until_offset=1)


def _streams(store: SqlOffsetStore) -> None:
    """All that a stream does, in one life."""
    store.open()
    store.initialise(STREAM, TOPIC, {0: 0}, None)
    taken = store.take_over(STREAM, OLDER, [P0, P1], {})
    commit(store, OLDER, {P0: (0, 5)})
    _sets_aside(store)
    taken = store.take_over(STREAM, OLDER, [P0, P1], {})
    store.reposition(claim_of(OLDER, {P0: (7, 7)}, taken))
    store.reclaim(claim_of(OLDER, {P0: (7, 7)}, taken))
    store.record(STREAM, [_entry(ActionKind.TAKEOVER, "1")], timedelta(days=1))
    assert store.topics(STREAM)
    assert store.live_owners(STREAM)


def _sets_aside(store: SqlOffsetStore) -> None:
    taken = store.take_over(STREAM, OLDER, [P0], {})
    for offset in (5, 6):
        with store.begin(claim_of(OLDER, {P0: (offset, offset + 1)}, taken)) as transaction:
            transaction.waiting_keys()
            with transaction.attempt():
                pass
            transaction.set_aside([letter(3)])
            transaction.advance()
            transaction.commit()


def _works_on_letters(store: SqlOffsetStore) -> None:
    (one,) = store.letters(STREAM)
    replay = Replay("r", None, (one.id,))
    store.begin_replay(STREAM, replay)
    assert store.replay_under_way(STREAM) == replay
    store.end_replay(STREAM, replay, 0)
    store.letter_failed(one, one.error, datetime.now(UTC))
    with store.begin_letter(one) as transaction:
        transaction.advance()
        transaction.commit()
    store.mark_letters(STREAM, [one.id], LetterStatus.REPLAYED, LetterStatus.DISCARDED)
    store.record(STREAM, [_entry(ActionKind.DISCARD, "3")], timedelta(days=1))


def _looks(store: SqlOffsetStore) -> None:
    store.streams()
    store.topics(STREAM)
    store.positions(STREAM)
    store.history(STREAM, 10)
    store.live_owners(STREAM)
    list(store.letters(STREAM))


def _changes(store: SqlOffsetStore) -> None:
    store.open()
    _looks(store)
    store.states(STREAM)
    to_5 = [Change(P0, 5)]
    store.change(STREAM, [P0], Action("1", ActionKind.RESET, "me"), lambda found: to_5)
    store.close_topics(STREAM, [TOPIC], Action("2", ActionKind.DELETE, "me"), None)


DOING: dict[str, tuple[Callable[[SqlOffsetStore], object], Grants]] = {
    "a stream": (_streams, STREAM_GRANTS),
    "looking": (_looks, LOOKING),
    "changing": (_changes, CHANGING),
    "letters": (_works_on_letters, LETTERS),
    "checking": (SqlOffsetStore.check_schema, CHECKING),
}
EACH = [
    (what, table, kind)
    for what, (_, grants) in DOING.items()
    for table, kinds in grants.items()
    for kind in kinds
    if what != "checking" or table == "schema"  # PostgreSQL shows everybody what columns there are
]


@pytest.mark.parametrize("what", DOING)
def test_these_are_enough(role: Role, what: str) -> None:
    do, grants = DOING[what]
    if what == "letters":
        role.owner.initialise(STREAM, TOPIC, {0: 5}, None)
        _sets_aside(role.owner)
    role.grant(grants)
    with role.store() as store:
        do(store)


@pytest.mark.parametrize(("what", "table", "kind"), EACH)
def test_without_any_of_them_it_cannot_be_done(role: Role, what: str, table: str, kind: str) -> None:
    do, grants = DOING[what]
    if what == "letters":
        role.owner.initialise(STREAM, TOPIC, {0: 5}, None)
        _sets_aside(role.owner)
    role.grant(grants, but=(table, kind))
    with role.store() as store, pytest.raises(KafkaStreamError):
        do(store)


def test_the_page_is_for_whoever_may_look(role: Role) -> None:
    role.owner.initialise(STREAM, TOPIC, {0: 5}, None)
    role.grant(LOOKING)
    with role.store() as store:
        looks = StoreLooks(store)
        looks.look()
    assert looks.notes() == ()
    assert [(view.name, view.notes) for view in looks.views()] == [(STREAM, ())]


@pytest.mark.parametrize("table", STATE_TABLES)
def test_whoever_opens_a_store_on_mariadb_may_see_the_tables_of_state(mariadb_role: Role, table: str) -> None:
    mariadb_role.grant(STREAM_GRANTS, but=(table, "SELECT"))
    with mariadb_role.store() as store, pytest.raises(KafkaStreamError, match=f"kafka_stream_{table}"):
        store.open()


def test_a_stream_of_a_role_that_has_nothing_else(
    role: Role, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    role.grant(STREAM_GRANTS)
    role.grant_on_results()
    kafka = MemoryKafka({"orders": 2})
    for number in range(10):
        kafka.produce("orders", value=b"x", partition=number % 2)

    def handler(batch: Any, transaction: Any) -> None:
        for number, _ in enumerate(batch):
            write(transaction.connection, number)

    with role.store() as store:
        for _ in range(2):
            DirectStream(name="s", topics=["orders"], kafka=kafka, store=store, sink=handler, assignment="static").run(
                until="latest"
            )
            kafka.produce("orders", value=b"x", partition=0)
        kinds = {entry.action.kind for entry in store.history("s", 100)}
    assert kinds == {ActionKind.TAKEOVER, ActionKind.BATCH, ActionKind.STOP}
    assert [record for record in caplog.records if record.levelname != "INFO"] == []
    backend: SqlBackend = request.getfixturevalue("mariadb_backend" if role.url.startswith("mysql") else "backend")
    assert len(backend.results()) == 11


COMMANDS = {
    "reset": ["--all-topics", "--to-offset", "0", "--execute"],
    "undo": ["--yes"],
    "import": ["offsets.csv", "--yes"],
    "migrate": ["--to", "sqlite:///other.db", "--yes"],
    "delete": ["--yes"],
}


def test_the_commands_that_change_something_by_a_role_that_has_nothing_else(
    role: Role, kafka: KafkaServer, tmp_path: Path
) -> None:
    topic = kafka.create_topic()
    role.initialise(topic, dict.fromkeys(kafka.end_offsets(topic), 5))
    role.grant(CHANGING)
    (tmp_path / "offsets.csv").write_text(f"{topic},0,1\n")
    command_line = CommandLine(
        tmp_path,
        {
            "KAFKA_STREAM_STORE": role.url,
            "KAFKA_STREAM_NAME": topic,
            "KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        },
    )
    for command, arguments in COMMANDS.items():
        done = command_line("offsets", command, *arguments)
        assert done.status == 0, (command, done.err)
