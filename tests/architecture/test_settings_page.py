"""Every setting is described, in the documentation and by ``kafka-stream settings``, as the model has it."""

from __future__ import annotations

import json

import pytest

from kafka_stream.cli.app import main
from kafka_stream.cli.settings_reference import described, reference
from kafka_stream.settings import StreamSettings
from tests.architecture.settings_page import COMMAND, PAGE, drawn, kept


def test_every_setting_has_a_description_and_nothing_else_has() -> None:
    assert sorted(described()) == sorted(StreamSettings.model_fields)


def test_the_page_is_what_the_model_says() -> None:
    assert kept(PAGE.read_text()) == drawn(), f"{COMMAND} rewrites it"


def test_defaults_and_variables_are_those_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed can be given: a stream of these variables is a stream without them."""
    monkeypatch.setenv("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", "localhost:9092")
    needed = {"name": "orders", "topics": "orders", "store": "sqlite:///orders.db"}
    for name, value in needed.items():
        monkeypatch.setenv(f"KAFKA_STREAM_{name.upper()}", value)
    plain = StreamSettings.from_env()
    for it in reference():
        if it.variable is not None and it.default not in (None, "none"):
            monkeypatch.setenv(it.variable, str(it.default).replace(",", ""))
    assert StreamSettings.from_env().model_dump(exclude={"kafka", "store"}) == plain.model_dump(
        exclude={"kafka", "store"}
    )


def test_the_command_prints_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["settings", "--output", "json"])
    assert ended.value.code == 0
    printed = json.loads(capsys.readouterr().out)
    assert [row["setting"] for row in printed] == list(described())
    assert printed[0] | {"meaning": ""} == {
        "setting": "name",
        "takes": "text",
        "unit": None,
        "default": None,
        "variable": "KAFKA_STREAM_NAME",
        "meaning": "",
    }
