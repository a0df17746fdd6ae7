"""What the tests on clusters share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration_tests.load import Pauses
from integration_tests.refusals import Secured
from integration_tests.secured_kafka import SecuredKafka
from integration_tests.tls_servers import TlsServers
from tests.command_line import Invoke, in_directory


@pytest.fixture
def report(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]
) -> Callable[[Pauses], None]:
    """Prints the longest pauses of a test, and puts them into its report (``--junit-xml``)."""

    def tell(pauses: Pauses) -> None:
        for name, seconds in pauses.longest_s.items():
            record_property(f"longest pause of {name}, in s", round(seconds, 1))
        with capsys.disabled():
            print(f"\n{request.node.name}: {pauses}")

    return tell


@pytest.fixture
def secured(
    secured_kafka: SecuredKafka, tls_servers: TlsServers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> Iterator[Secured]:
    """A stream on the secured broker, and stores that speak TLS; everything is logged."""
    caplog.set_level(logging.DEBUG)
    yield Secured(secured_kafka, tls_servers, tmp_path)
    secured_kafka.issuer.lifetime_s, secured_kafka.issuer.is_away = 300.0, False


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Invoke]:
    """The console script, in a folder of the test's own."""
    with in_directory(tmp_path, capsys, monkeypatch) as invoke:
        yield invoke
