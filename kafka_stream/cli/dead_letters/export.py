"""``dead-letters export``: letters as JSON Lines, as many as there are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated

import typer

from kafka_stream.cli.dead_letters.selection import Filters, letters_of, wanted
from kafka_stream.cli.offsets.target import connected
from kafka_stream.cli.option_classes import takes


@dataclass(frozen=True, slots=True)
class ExportOptions(Filters):
    """Where to."""

    file: Annotated[
        Path, typer.Argument(metavar="FILE", envvar="KAFKA_STREAM_FILE", help="A new file; - is the standard output.")
    ] = Path("-")


@takes(ExportOptions)
def export(options: ExportOptions) -> None:
    """Write dead letters as JSON Lines, with all their fields; changes nothing.

    A line is an object. Bytes are text where they are UTF-8, else
    {"base64": …}. Letters are written as they are read: a million of them do
    not fill the memory.
    """
    from kafka_stream.admin.dead_letters.export import to_json_line

    filters, count = wanted(options), 0
    with connected(options) as target:
        store = letters_of(target)
        with _opened(options.file) as out:
            for letter in store.letters(target.stream, filters):
                out.write(to_json_line(letter))
                count += 1
    sys.stderr.write(f"{count} dead letter(s) of stream {target.stream!r} were exported.\n")


@contextmanager
def _opened(file: Path) -> Iterator[IO[str]]:
    """The file, which must not be there yet.

    Raises:
        ConfigurationError: it cannot be made.
    """
    from kafka_stream.errors import ConfigurationError

    if str(file) == "-":
        yield sys.stdout
        return
    try:
        opened = file.open("x", encoding="utf-8", newline="\n")
    except OSError as error:
        raise ConfigurationError(f"FILE {str(file)!r} cannot be written: {error.strerror}") from error
    with opened:
        yield opened


__all__ = ["ExportOptions", "export"]
