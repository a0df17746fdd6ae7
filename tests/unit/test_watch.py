"""``describe --watch``: again and again, until Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kafka_stream.cli.offsets.describe import watch
from kafka_stream.errors import ConfigurationError, StoreUnavailable


def test_watching_ends_with_ctrl_c_and_outlives_a_server_that_is_away(capsys: pytest.CaptureFixture[str]) -> None:
    looks: Iterator[Any] = iter([1, StoreUnavailable("away"), 2])
    shown: list[int] = []
    waited: list[float] = []

    def look() -> int:
        found = next(looks)
        if isinstance(found, Exception):
            raise found
        return int(found)

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            raise KeyboardInterrupt

    watch(look, shown.append, 0.5, wait)
    assert (shown, waited) == ([1, 2], [0.5] * 3)
    assert capsys.readouterr().err == "warning: away\n"


def test_watching_fails_if_the_first_look_does() -> None:
    def look() -> int:
        raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        watch(look, lambda found: None, 0.5, lambda seconds: None)


def test_watching_ends_with_what_is_no_outage() -> None:
    looks: Iterator[Any] = iter([1])

    def look() -> int:
        for found in looks:
            return int(found)
        raise ConfigurationError("gone")

    with pytest.raises(ConfigurationError):
        watch(look, lambda found: None, 0.5, lambda seconds: None)
