"""One right fewer than docs/operating.md names, and a stream or a command is refused, in words that name the right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from integration_tests.secured_kafka import SecuredKafka
from integration_tests.test_rights import (
    COMMANDS,
    IN_ORDER,
    MORE_OF_LETTERS,
    REPLAY,
    SETTING_ASIDE,
    WAIT_S,
    Shop,
    as_the_user,
    poisoned,
    store_in_database,
    store_in_kafka,
    table,
)
from kafka_stream.errors import NotAuthorized
from tests.command_line import Invoke, in_directory

REFUSED: Mapping[str, str] = {
    "topics": r"refused access to topics \S+ \(.*\); grant this principal READ and DESCRIBE on the topic",
    "group": r"refused access to (the consumer )?group.*\(.*\); grant this principal READ on the consumer group",
    "transactional ids": r"refused taking over .*\(.*\); grant this principal WRITE and DESCRIBE on the trans",
    "letters' topic": r"refused topic '\S+\.dead-letters' \(.*\); grant this principal READ and DESCRIBE on the topic",
    "output topics": r"refused topic \S+ \(.*\); grant this principal WRITE and DESCRIBE on the topic",
}
HIDDEN = {
    # The broker does not tell of topics that the principal may not DESCRIBE: they are as good as not there.
    "streams": (0, r"There are no streams in .*; .* whether this principal may DESCRIBE"),
    "import": (2, r"does not exist at .*whether this principal may DESCRIBE"),
}
NO_STREAM = (1, r"there is no stream .*whether this principal may DESCRIBE the stream's topics")

STREAMS = [what for what in table() if " stream, " in what]
LETTERS = [what for what in table() if what.startswith("dead-letters") or what in (SETTING_ASIDE, IN_ORDER, REPLAY)]
"""What replays letters, and streams that set records aside, have tests of their own in ``test_rights``."""
COMMANDS_ON_LETTERS = [what for what in LETTERS if what.endswith(", offsets in Kafka")]
IN_KAFKA = [what for what in table() if what.endswith(", offsets in Kafka") and what not in (*STREAMS, *LETTERS)]
ELSEWHERE = [what for what in table() if what not in (*STREAMS, *IN_KAFKA, *LETTERS, "GroupOffsetMirror")]


def one_fewer(rows: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each row with each of the rights that it may lack."""
    return ((what, kind) for what in rows for kind, *_ in table()[what])


def expected(what: str, missing: str) -> tuple[int, str]:
    """Status and sentence of a command."""
    if not what.endswith("Kafka") or missing != "topics":
        return HIDDEN["streams"] if what.startswith("streams, offsets in Kafka") else (2, REFUSED[missing])
    return HIDDEN.get(what.split(",")[0], NO_STREAM)


@pytest.fixture
def shop(secured_kafka: SecuredKafka, tmp_path: Path) -> Shop:
    return Shop(secured_kafka, tmp_path)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Invoke]:
    with in_directory(tmp_path, capsys, monkeypatch) as invoke:
        yield invoke


def test_the_table_is_what_is_looped_over() -> None:
    assert (len(STREAMS), len(IN_KAFKA), len(ELSEWHERE), len(COMMANDS_ON_LETTERS), len(LETTERS)) == (4, 8, 5, 5, 8)


def test_a_stream_without_one_of_its_rights_is_refused(shop: Shop) -> None:
    for what, missing in one_fewer(STREAMS):
        shop.kafka.revoke_all()
        shop.grant(what, but=missing)
        stream = shop.stream(in_kafka=what.endswith("Kafka"), assignment=what.split()[0])
        stream.start()
        with pytest.raises(NotAuthorized) as refused:
            stream.wait(WAIT_S)
        assert re.search(REFUSED[missing], str(refused.value)), (what, missing, refused.value)


@pytest.mark.parametrize("in_kafka", [False, True], ids=["database", "kafka"])
def test_a_command_without_one_of_its_rights_is_refused(
    shop: Shop, run: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_kafka: bool
) -> None:
    (store_in_kafka if in_kafka else store_in_database)(shop)
    as_the_user(shop, monkeypatch)
    (tmp_path / "offsets.csv").write_text(f"{shop.topic},0,1\n")
    store = f"kafka://{shop.kafka.client_address}" if in_kafka else shop.database
    for what, missing in one_fewer(IN_KAFKA if in_kafka else ELSEWHERE):
        shop.kafka.revoke_all()
        shop.grant(what, but=missing)
        name, *options = what.split(",")[0].split()
        stream = [] if name == "streams" else ["--stream", shop.name]
        ended = run("offsets", name, "--store", store, *stream, *options, *COMMANDS.get(name, ()))
        status, sentence = expected(what, missing)
        said = " ".join((ended.out + ended.err).split())
        assert ended.status == status, (what, missing, said)
        assert re.search(sentence, said), (what, missing, said)


def test_a_command_on_letters_in_kafka_without_one_of_its_rights_is_refused(
    shop: Shop, run: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.grant("static stream, offsets in Kafka")
    shop.grant(SETTING_ASIDE)
    shop.run(poisoned(shop))
    as_the_user(shop, monkeypatch)
    where = ("--store", f"kafka://{shop.kafka.client_address}", "--stream", shop.name)
    for what, missing in one_fewer(COMMANDS_ON_LETTERS):
        shop.kafka.revoke_all()
        shop.grant(what, but=missing)
        command = what.split(",")[0].split()[1]
        ended = run("dead-letters", command, *MORE_OF_LETTERS.get(command, ()), *where)
        status, sentence = expected(what, missing)
        said = " ".join((ended.out + ended.err).split())
        assert (ended.status, bool(re.search(sentence, said))) == (status, True), (what, missing, said)
