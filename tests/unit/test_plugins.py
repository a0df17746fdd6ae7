"""Store URLs into stores, and whether our three packages are the ones that belong together."""

from __future__ import annotations

import sys
import types
from importlib.metadata import Distribution, EntryPoint, EntryPoints, PackageNotFoundError
from pathlib import Path

import pytest

from kafka_stream import plugins
from kafka_stream.errors import ConfigurationError, MissingExtra, UnknownSink, UnknownStore
from kafka_stream.protocols import Sink
from kafka_stream.testing import MemoryOffsetStore

SECRET = "hush-hush"


class FakeStore(MemoryOffsetStore):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url


@pytest.fixture
def fake_stores(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Entry points as if they were installed; a test adds its own."""
    module = types.ModuleType("fake_stores")
    module.FakeStore = FakeStore  # type: ignore[attr-defined]
    module.FakeSink = object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_stores", module)
    points = [EntryPoint("fake", "fake_stores:FakeStore", plugins.STORES_GROUP)]
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
    fake_stores.append(EntryPoint("fake", "other_stores:Store", plugins.STORES_GROUP))
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
    fake_stores.append(EntryPoint("driven", "store_with_driver:Store", plugins.STORES_GROUP))
    with pytest.raises(MissingExtra, match="a_driver_that_is_not_installed"):
        plugins.store_from_url("driven://x")


@pytest.mark.parametrize("value", ["no_such_module_at_all:Store", "fake_stores:NoSuchStore"])
def test_a_broken_store_package_is_named(value: str, fake_stores: list[EntryPoint]) -> None:
    fake_stores.append(EntryPoint("broken", value, plugins.STORES_GROUP))
    with pytest.raises(
        ConfigurationError, match=f"broken:// is served by {value}, which could not be imported"
    ) as raised:
        plugins.store_from_url("broken://x")
    assert raised.value.__cause__ is not None


def test_what_a_package_serves_must_be_a_store(fake_stores: list[EntryPoint]) -> None:
    fake_stores.append(EntryPoint("text", "builtins:str", plugins.STORES_GROUP))
    with pytest.raises(
        ConfigurationError, match=r"text:// is served by builtins:str, which gave a str that is no kafka_"
    ):
        plugins.store_from_url(f"text://user:{SECRET}@host")


def test_a_sink_is_found_by_its_name(fake_stores: list[EntryPoint]) -> None:
    fake_stores.append(EntryPoint("fake", "fake_stores:FakeSink", plugins.SINKS_GROUP))
    assert plugins.known_sinks() == ("fake",)
    assert plugins.sink_class("fake") is sys.modules["fake_stores"].FakeSink
    with pytest.raises(UnknownSink, match=r"^there is no sink 'files'; known: fake$"):
        plugins.sink_class("files")


# --------------------------------------------------------------------------------------------------------------- ours

STORE_URLS = {
    "kafka": "kafka://shop:9092,other:9092",
    "mariadb": "mariadb://host/shop",
    "mysql": "mysql://host/shop",
    "postgres": "postgres://host/shop",
    "postgresql": "postgresql://host/shop",
    "sqlite": "sqlite:///shop.db",
    "zookeeper": "zookeeper://host:2181,other:2181/shop",
}


def _ours(group: str) -> list[str]:
    return [plugin.name for plugin in plugins.installed_plugins(group) if plugin.package == "kafka-stream"]


def test_every_store_of_ours_is_known_by_its_urls() -> None:
    assert _ours(plugins.STORES_GROUP) == sorted(STORE_URLS)


@pytest.mark.parametrize("scheme", STORE_URLS)
def test_a_store_of_ours_is_made_of_a_url_and_says_where_it_is(scheme: str) -> None:
    assert "shop" in plugins.store_from_url(STORE_URLS[scheme]).describe()


@pytest.fixture
def without_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no extra were installed."""

    def not_installed(name: str) -> Distribution:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(plugins, "distribution", not_installed)


@pytest.mark.usefixtures("without_drivers")
@pytest.mark.parametrize(
    ("scheme", "driver", "extra"),
    [
        ("mariadb", "pymysql", "mysql"),
        ("mysql", "pymysql", "mysql"),
        ("postgres", "psycopg", "postgresql"),
        ("postgresql", "psycopg", "postgresql"),
        ("zookeeper", "kazoo", "zookeeper"),
    ],
)
def test_a_store_of_ours_without_its_driver_says_what_to_install(scheme: str, driver: str, extra: str) -> None:
    install = rf"pip install 'kafka-stream\[{extra}\]'"
    with pytest.raises(MissingExtra, match=rf"^{scheme}:// needs {driver}, which is not installed: {install}$"):
        plugins.store_from_url(STORE_URLS[scheme])
    with pytest.raises(UnknownStore, match=rf"known: .*\b{scheme} \({install}\)"):
        plugins.store_from_url("oracle://host/shop")


@pytest.mark.usefixtures("without_drivers")
@pytest.mark.parametrize("scheme", ["kafka", "sqlite"])
def test_a_store_of_ours_that_needs_no_driver_works_without(scheme: str) -> None:
    assert "shop" in plugins.store_from_url(STORE_URLS[scheme]).describe()


def test_every_sink_of_ours_can_be_had_by_its_name() -> None:
    assert _ours(plugins.SINKS_GROUP) == ["files", "kafka", "sql", "zookeeper"]
    for name in _ours(plugins.SINKS_GROUP):
        sink = plugins.sink_class(name)
        assert all(hasattr(sink, member) for member in dir(Sink) if not member.startswith("_"))


def test_nothing_of_ours_is_missing_here() -> None:
    for group in (plugins.STORES_GROUP, plugins.SINKS_GROUP):
        assert [plugin.missing for plugin in plugins.installed_plugins(group) if plugin.package == "kafka-stream"]
        assert not any(plugin.missing for plugin in plugins.installed_plugins(group))
