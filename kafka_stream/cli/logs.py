"""What ``kafka-stream run`` says on stderr: log records, as lines for people or as JSON for programs."""

from __future__ import annotations

import enum
import json
import logging
import sys
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kafka_stream.cli.exit_status import without_passwords
from kafka_stream.errors import ConfigurationError

_OF_EVERY_RECORD = frozenset([*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"])


class LogLevel(enum.StrEnum):
    """From which level on records are shown."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(enum.StrEnum):
    """What a record looks like."""

    TEXT = "text"
    JSON = "json"


class MessageFormatter(logging.Formatter):
    """The message alone, where something else shows time and level; no password in a URL."""

    def format(self, record: logging.LogRecord) -> str:
        """With the traceback below it."""
        return without_passwords(super().format(record))


class TextFormatter(MessageFormatter):
    """A line with the time (RFC 3339, in UTC); a password in a URL is not shown, whoever wrote it there."""

    def __init__(self, *, with_time: bool = True) -> None:
        super().__init__(
            "%(asctime)s %(levelname)s %(name)s: %(message)s" if with_time else "%(levelname)s %(message)s"
        )

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        """To the millisecond."""
        return _time(record)


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, what the record has besides (``extra``), and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The object; a value that JSON has not is its text."""
        found: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        found |= {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD | found.keys()}
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        return without_passwords(json.dumps(found, default=str, ensure_ascii=False))


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def show_records(level: LogLevel, layout: LogFormat, *, with_time: bool) -> None:
    """Records on stderr, unless the stream's module has said where they go; in colours, if that is a terminal.

    ``with_time`` is not beside a bar: rich has replaced ``sys.stderr`` by then, so that lines go above it.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    root.addHandler(_handler(layout, with_time=with_time))
    root.setLevel(level.upper())


def _handler(layout: LogFormat, *, with_time: bool) -> logging.Handler:
    if layout is LogFormat.TEXT and with_time and sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        on_terminal = RichHandler(console=Console(stderr=True), show_path=False, log_time_format="%H:%M:%S")
        on_terminal.setFormatter(MessageFormatter())
        return on_terminal
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if layout is LogFormat.JSON else TextFormatter(with_time=with_time))
    return handler


def configure_logging(file: Path) -> None:
    """By ``logging.config``: a dictionary as JSON or TOML, or the older form in ``.ini``, ``.conf`` and ``.cfg``.

    Raises:
        ConfigurationError: the file cannot be read, or is no configuration.
    """
    import logging.config

    try:
        if file.suffix in {".ini", ".conf", ".cfg"}:
            if not file.is_file():
                raise FileNotFoundError(2, "No such file or directory")
            logging.config.fileConfig(file, disable_existing_loggers=False, encoding="utf-8")
            return
        text = file.read_text("utf-8")
        found = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
        if not isinstance(found, Mapping):
            raise ValueError("it is no mapping")
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, **found})
    except OSError as error:
        raise ConfigurationError(f"--log-config: {str(file)!r} cannot be read: {error.strerror}") from error
    except Exception as error:
        why = f"{error}" if error.__cause__ is None else f"{error} ({error.__cause__})"
        raise ConfigurationError(
            f"--log-config: {str(file)!r} is no logging configuration: {' '.join(why.split())}; give what "
            "logging.config.dictConfig takes, as JSON or TOML, or fileConfig's .ini"
        ) from error


__all__ = [
    "JsonFormatter",
    "LogFormat",
    "LogLevel",
    "MessageFormatter",
    "TextFormatter",
    "configure_logging",
    "show_records",
]
