"""What the tests on clusters share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from integration_tests.load import Pauses


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
