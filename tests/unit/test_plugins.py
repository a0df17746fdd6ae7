"""Store URLs into stores, and whether our three packages are the ones that belong together."""

from __future__ import annotations

import sys
import types
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from kafka_stream import distribution, plugins
from kafka_stream.errors import ConfigurationError, MissingExtra, UnknownStore

SECRET = "hush-hush"


class FakeStore:
    def __init__(self, url: str) -> None:
        self.url = url


@pytest.fixture
def fake_stores(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Entry points as if they were installed; a test adds its own."""
    module = types.ModuleType("fake_stores")
    module.FakeStore = FakeStore  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_stores", module)
    points = [EntryPoint("fake", "fake_stores:FakeStore", plugins.ENTRY_POINT_GROUP)]
    monkeypatch.setattr(plugins, "entry_points", lambda **selection: EntryPoints(points).select(**selection))
    return points


@pytest.mark.parametrize("url", ["fake://host/db", "fake+driver://u:p@host/db", "FAKE://host", "fake:///relative"])
def test_the_scheme_chooses_the_store_and_the_whole_url_reaches_it(url: str, fake_stores: list[EntryPoint]) -> None:
    store = plugins.store_from_url(url)
    assert isinstance(store, FakeStore)
    assert store.url == url


def test_an_unknown_scheme_names_the_known_ones_and_no_secret(fake_stores: list[EntryPoint]) -> None:
    with pytest.raises(UnknownStore, match=r"no offset store serves mongo:// URLs; known: fake$") as raised:
        plugins.store_from_url(f"mongo://user:{SECRET}@host/db")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("url", ["", "orders.db", f"user:{SECRET}@host", "://x", f"postgres//u:{SECRET}@h"])
def test_a_url_without_a_scheme_is_refused_and_not_shown(url: str, fake_stores: list[EntryPoint]) -> None:
    with pytest.raises(UnknownStore, match="a store URL begins with its scheme") as raised:
        plugins.store_from_url(url)
    assert SECRET not in str(raised.value)


def test_without_any_installed_store_the_message_says_why(fake_stores: list[EntryPoint]) -> None:
    fake_stores.clear()
    with pytest.raises(UnknownStore, match="known: none, because kafka-stream itself is not installed"):
        plugins.store_from_url("fake://x")


def test_two_packages_for_one_scheme_are_refused(fake_stores: list[EntryPoint]) -> None:
    fake_stores.append(EntryPoint("fake", "other_stores:Store", plugins.ENTRY_POINT_GROUP))
    with pytest.raises(ConfigurationError, match=r"fake_stores:FakeStore, other_stores:Store.*uninstall all but one"):
        plugins.store_from_url("fake://x")


def test_the_same_store_found_twice_is_one(fake_stores: list[EntryPoint]) -> None:
    fake_stores.append(fake_stores[0])
    assert isinstance(plugins.store_from_url("fake://x"), FakeStore)


def test_a_missing_driver_is_named(
    fake_stores: list[EntryPoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store_with_driver.py").write_text("import a_driver_that_is_not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    fake_stores.append(EntryPoint("driven", "store_with_driver:Store", plugins.ENTRY_POINT_GROUP))
    with pytest.raises(MissingExtra, match="a_driver_that_is_not_installed"):
        plugins.store_from_url("driven://x")


@pytest.mark.parametrize("value", ["no_such_module_at_all:Store", "fake_stores:NoSuchStore"])
def test_a_broken_store_package_is_named(value: str, fake_stores: list[EntryPoint]) -> None:
    fake_stores.append(EntryPoint("broken", value, plugins.ENTRY_POINT_GROUP))
    with pytest.raises(
        ConfigurationError, match=f"broken:// is served by {value}, which could not be imported"
    ) as raised:
        plugins.store_from_url("broken://x")
    assert raised.value.__cause__ is not None


def test_the_installed_package_serves_sqlite_and_postgresql() -> None:
    assert {"sqlite", "postgresql", "postgres"} <= set(plugins.known_schemes())
    assert isinstance(plugins.store_from_url("sqlite:///orders.db").describe(), str)


# ------------------------------------------------------------------------------------------------- one distribution


def test_the_three_packages_come_from_one_distribution() -> None:
    home = distribution.check_packages()
    assert home == Path(distribution.__file__).resolve().parent.parent
    assert distribution.installed_home() in (home, None)


@pytest.mark.parametrize("package", ["sinks", "offset_stores"])
@pytest.mark.parametrize("form", ["folder", "module"])
def test_what_shadows_a_package_is_named(
    package: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow = tmp_path / package / "__init__.py" if form == "folder" else tmp_path / f"{package}.py"
    shadow.parent.mkdir(exist_ok=True)
    shadow.touch()
    monkeypatch.syspath_prepend(tmp_path)
    path = shadow.parent if form == "folder" else shadow
    with pytest.raises(ConfigurationError, match=f"{path} shadows the package '{package}'"):
        distribution.check_packages()


def test_a_folder_without_code_shadows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sinks").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert distribution.check_packages() == Path(distribution.__file__).resolve().parent.parent


def test_another_copy_than_the_installed_one_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(distribution, "installed_home", lambda: tmp_path)
    with pytest.raises(ConfigurationError, match=f"shadows the installed kafka-stream in {tmp_path}"):
        distribution.check_packages()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    location = distribution.location
    monkeypatch.setattr(distribution, "location", lambda name: None if name == "sinks" else location(name))
    with pytest.raises(ConfigurationError, match=r"'sinks' of kafka-stream is not on the import path; reinstall"):
        distribution.check_packages()
