"""Options that several commands share, and what they are turned into."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.models import OptionInfo

from kafka_stream.cli.precedence import GivenKafka, is_variable

KAFKA_PREFIX = "KAFKA_STREAM_KAFKA__"
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_SECRET_ARGUMENT = re.compile(
    r"://[^\s:/@]*:[^\s@]+@|(?:password|secret|token|jaas\.config|\.key\.pem)=.", re.IGNORECASE
)

AppOption = Annotated[
    str | None,
    typer.Option(
        "--app", metavar="MODULE:STREAM", envvar="KAFKA_STREAM_APP", help="Take store and Kafka from this stream."
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(metavar="URL", envvar="KAFKA_STREAM_STORE", help="Offset store, such as sqlite:///orders.db."),
]
NameOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", envvar="KAFKA_STREAM_NAME", help="The stream's name, its identity in the store."),
]
KafkaOption = Annotated[
    list[str] | None,
    typer.Option(
        "--kafka",
        metavar="KEY=VALUE",
        help=f"A setting of librdkafka, such as bootstrap.servers=localhost:9092; may be repeated. "
        f"\\[env var: {KAFKA_PREFIX}BOOTSTRAP_SERVERS, …]",
    ),
]
KafkaConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--kafka-config",
        metavar="FILE",
        envvar="KAFKA_STREAM_KAFKA_CONFIG",
        help="A file of librdkafka's settings, a key=value on each line; variables and --kafka go before it.",
    ),
]


def interval_option(why: str) -> OptionInfo:
    """How long to wait between two looks, in seconds."""
    option: OptionInfo = typer.Option(
        "--interval", metavar="SECONDS", envvar="KAFKA_STREAM_INTERVAL", min=0.2, max=3600, help=why
    )
    return option


def kafka_settings(
    given: Iterable[str] | None, environment: Mapping[str, str] = os.environ, file: Path | None = None
) -> dict[str, str]:
    """The settings of librdkafka: of the file, then of the ``KAFKA_STREAM_KAFKA__…`` variables, then of ``--kafka``.

    Raises:
        ConfigurationError: the file cannot be read, or something is not ``key=value``; no value is shown.
    """
    found = kafka_given(given, environment, file)
    return found.alone()


def kafka_given(
    given: Iterable[str] | None, environment: Mapping[str, str] = os.environ, file: Path | None = None
) -> GivenKafka:
    """The same by where they come from; a file that a variable names is a variable.

    Raises:
        ConfigurationError: as ``kafka_settings`` does, or librdkafka has no such setting.
    """
    from kafka_stream.errors import ConfigurationError
    from kafka_stream.librdkafka import setting_of_variable, why_unknown

    of_file = _read_properties(file) if file is not None else {}
    variables = {
        setting_of_variable(name.removeprefix(KAFKA_PREFIX)): value
        for name, value in environment.items()
        if name.startswith(KAFKA_PREFIX)
    }
    options = dict(map(_read_option, given or ()))
    if (unknown := why_unknown({**of_file, **variables, **options})) is not None:
        raise ConfigurationError(f"Kafka setting {unknown}")
    if is_variable("kafka_config", file):
        return GivenKafka({}, {**of_file, **variables}, options)
    return GivenKafka(of_file, variables, options)


def _read_option(option: str) -> tuple[str, str]:
    from kafka_stream.errors import ConfigurationError

    key, equals, value = option.partition("=")
    if not equals or not key.strip():
        raise ConfigurationError("--kafka takes key=value, such as --kafka bootstrap.servers=localhost:9092")
    return key.strip(), value


def _read_properties(file: Path) -> dict[str, str]:
    from kafka_stream.errors import ConfigurationError

    settings = {}
    text = read_file(file, "--kafka-config")
    if "\0" in text:
        raise ConfigurationError(f"--kafka-config {str(file)!r} is no text: it holds a NUL")
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith(("#", "!")):
            continue
        key, equals, value = line.partition("=")
        if not equals or not key.strip():
            raise ConfigurationError(f"--kafka-config {str(file)!r}, line {number}: it is not key=value")
        settings[key.strip()] = value.strip()
    return settings


def read_file(file: Path, option: str) -> str:
    """A text file that an option names; ``-`` is the standard input.

    Raises:
        ConfigurationError: it cannot be read.
    """
    from kafka_stream.errors import ConfigurationError

    try:
        return _read_input() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(f"{option} {str(file)!r} cannot be read: {reason}") from error


def _read_input() -> str:
    return "" if sys.stdin is None else sys.stdin.read().removeprefix("\ufeff")


def refuse_what_is_no_text(arguments: Iterable[str], environment: Mapping[str, str] = os.environ) -> None:
    """Bytes that are no UTF-8 (Python shows them as surrogates) and NUL are names of nothing, and no server takes them.

    Raises:
        ConfigurationError: an argument, or one of our variables, holds one.
    """
    from kafka_stream.errors import ConfigurationError

    named = [(f"argument {number}", text) for number, text in enumerate(arguments, 1)]
    named += [(f"the variable {name}", text) for name, text in environment.items() if name.startswith("KAFKA_STREAM_")]
    for what, text in named:
        if _NO_TEXT.search(text):
            raise ConfigurationError(f"{what} holds a NUL or bytes that are no UTF-8 text")


def refuse_unknown_variables(environment: Mapping[str, str] = os.environ) -> None:
    """A variable of ours that is misspelt would be a setting that nobody hears of.

    Raises:
        ConfigurationError: one begins with ``KAFKA_STREAM_`` and is none that there is.
    """
    from kafka_stream.environment import PREFIX, why_unknown_variable

    if not any(name.upper().startswith(PREFIX) for name in environment):
        return
    from kafka_stream.errors import ConfigurationError
    from kafka_stream.settings import StreamSettings

    if (unknown := why_unknown_variable(environment, StreamSettings.model_fields)) is not None:
        raise ConfigurationError(unknown)


def holds_secret(argument: str) -> bool:
    """Whether a command-line argument looks as if it held a password."""
    return _SECRET_ARGUMENT.search(argument) is not None


def warn_about_secrets(arguments: Sequence[str]) -> None:
    """Say on stderr that a password on a command line can be read by every user of the machine."""
    if any(map(holds_secret, arguments)):
        sys.stderr.write(
            "warning: a password on the command line can be read in the process list; use a KAFKA_STREAM_… variable "
            "instead\n"
        )


__all__ = [
    "KAFKA_PREFIX",
    "AppOption",
    "KafkaConfigOption",
    "KafkaOption",
    "NameOption",
    "StoreOption",
    "holds_secret",
    "kafka_given",
    "kafka_settings",
    "read_file",
    "refuse_unknown_variables",
    "refuse_what_is_no_text",
    "warn_about_secrets",
]
