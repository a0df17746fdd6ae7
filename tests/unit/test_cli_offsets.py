"""The commands on offsets, on SQLite: what they change, what they refuse, and how each ends when something is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.types import Owner, TopicPartition
from tests.command_line import Ended, Invoke, one_sentence

STORE = "sqlite:///orders.db"
READ_ONLY = "sqlite:///file:orders.db?mode=ro&uri=true"
HERE = ("--store", STORE, "--stream", "orders")
COMMANDS: Mapping[str, Sequence[str]] = {
    "streams": (),
    "describe": (),
    "reset": ("--all-topics", "--to-offset", "1", "--execute", "--yes"),
    "delete": ("--yes",),
    "export": (),
    "import": ("offsets.csv", "--yes"),
    "migrate": ("--to", "sqlite:///other.db", "--yes"),
    "mirror": (),
    "history": (),
    "undo": ("--yes",),
}
ONE_STREAM = sorted(COMMANDS.keys() - {"streams"})
CHANGING = ("reset", "delete", "import", "undo")


@pytest.fixture
def run(invoke: Invoke, brokers: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Ended]:
    """Run ``offsets …`` with brokers that have the topic, and a file to import."""
    monkeypatch.setenv("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", brokers)
    (tmp_path / "offsets.csv").write_text("orders,0,7\norders,1,8\n")
    return lambda command, *arguments: invoke("offsets", command, *arguments)


@pytest.fixture
def orders(invoke: Invoke) -> SqlOffsetStore:
    """A stream at offset 50 in each of four partitions, which nobody owns."""
    store = SqlOffsetStore(STORE)
    store.open()
    store.initialise("orders", "orders", dict.fromkeys(range(4), 50), None)
    return store


def offsets_in(store: SqlOffsetStore, stream: str = "orders") -> list[int]:
    found = store.positions(stream)
    return [found[tp].next_offset for tp in sorted(found)]


def rows(ended: Ended) -> list[dict[str, Any]]:
    assert ended.status == 0, ended.err
    return list(json.loads(ended.out))


def everything(path: Path) -> Mapping[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if file.suffix == ".db"}


# --------------------------------------------------------------------------------------------------- looking, changing


def test_describe_shows_what_is_stored_beside_the_log(run: Invoke, orders: SqlOffsetStore) -> None:
    found = rows(run("describe", *HERE, "--output", "json"))
    assert [row["next_offset"] for row in found] == [50] * 4
    assert [(row["first_offset"], row["end_offset"], row["high_watermark"]) for row in found] == [(0, 100, 100)] * 4
    assert [row["lag"] for row in found] == [50] * 4
    assert all(row["lag_s"] >= 0 for row in found)
    assert {row["epoch"] for row in found} == {0}


def test_no_time_reads_no_record(run: Invoke, orders: SqlOffsetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafka_stream.source.consumer.open_transactions.Consumer", None)
    found = rows(run("describe", *HERE, "--no-time", "--output", "json"))
    assert {(row["lag"], row["lag_s"]) for row in found} == {(50, None)}


def test_streams_lists_all_of_them(run: Invoke, orders: SqlOffsetStore) -> None:
    orders.initialise("rates", "rates", {0: 0}, None)
    found = rows(run("streams", "--store", STORE, "--output", "json"))
    assert [(row["stream"], row["topics"], row["partitions"], row["lag"]) for row in found] == [
        ("orders", ["orders"], 4, 200),
        ("rates", ["rates"], 1, None),
    ]
    assert found[1]["marks"] == ["topic missing"]


def test_a_store_without_streams_is_no_mistake(run: Invoke) -> None:
    found = run("streams", "--store", "sqlite:///none.db")
    assert found.status == 0
    assert found.out == "There are no streams in sqlite+pysqlite:///none.db (table kafka_stream_offsets).\n"
    assert rows(run("streams", "--store", "sqlite:///none.db", "--output", "json")) == []


def test_a_reset_prints_its_plan_and_changes_nothing_unless_it_is_executed(
    run: Invoke, orders: SqlOffsetStore, tmp_path: Path
) -> None:
    before = everything(tmp_path)
    found = run("reset", *HERE, "--topic", "orders:0,2-3", "--shift-by", "-20")
    assert found.status == 0, found.err
    assert "Nothing was changed; add --execute to do it." in found.out
    assert everything(tmp_path) == before
    done = run("reset", *HERE, "--topic", "orders:0,2-3", "--shift-by", "-20", "--execute", "--output", "json")
    assert [(row["from_offset"], row["to_offset"], row["repeated"]) for row in rows(done)] == [(50, 30, 20)] * 3
    assert offsets_in(orders) == [30, 50, 30, 30]


@pytest.mark.parametrize(
    ("target", "offsets"),
    [
        (["--to-earliest"], [0] * 4),
        (["--to-latest"], [100] * 4),
        (["--to-current"], [50] * 4),
        (["--to-offset", "10"], [10] * 4),
        (["--to-offset", "1000"], [100] * 4),
        (["--shift-by", "-60"], [0] * 4),
        (["--shift-by=7"], [57] * 4),
    ],
)
def test_each_target(target: list[str], offsets: list[int], run: Invoke, orders: SqlOffsetStore) -> None:
    assert run("reset", *HERE, "--all-topics", *target, "--execute").status == 0
    assert offsets_in(orders) == offsets


def test_an_exported_plan_can_be_read_again(run: Invoke, orders: SqlOffsetStore, tmp_path: Path) -> None:
    exported = run("reset", *HERE, "--all-topics", "--shift-by", "5", "--export")
    assert (exported.status, exported.out) == (0, "orders,0,55\norders,1,55\norders,2,55\norders,3,55\n")
    (tmp_path / "plan.csv").write_text(exported.out.replace("orders,3,55\n", ""))
    assert run("reset", *HERE, "--from-file", "plan.csv", "--execute", "--export").out == (
        "orders,0,55\norders,1,55\norders,2,55\n"
    )
    assert offsets_in(orders) == [55, 55, 55, 50]


def test_a_reset_is_undone_once(run: Invoke, orders: SqlOffsetStore) -> None:
    assert run("reset", *HERE, "--all-topics", "--to-earliest", "--execute").status == 0
    undone = rows(run("undo", *HERE, "--yes", "--output", "json"))
    assert [(row["from_offset"], row["to_offset"]) for row in undone] == [(0, 50)] * 4
    assert offsets_in(orders) == [50] * 4
    again = run("undo", *HERE, "--yes")
    assert again.status == 3
    assert "which is not undone; reset the offsets instead" in one_sentence(again)
    told = rows(run("history", *HERE, "--output", "json"))
    assert [row["action"] for row in told] == ["undo"] * 4 + ["reset"] * 4
    assert len(rows(run("history", *HERE, "--limit", "1", "--output", "json"))) == 4


@pytest.mark.parametrize("form", ["json", "csv"])
def test_what_was_exported_is_imported_as_it_was(
    form: str, run: Invoke, orders: SqlOffsetStore, tmp_path: Path
) -> None:
    exported = run("export", *HERE, "--output", form)
    assert exported.status == 0, exported.err
    (tmp_path / "file").write_text(exported.out)
    assert run("import", "--store", "sqlite:///other.db", "--stream", "orders", "file", "--yes").status == 0
    assert offsets_in(SqlOffsetStore("sqlite:///other.db")) == [50] * 4
    assert run("export", "--store", "sqlite:///other.db", "--stream", "orders", "--output", "csv").out == (
        "orders,0,50\norders,1,50\norders,2,50\norders,3,50\n"
    )


def test_a_migration_done_twice_changes_nothing(run: Invoke, orders: SqlOffsetStore) -> None:
    there = ("--to", "sqlite:///other.db", "--yes", "--output", "json")
    assert len(rows(run("migrate", *HERE, *there))) == 4
    stored = SqlOffsetStore("sqlite:///other.db").positions("orders")
    assert rows(run("migrate", "--stream", "orders", "--from", STORE, *there)) == []
    assert SqlOffsetStore("sqlite:///other.db").positions("orders") == stored


def test_a_migration_is_refused_while_somebody_owns_the_stream_unless_it_is_fenced(
    run: Invoke, orders: SqlOffsetStore
) -> None:
    orders.take_over("orders", Owner("4567", "host-2"), [TopicPartition("orders", 0)], {})
    refused = run("migrate", *HERE, "--to", "sqlite:///other.db", "--yes")
    assert refused.status == 3
    assert "is owned by 4567 on host-2: stop it first" in one_sentence(refused)
    assert offsets_in(SqlOffsetStore("sqlite:///other.db")) == []
    assert run("migrate", *HERE, "--to", "sqlite:///other.db", "--yes", "--fence").status == 0
    assert offsets_in(SqlOffsetStore("sqlite:///other.db")) == [50] * 4
    found = rows(run("describe", *HERE, "--output", "json"))
    (state,) = {row["state"] for row in found}
    there = re.escape("closed: migrated to sqlite+pysqlite:///other.db (table kafka_stream_offsets)")
    assert re.fullmatch(rf"{there} \(store [0-9a-f]{{12}}\)", state)


def test_delete_closes_and_may_be_repeated(run: Invoke, orders: SqlOffsetStore) -> None:
    assert rows(run("delete", *HERE, "--yes", "--output", "json")) == [{"topic": "orders"}]
    assert not orders.is_started("orders", "orders")
    again = run("delete", *HERE, "--yes")
    assert (again.status, again.out) == (0, "They were deleted before; nothing was changed.\n")


# ------------------------------------------------------------------------------------------------------- confirmation


def test_a_refused_plan_is_no_list_of_offsets(run: Invoke, orders: SqlOffsetStore) -> None:
    assert run("delete", *HERE, "--yes").status == 0
    for how in ([], ["--execute"]):
        refused = run("reset", *HERE, "--all-topics", "--to-earliest", "--export", *how)
        assert (refused.status, refused.out) == (3, "")


@pytest.mark.parametrize("command", ["delete", "import", "migrate", "undo"])
def test_what_changes_something_wants_to_be_confirmed(
    command: str, run: Invoke, orders: SqlOffsetStore, tmp_path: Path
) -> None:
    assert run("reset", *HERE, "--all-topics", "--to-offset", "9", "--execute").status == 0
    before = everything(tmp_path)
    ended = run(command, *HERE, *(argument for argument in COMMANDS[command] if argument != "--yes"))
    assert ended.status == 2
    assert "nobody is there to confirm it: look, then add --yes" in one_sentence(ended)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("command", CHANGING)
def test_somebody_at_a_terminal_may_say_no(
    command: str, run: Invoke, orders: SqlOffsetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("reset", *HERE, "--all-topics", "--to-offset", "9", "--execute").status == 0
    asked: list[str] = []

    def answer(question: str, **_: Any) -> bool:
        asked.append(question)
        return False

    monkeypatch.setattr("typer.confirm", answer)
    monkeypatch.setattr("kafka_stream.cli.offsets.confirmation.is_watched", lambda: True)
    ended = run(command, *HERE, *(argument for argument in COMMANDS[command] if argument != "--yes"))
    assert ended.status == 1
    assert one_sentence(ended) == "it was not confirmed, so nothing was changed"
    assert len(asked) == 1
    assert offsets_in(orders) == [9] * 4


# ------------------------------------------------------------------------------------------------- what can be wrong


@pytest.mark.parametrize("command", sorted(set(ONE_STREAM) - {"import"}))
def test_a_missing_stream(command: str, run: Invoke, orders: SqlOffsetStore, tmp_path: Path) -> None:
    before = everything(tmp_path)
    ended = run(command, "--store", STORE, "--stream", "order", *COMMANDS[command])
    assert ended.status == 1
    assert "there is no stream 'order' in sqlite" in one_sentence(ended)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"streams", "import"}))
def test_a_missing_database_is_not_created(command: str, run: Invoke, tmp_path: Path) -> None:
    ended = run(command, "--store", "sqlite:///none.db", "--stream", "orders", *COMMANDS[command])
    assert ended.status == 1
    one_sentence(ended)
    assert everything(tmp_path) == {}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_store_that_does_not_answer(command: str, run: Invoke, tmp_path: Path) -> None:
    url = "postgresql://nobody:hush-hush@127.0.0.1:1/none"
    stream = ("--stream", "orders") if command in ONE_STREAM else ()
    ended = run(command, "--store", url, *stream, *COMMANDS[command])
    assert ended.status == 1
    assert "127.0.0.1:1/none" in one_sentence(ended)
    assert "hush-hush" not in ended.err + ended.out
    assert everything(tmp_path) == {}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("url", ["oracle://x", "orders.db", "sqlite:/orders.db"])
def test_a_wrong_url(url: str, command: str, run: Invoke, tmp_path: Path) -> None:
    stream = ("--stream", "orders") if command in ONE_STREAM else ()
    ended = run(command, "--store", url, *stream, *COMMANDS[command])
    assert ended.status == 2
    one_sentence(ended)
    assert everything(tmp_path) == {}


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_said_about_the_store(command: str, run: Invoke) -> None:
    ended = run(command, *COMMANDS[command])
    assert ended.status == 2
    assert "--app MODULE:STREAM, or --store URL and --stream NAME" in one_sentence(ended)


@pytest.mark.parametrize("command", ONE_STREAM)
def test_nothing_said_about_the_stream(command: str, run: Invoke, orders: SqlOffsetStore) -> None:
    ended = run(command, "--store", STORE, *COMMANDS[command])
    assert ended.status == 2
    assert "say which stream" in one_sentence(ended)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_that_may_only_be_read(command: str, run: Invoke, orders: SqlOffsetStore, tmp_path: Path) -> None:
    assert run("reset", *HERE, "--all-topics", "--to-offset", "9", "--execute").status == 0
    orders.close()
    before = everything(tmp_path)
    stream = ("--stream", "orders") if command in ONE_STREAM else ()
    ended = run(command, "--store", READ_ONLY, *stream, *COMMANDS[command])
    if command in CHANGING:
        assert ended.status == 2, ended.err
        one_sentence(ended)
    else:
        assert ended.status == 0, ended.err
    assert everything(tmp_path)["orders.db"] == before["orders.db"]


@pytest.mark.parametrize("command", ["reset", "mirror"])
def test_brokers_that_are_not_named(
    command: str, run: Invoke, orders: SqlOffsetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS")
    ended = run(command, *HERE, *COMMANDS[command])
    assert ended.status == 2
    assert "this command needs the brokers" in one_sentence(ended)
    assert offsets_in(orders) == [50] * 4


def test_describe_without_brokers_leaves_the_lag_out(
    run: Invoke, orders: SqlOffsetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS")
    monkeypatch.setenv("KAFKA_STREAM_KAFKA__CLIENT_ID", "mine")
    found = rows(run("describe", *HERE, "--output", "json"))
    assert {(row["next_offset"], row["end_offset"], row["lag"], row["lag_s"]) for row in found} == {
        (50, None, None, None)
    }
    assert rows(run("streams", "--store", STORE, "--output", "json"))[0]["lag"] is None


@pytest.mark.parametrize("command", ["describe", "reset", "mirror"])
def test_brokers_that_do_not_answer(
    command: str, run: Invoke, orders: SqlOffsetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_stream.cli.offsets.target.BROKER_TIMEOUT_S", 0.3)
    ended = run(command, *HERE, *COMMANDS[command], "--kafka", "bootstrap.servers=127.0.0.1:1")
    assert ended.status == 1
    assert "no Kafka broker answered at 127.0.0.1:1" in one_sentence(ended)
    assert offsets_in(orders) == [50] * 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--all-topics"], "say where to, with one of --to-earliest"),
        (["--all-topics", "--to-earliest", "--to-latest"], "say where to, with one of --to-earliest"),
        (["--to-earliest"], "say which partitions: --topic"),
        (["--all-topics", "--topic", "orders", "--to-earliest"], "--topic and --all-topics exclude each other"),
        (["--topic", "orders:x", "--to-earliest"], "'orders:x' names no partitions"),
        (["--topic", "orders:4", "--to-earliest"], "orders[4] does not exist: the topic has 4 partition(s)"),
        (["--topic", "none", "--to-earliest"], "topic 'none' does not exist"),
        (["--all-topics", "--to-datetime", "tomorrow"], "'tomorrow' is no ISO 8601 time"),
        (["--all-topics", "--by-duration", "1 day"], "'1 day' is no ISO 8601 duration"),
        (["--from-file", "nowhere.csv"], "--from-file 'nowhere.csv' cannot be read: No such file"),
        (["--from-file", "latin.csv"], "--from-file 'latin.csv' cannot be read: it is not UTF-8 text"),
    ],
)
def test_a_reset_that_cannot_be_understood(
    arguments: list[str], sentence: str, run: Invoke, orders: SqlOffsetStore
) -> None:
    Path("latin.csv").write_bytes("bestellungen-für,0,1".encode("latin-1"))
    ended = run("reset", *HERE, *arguments, "--execute", "--yes")
    assert ended.status == 2
    assert sentence in one_sentence(ended)
    assert offsets_in(orders) == [50] * 4


def test_a_refused_reset_prints_the_plan_and_ends_with_3(run: Invoke, orders: SqlOffsetStore) -> None:
    assert run("delete", *HERE, "--yes").status == 0
    for execute in ([], ["--execute", "--yes"]):
        ended = run("reset", *HERE, "--all-topics", "--to-earliest", *execute)
        assert ended.status == 3
        assert "orders[0] is closed" in one_sentence(ended)
        assert "! orders[3] is closed" in ended.out


@pytest.mark.parametrize("content", ["", "orders;0;1\n", "{}", '{"format": 1, "stream": "rates", "positions": []}'])
def test_a_file_that_is_no_export(content: str, run: Invoke, orders: SqlOffsetStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(content)
    ended = run("import", *HERE, "file", "--yes")
    assert ended.status == 2
    one_sentence(ended)
    assert offsets_in(orders) == [50] * 4


def test_a_mirror_of_a_kafka_store_is_refused(run: Invoke, brokers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "kafka_stream.offset_stores.kafka.KafkaOffsetStore.positions", lambda self, stream: {"anything": 1}
    )
    ended = run("mirror", "--store", f"kafka://{brokers.split(',')[0]}", "--stream", "orders")
    assert ended.status == 2
    assert "there is nothing to mirror: the offsets in consumer group 'orders' at" in one_sentence(ended)


# ------------------------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example_and_a_variable_for_each_option(
    command: str, run: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    text = run(command, "--help").out
    assert re.search(rf"Example: kafka-stream offsets {command} --", text)
    options = [
        line for line in text.splitlines() if re.match(r"│( \*)? +(--|file|FILE|\[FILE)", line) and "--help" not in line
    ]
    assert len(options) >= 5
    assert text.count("[env var: KAFKA_STREAM_") == len(options)


def test_settings_of_kafka_come_from_a_file_then_variables_then_options(
    run: Invoke, orders: SqlOffsetStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = Path("kafka.properties")
    servers.write_text("# brokers\n\nbootstrap.servers = 127.0.0.1:1\nclient.id=mine\n")
    assert rows(run("describe", *HERE, "--kafka-config", str(servers), "--output", "json"))[0]["lag"] == 50
    servers.write_text("socket.nonsense=x\n")
    ended = run("describe", *HERE, "--kafka-config", str(servers))
    assert ended.status == 2
    assert "socket.nonsense" in one_sentence(ended)
    servers.write_text("just words\n")
    ended = run("describe", *HERE, "--kafka-config", str(servers))
    assert ended.status == 2
    assert one_sentence(ended) == "--kafka-config 'kafka.properties', line 1: it is not key=value"


def test_a_password_in_an_argument_is_warned_about(run: Invoke, orders: SqlOffsetStore) -> None:
    ended = run("describe", *HERE, "--kafka", "sasl.password=hush-hush", "--no-time")
    assert "warning: a password on the command line" in ended.err
    assert "hush-hush" not in ended.err + ended.out


def test_stream_names_are_completed_by_the_shell(
    run: Invoke, orders: SqlOffsetStore, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    orders.initialise("ordinary", "rates", {0: 0}, None)
    orders.initialise("rates", "rates", {0: 0}, None)
    monkeypatch.setenv("KAFKA_STREAM_STORE", STORE)
    monkeypatch.setenv("_KAFKA_STREAM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "kafka-stream offsets describe --stream ord")
    monkeypatch.setenv("COMP_CWORD", "4")
    assert invoke().out.split() == ["orders", "ordinary"]
    monkeypatch.setenv("KAFKA_STREAM_STORE", "oracle://x")
    ended = invoke()
    assert (ended.status, ended.out.split(), ended.err) == (0, [], "")
