"""Built once, installed in three ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.installed import ROOT, Built, Environment


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built.into(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where environments are made."""
    return tmp_path_factory.mktemp("environments")


@pytest.fixture(scope="session", params=["wheel", "sdist", "editable"])
def what(request: pytest.FixtureRequest, built: Built) -> list[str]:
    """What pip is told to install."""
    kinds = {"wheel": [str(built.wheel)], "sdist": [str(built.sdist)], "editable": ["--editable", str(ROOT)]}
    return kinds[request.param]


@pytest.fixture(scope="session")
def installed(what: list[str], environments: Path) -> Environment:
    """Installed, and left alone by the tests."""
    environment = Environment(environments / f"installed-{Path(what[-1]).name}")
    environment.install(*what)
    return environment
