"""``dead-letters show``: letters with all that is known of them, payload and traceback too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kafka_stream.cli.dead_letters.listing import first
from kafka_stream.cli.dead_letters.selection import LetterOptions, LimitOption, letters_of, wanted
from kafka_stream.cli.offsets.rows import when
from kafka_stream.cli.offsets.target import connected
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.output import Output, print_rows

if TYPE_CHECKING:
    from kafka_stream.protocols import DeadLetter

_NAMES = 14
_LONGEST_KEY = 60


@dataclass(frozen=True, slots=True)
class ShowOptions(LetterOptions):
    """How many."""

    limit: LimitOption = 10


@takes(ShowOptions)
def show(options: ShowOptions) -> None:
    """Show dead letters whole: key, value, headers, error, traceback, times.

    Values are shown as indented JSON, as text, or byte by byte. JSON has the
    fields of `export`; in CSV what is no text is written as 0x…
    """
    filters = wanted(options)
    with connected(options) as target:
        store = letters_of(target)
        letters = first(store.letters(target.stream, filters), options.limit)
    if not letters and options.output is Output.TABLE:
        sys.stdout.write("There are no such dead letters.\n")
        return
    show_letters(letters, options.output)


def show_letters(letters: list[DeadLetter], output: Output) -> None:
    """Print them."""
    from kafka_stream.admin.dead_letters.export import EXPORT_FIELDS, exported

    if output is Output.TABLE:
        sys.stdout.write("\n".join("".join(f"{line}\n" for line in _told(letter)) for letter in letters))
    elif output is Output.JSON:
        print_rows([exported(letter) for letter in letters], output)
    else:
        print_rows([_flat(letter) for letter in letters], output, fields=EXPORT_FIELDS)


def _told(letter: DeadLetter) -> Iterator[str]:
    """The lines of one letter, for people."""
    from kafka_stream.admin.dead_letters.words import printable

    error, payload = letter.error, letter.payload
    yield f"{letter.id}  {letter.status}"
    yield from _named("topic id", letter.id.topic_id or None)
    yield from _named("error", f"{error.type}: {error.message}")
    yield from _named("attempts", str(letter.attempts))
    yield from _named("first failed", when(letter.first_failed_at))
    yield from _named("last failed", when(letter.last_failed_at))
    yield from _named("changed", when(letter.changed_at))
    yield from _named("code version", letter.code_version)
    yield from _named("note", letter.note)
    yield from _named("timestamp", _timestamp(payload.timestamp_ms))
    yield from _key(payload.key)
    for name, value in payload.headers:
        yield from _shown(f"header {printable(name)}", value)
    yield from _shown("value", payload.value)
    if error.traceback:
        yield "  traceback:"
        yield from (f"    {line}" for line in printable(error.traceback).splitlines())


def _key(key: bytes | None) -> Iterator[str]:
    """A short one as `--key` takes it."""
    from kafka_stream.admin.dead_letters.words import key_text

    return _named("key", key_text(key)) if key and len(key) <= _LONGEST_KEY else _shown("key", key)


def _named(name: str, text: str | None) -> Iterator[str]:
    from kafka_stream.admin.dead_letters.words import printable

    if text is not None:
        yield f"  {f'{name}:':<{_NAMES}}{' '.join(printable(text).splitlines())}"


def _shown(name: str, data: bytes | None) -> Iterator[str]:
    """Bytes as JSON or text, if they are, else as a dump of them; short ones beside their name."""
    from kafka_stream.admin.dead_letters.pretty import pretty_json
    from kafka_stream.admin.dead_letters.words import hex_dump, is_plain, printable, text_of

    if not data:
        yield from _named(name, "none" if data is None else "empty")
        return
    text = text_of(data)
    pretty = None if text is None else pretty_json(text)
    if pretty is not None:
        lines = printable(pretty).splitlines()
    elif text is not None and is_plain(text):
        lines = text.split("\n")
    else:
        lines = list(hex_dump(data))
    if len(lines) == 1 and text is not None and is_plain(text):
        yield from _named(name, lines[0])
        return
    yield f"  {name}:"
    yield from (f"    {line}" for line in lines)


def _timestamp(milliseconds: int | None) -> str | None:
    """When the record was made; a number that is no time is shown as it is."""
    if milliseconds is None:
        return None
    try:
        return when(datetime.fromtimestamp(milliseconds / 1000, UTC))
    except (OverflowError, OSError, ValueError):
        return f"{milliseconds} ms"


def _flat(letter: DeadLetter) -> dict[str, Any]:
    """For CSV: bytes as plain text, or as 0x… where they are none."""
    from kafka_stream.admin.dead_letters.export import exported
    from kafka_stream.admin.dead_letters.words import plain_or_hex

    payload = letter.payload
    headers = [f"{name}={plain_or_hex(value) or ''}" for name, value in payload.headers]
    flat = {"key": plain_or_hex(payload.key), "value": plain_or_hex(payload.value), "headers": headers}
    return {**exported(letter), **flat}


__all__ = ["ShowOptions", "show", "show_letters"]
