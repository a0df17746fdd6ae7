"""Settings from variables and mounted secrets: what goes before what, and what is refused in which sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from kafka_stream.cli.app import app
from kafka_stream.environment import OF_THE_COMMANDS, PREFIX
from kafka_stream.errors import ConfigurationError
from kafka_stream.settings import StreamSettings
from kafka_stream.types import Guarantee

KAFKA = {"bootstrap.servers": "localhost:9092"}
BASE: Mapping[str, Any] = {"name": "orders", "topics": ["orders"], "kafka": KAFKA, "store": "sqlite:///orders.db"}
SECRET = "hunter2"


class InMemory:
    def source(self, group_id: str, topics: Sequence[str], limits: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("KAFKA_STREAM_NAME", "orders")
    monkeypatch.setenv("KAFKA_STREAM_TOPICS", "orders, users")
    monkeypatch.setenv("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", "broker:9092")
    monkeypatch.setenv("KAFKA_STREAM_STORE", "sqlite:///orders.db")
    return monkeypatch


def test_from_env(env: pytest.MonkeyPatch) -> None:
    env.setenv("KAFKA_STREAM_KAFKA__SASL_PASSWORD", SECRET)
    env.setenv("KAFKA_STREAM_START", "2026-01-01T00:00:00Z")
    env.setenv("KAFKA_STREAM_MAX_RECORDS_PER_BATCH", "7")
    env.setenv("KAFKA_STREAM_INTERVAL_S", "2.5")
    env.setenv("KAFKA_STREAM_GUARANTEE", "at-least-once")
    env.setenv("KAFKA_STREAM_KAFKA__LOG_LEVEL", "3")
    env.setenv("KAFKA_STREAM_UNTIL", "of the command line")
    s = StreamSettings.from_env(sink=print)
    assert (s.name, s.topics, s.sink) == ("orders", ("orders", "users"), print)
    assert s.kafka_config() == {"bootstrap.servers": "broker:9092", "sasl.password": SECRET, "log_level": "3"}
    assert (s.start, s.max_records_per_batch, s.interval_s) == (datetime(2026, 1, 1, tzinfo=UTC), 7, 2.5)
    assert s.guarantee is Guarantee.AT_LEAST_ONCE
    assert SECRET not in repr(s)
    assert type(s) is StreamSettings


def test_values_go_before_the_environment_key_by_key(env: pytest.MonkeyPatch) -> None:
    env.setenv("KAFKA_STREAM_KAFKA__CLIENT_ID", "from-env")
    s = StreamSettings.from_env(name="mine", kafka={"bootstrap.servers": "mine:9092"})
    assert s.name == "mine"
    assert s.kafka_config() == {"bootstrap.servers": "mine:9092", "client.id": "from-env"}


def test_a_source_for_tests_goes_before_the_environment(env: pytest.MonkeyPatch) -> None:
    source = InMemory()
    assert StreamSettings.from_env(kafka=source).kafka is source


def test_a_prefix_of_ones_own(env: pytest.MonkeyPatch) -> None:
    env.setenv("BILLING_NAME", "billing")
    env.setenv("BILLING_TOPICS", "invoices")
    env.setenv("BILLING_KAFKA__BOOTSTRAP_SERVERS", "b:1")
    s = StreamSettings.from_env("BILLING_", store="sqlite:///b.db")
    assert (s.name, s.topics, s.kafka_config()) == ("billing", ("invoices",), {"bootstrap.servers": "b:1"})


def test_secrets_come_from_files_as_they_are_mounted(env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "kafka_stream_kafka__sasl_password").write_text(f"{SECRET}\n")
    (tmp_path / "KAFKA_STREAM_STORE").write_text("sqlite:///ignored.db\n")
    (tmp_path / "KAFKA_STREAM_CODE_VERSION").write_text("v7\n")
    s = StreamSettings.from_env(secrets_dir=tmp_path)
    assert s.kafka_config() == {"bootstrap.servers": "broker:9092", "sasl.password": SECRET}
    assert s.store.get_secret_value() == "sqlite:///orders.db", "variables go before files"
    assert s.code_version == "v7"


def test_a_folder_of_secrets_that_is_not_there_is_refused(env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"secrets_dir: '.*absent' is not a folder; mount the secrets there"):
        StreamSettings.from_env(secrets_dir=tmp_path / "absent")


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("MAX_RECORDS_PER_BATCH", "many", "^max_records_per_batch: Input should be a valid integer"),
        ("KAFKA__ENABLE_AUTO_COMMIT", "true", "^kafka: kafka setting 'enable.auto.commit' cannot be set"),
        ("KAFKA", "broker:9092", "^kafka: kafka must be librdkafka's settings"),
        ("LISTENERS", "mine", "^a variable cannot be read: .*listeners"),
        ("SINK", "mine", "^sink: sink must be a function"),
        ("TOPICS", "", "^topics: topics must be a list of topic names"),
    ],
)
def test_a_wrong_variable_is_one_sentence(env: pytest.MonkeyPatch, variable: str, value: str, sentence: str) -> None:
    if variable == "KAFKA":
        env.delenv("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS")
    env.setenv(f"KAFKA_STREAM_{variable}", value)
    with pytest.raises(ConfigurationError, match=sentence):
        StreamSettings.from_env()


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("KAFKA_STREAM_MAX_RECORD_PER_BATCH", "; is 'KAFKA_STREAM_MAX_RECORDS_PER_BATCH' meant?"),
        ("KAFKA_STREAM_STOER", "; is 'KAFKA_STREAM_STORE' meant?"),
        ("KAFKA_STREAM_KAFKA_BOOTSTRAP_SERVERS", ""),
        ("kafka_stream_nmae", "; is 'KAFKA_STREAM_NAME' meant?"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_name(
    env: pytest.MonkeyPatch, variable: str, nearest: str, tmp_path: Path
) -> None:
    env.setenv(variable, SECRET)
    with pytest.raises(ConfigurationError) as caught:
        StreamSettings.from_env()
    assert str(caught.value).startswith(f"the variable {variable} is none that there is")
    assert str(caught.value).endswith(nearest)
    env.delenv(variable)
    (tmp_path / variable).write_text(SECRET)
    with pytest.raises(ConfigurationError, match=f"the variable {variable} is none that there is"):
        StreamSettings.from_env(secrets_dir=tmp_path)


def test_a_misspelt_kafka_variable_is_refused_with_the_nearest_setting(env: pytest.MonkeyPatch) -> None:
    env.setenv("KAFKA_STREAM_KAFKA__SASL_PASWORD", SECRET)
    with pytest.raises(
        ConfigurationError, match=r"'sasl.pasword' is no setting .* is 'sasl.password' meant\?"
    ) as caught:
        StreamSettings.from_env()
    assert SECRET not in str(caught.value)


def test_variables_of_others_are_left_alone(env: pytest.MonkeyPatch) -> None:
    for name in ("TEST_KEEP", "SERVICE_HOST", "SERVICE_PORT_HTTP", "PORT", "PORT_9092_TCP_ADDR", "LOG_LEVEL", "YES"):
        env.setenv(f"KAFKA_STREAM_{name}", "x")
    assert StreamSettings.from_env().name == "orders"
    env.setenv("BILLING_DATABASE", "x")
    own: dict[str, Any] = {"topics": "invoices", "kafka": KAFKA, "store": "sqlite:///b.db"}
    assert StreamSettings.from_env("BILLING_", name="billing", **own).name == "billing"


def test_the_commands_variables_are_those_that_are_listed() -> None:
    root = get_command(app)
    commands = [root]
    found: set[str] = set()
    for command in commands:
        commands += getattr(command, "commands", {}).values()
        found |= {str(parameter.envvar) for parameter in command.params if parameter.envvar}
    ours = {name.removeprefix(PREFIX) for name in found if not name.startswith(f"{PREFIX}DEMO_")}
    assert ours - {name.upper() for name in StreamSettings.model_fields} == OF_THE_COMMANDS
