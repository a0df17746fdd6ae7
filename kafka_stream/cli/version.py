"""``kafka-stream version``: what runs here, for a bug report."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from kafka_stream.cli.output import Output, OutputOption, print_rows

_DEPENDENCIES = ("confluent-kafka", "SQLAlchemy", "pydantic", "typer", "rich")
_DRIVERS = ("psycopg", "PyMySQL", "kazoo", "pyarrow")


def show_version(output: OutputOption = Output.TABLE) -> None:
    """Print the versions of kafka-stream, Python, librdkafka and the drivers found.

    Exit status 2 if kafka_stream, offset_stores or sinks is shadowed by another
    folder of that name.
    """
    import os

    from kafka_stream.distribution import check_packages

    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)  # as `run` does: what shadows our packages there shows here
    missing = None if output is Output.JSON else "not installed"
    print_rows([{"component": name, "version": found or missing} for name, found in versions().items()], output)
    check_packages()


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


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


__all__ = ["show_version", "versions"]
