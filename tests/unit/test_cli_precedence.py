"""An option goes before the application's code, the code before the environment: nothing is redirected silently."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kafka_stream.offset_stores.sql import SqlOffsetStore
from tests.command_line import Invoke, one_sentence

SECRET = "hunter2"
APP = """
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.settings import StreamSettings
from kafka_stream.stream import DirectStream

def write(batch, transaction):
    pass

common = dict(topics=["orders"], sink=write, assignment="static")
kafka = {"bootstrap.servers": "127.0.0.1:1", "socket.keepalive.enable": True, "log_level": 0}
stream = DirectStream(name="orders", store="sqlite:///orders.db", kafka=kafka, **common)
made = DirectStream(name="orders", store=SqlOffsetStore("sqlite:///orders.db"), kafka=kafka, **common)

def from_env():
    return DirectStream(StreamSettings.from_env(topics=["orders"]), **common)

def as_a_member():
    return DirectStream(name="orders", store="sqlite:///orders.db", kafka=kafka, topics=["orders"], sink=write,
                        group_instance_id="orders-0")

def without_password():
    return DirectStream(name="orders", store="postgresql://app@127.0.0.1:1/orders", kafka=kafka, **common)
"""


@pytest.fixture(autouse=True)
def app(invoke: Invoke, tmp_path: Path) -> None:
    """The application, and a stream in each of two stores."""
    (tmp_path / "app.py").write_text(APP)
    for name in ("orders", "other"):
        store = SqlOffsetStore(f"sqlite:///{name}.db")
        store.open()
        store.initialise(name, "orders", {0: 5 if name == "orders" else 7}, None)
        store.close()


OTHERS = {
    "NAME": ("other", "KAFKA_STREAM_NAME=other differs from the code of app:stream, whose stream is 'orders', and"),
    "STORE": (
        f"postgresql://app:{SECRET}@db/other",
        "KAFKA_STREAM_STORE differs from the code of app:stream, which says",
    ),
    "KAFKA__BOOTSTRAP_SERVERS": ("other:9092", "the variable for the Kafka setting 'bootstrap.servers' differs from"),
    "KAFKA__METADATA_BROKER_LIST": ("other:9092", "the variable for the Kafka setting 'metadata.broker.list' differs"),
    "KAFKA__SOCKET_KEEPALIVE_ENABLE": ("false", "the variable for the Kafka setting 'socket.keepalive.enable' differs"),
}


@pytest.mark.parametrize("variable", OTHERS)
@pytest.mark.parametrize("command", [["run", "app:stream"], ["offsets", "describe", "--app", "app:stream"]], ids=str)
def test_a_variable_that_was_set_for_another_application_is_refused(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, command: list[str], variable: str
) -> None:
    value, sentence = OTHERS[variable]
    monkeypatch.setenv(f"KAFKA_STREAM_{variable}", value)
    ended = invoke(*command)
    assert ended.status == 2
    assert one_sentence(ended).startswith(sentence)
    assert one_sentence(ended).endswith(
        "may be meant for another application: unset it, have the code read it (StreamSettings.from_env), or say "
        f"{'--kafka' if 'KAFKA' in variable else '--store' if variable == 'STORE' else one_of_names(command)}"
    )
    assert SECRET not in ended.err


def one_of_names(command: list[str]) -> str:
    return "--name" if command[0] == "run" else "--stream"


def test_a_store_object_of_the_code_is_compared_by_what_it_says(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_STREAM_STORE", "sqlite:///orders.db")
    found = invoke("offsets", "export", "--app", "app:made")
    assert json.loads(found.out)["positions"][0]["next_offset"] == 5
    monkeypatch.setenv("KAFKA_STREAM_STORE", "sqlite:///other.db")
    assert invoke("offsets", "export", "--app", "app:made").status == 2
    assert invoke("run", "app:made").status == 2


def test_variables_that_say_the_same_or_what_is_left_out_are_welcome(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in {
        "NAME": "orders",
        "STORE": "sqlite:///orders.db",
        "KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "KAFKA__SOCKET_KEEPALIVE_ENABLE": "true",
        "KAFKA__SASL_PASSWORD": SECRET,
    }.items():
        monkeypatch.setenv(f"KAFKA_STREAM_{variable}", value)
    for app in ("app:stream", "app:made", "app:from_env"):
        found = invoke("offsets", "export", "--app", app)
        assert found.status == 0, found.err


def test_a_password_that_the_code_leaves_out_may_come_from_the_variable(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_STREAM_STORE", f"postgresql://app:{SECRET}@127.0.0.1:1/orders")
    found = invoke("offsets", "history", "--app", "app:without_password")
    assert (found.status, "app:***@127.0.0.1:1" in found.err) == (1, True), found.err


def test_an_option_goes_before_code_and_variables(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, (value, _) in OTHERS.items():
        if not variable.startswith("KAFKA"):
            monkeypatch.setenv(f"KAFKA_STREAM_{variable}", value)
    given = ["--app", "app:stream", "--store", "sqlite:///other.db", "--stream", "other"]
    found = invoke("offsets", "export", *given)
    assert json.loads(found.out)["positions"][0]["next_offset"] == 7
    monkeypatch.setenv("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:2")
    described = invoke("offsets", "describe", *given, "--kafka", "bootstrap.servers=127.0.0.1:3")
    assert (described.status, "127.0.0.1:3" in described.err) == (1, True), described.err


def test_a_migrations_own_options_are_no_variables(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_STREAM_STORE", "sqlite:///orders.db")
    moved = invoke("offsets", "migrate", "--app", "app:stream", "--to", "sqlite:///third.db", "--yes")
    assert moved.status == 0, moved.err
    away = ["--from", "sqlite:///other.db", "--stream", "other", "--to", "sqlite:///third.db", "--yes"]
    assert invoke("offsets", "migrate", "--app", "app:stream", *away).status == 0


@pytest.mark.parametrize("command", ["sql", "apply", "check"])
def test_the_tables_are_those_of_the_application(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, command: str, tmp_path: Path
) -> None:
    monkeypatch.setenv("KAFKA_STREAM_STORE", "sqlite:///elsewhere.db")
    ended = invoke("schema", command, "--app", "app:stream")
    assert (ended.status, one_sentence(ended).startswith("KAFKA_STREAM_STORE differs")) == (2, True)
    assert invoke("schema", "apply", "--app", "app:stream", "--store", "sqlite:///elsewhere.db").status == 0


def test_a_copys_id_comes_from_the_variable_where_the_code_says_none(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_STREAM_GROUP_INSTANCE_ID", "orders-1")
    ended = invoke("run", "app:as_a_member")
    assert ended.status == 2
    assert one_sentence(ended).startswith("KAFKA_STREAM_GROUP_INSTANCE_ID=orders-1 differs from the code of app:as_a")
    assert one_sentence(ended).endswith("or say --group-instance-id")
    ended = invoke("run", "app:stream")  # a static one: the variable is told to it
    assert one_sentence(ended).startswith("group_instance_id has no effect with assignment='static'")
    monkeypatch.setenv("KAFKA_STREAM_GROUP_INSTANCE_ID", "two words")
    assert one_sentence(invoke("run", "app:as_a_member", "--group-instance-id", "a/b")).startswith("group_instance_id")
