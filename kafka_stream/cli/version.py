"""``kafka-stream version``: what runs here, for a bug report."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from kafka_stream.cli.output import Output, OutputOption, print_rows

_DEPENDENCIES = ("confluent-kafka", "SQLAlchemy", "pydantic", "typer", "rich")
_DRIVERS = ("psycopg", "PyMySQL", "kazoo", "pyarrow", "distributed")


def show_version(output: OutputOption = Output.TABLE) -> None:
    """Print the versions of kafka-stream, Python, librdkafka and the drivers found.

    Then the offset stores and sinks that are installed, other packages'
    too, with the package that brings each and what it still needs.
    """
    absent = None if output is Output.JSON else "not installed"
    rows = [_row(name, found or absent) for name, found in versions().items()]
    print_rows([*rows, *_plugins()], output)


def versions() -> Mapping[str, str | None]:
    """Component to version; ``None`` for a driver that is not installed."""
    import sqlite3

    import confluent_kafka

    from kafka_stream import __version__

    found: dict[str, str | None] = {"kafka-stream": __version__, "Python": platform.python_version()}
    found["librdkafka"] = confluent_kafka.libversion()[0]
    found |= {name: _version(name) for name in _DEPENDENCIES}
    found["SQLite"] = sqlite3.sqlite_version
    return found | {name: _version(name) for name in _DRIVERS}


def _plugins() -> Iterator[Mapping[str, Any]]:
    from kafka_stream.plugins import SINKS_GROUP, STORES_GROUP, installed_plugins

    for group, component in (STORES_GROUP, "offset store {}://"), (SINKS_GROUP, "sink {}"):
        for plugin in installed_plugins(group):
            missing = f"{', '.join(plugin.missing)}: {plugin.install}" if plugin.missing else None
            provided_by = f"{plugin.package} ({plugin.value})" if plugin.package else plugin.value
            yield _row(component.format(plugin.name), plugin.version, provided_by, missing)


def _row(
    component: str, found: str | None, provided_by: str | None = None, missing: str | None = None
) -> dict[str, Any]:
    return {"component": component, "version": found, "provided_by": provided_by, "missing": missing}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


__all__ = ["show_version", "versions"]
