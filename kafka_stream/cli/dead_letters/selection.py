"""Which letters: the filters that all commands about dead letters take, and what they mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from kafka_stream.cli.offsets.target import NamedStream, Target
from kafka_stream.cli.output import Output, OutputOption

if TYPE_CHECKING:
    from kafka_stream.protocols import DeadLetterStore, LetterFilter, LetterStatus

STATUSES = ("waiting", "replaying", "sent", "replayed", "discarded")
_LAST_PARTITION, _LAST_OFFSET = 2**31 - 1, 2**63 - 1


@dataclass(frozen=True, slots=True)
class Filters(NamedStream):
    """Which letters are meant: those that all filters include."""

    topic: Annotated[
        str | None,
        typer.Option(
            "--topic", metavar="T", envvar="KAFKA_STREAM_LETTERS_TOPIC", help="The topic they were read from."
        ),
    ] = None
    partition: Annotated[
        int | None,
        typer.Option(
            "--partition",
            metavar="N",
            envvar="KAFKA_STREAM_LETTERS_PARTITION",
            min=0,
            max=_LAST_PARTITION,
            help="The partition they were read from.",
        ),
    ] = None
    offset: Annotated[
        list[int] | None,
        typer.Option(
            "--offset",
            metavar="N",
            envvar="KAFKA_STREAM_LETTERS_OFFSET",
            min=0,
            max=_LAST_OFFSET,
            help="An offset; may be repeated.",
        ),
    ] = None
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="KEY", envvar="KAFKA_STREAM_LETTERS_KEY", help="The key: text, or its bytes as 0x…"
        ),
    ] = None
    error: Annotated[
        str | None,
        typer.Option(
            "--error",
            metavar="TYPE",
            envvar="KAFKA_STREAM_LETTERS_ERROR",
            help="The type of the error, with its module or without, or 'after another'.",
        ),
    ] = None
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            envvar="KAFKA_STREAM_LETTERS_STATUS",
            help=f"{', '.join(STATUSES[:-1])} or {STATUSES[-1]}; may be repeated.",
        ),
    ] = None
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="ISO",
            envvar="KAFKA_STREAM_LETTERS_SINCE",
            help="First failed at or after this time, UTC if it has no zone, or so long ago, such as PT24H.",
        ),
    ] = None
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="ISO",
            envvar="KAFKA_STREAM_LETTERS_UNTIL",
            help="First failed before this time, or before so long ago.",
        ),
    ] = None


LimitOption = Annotated[
    int,
    typer.Option("--limit", metavar="N", envvar="KAFKA_STREAM_LIMIT", min=1, max=1_000_000, help="How many, at most."),
]


@dataclass(frozen=True, slots=True)
class LetterOptions(Filters):
    """The options of a command on a stream's letters."""

    output: OutputOption = Output.TABLE


def wanted(options: Filters, now: datetime | None = None) -> LetterFilter:
    """The filter that the options say.

    Raises:
        ConfigurationError: one of them cannot be read.
    """
    from kafka_stream.admin.dead_letters.words import parse_key, parse_moment
    from kafka_stream.errors import ConfigurationError
    from kafka_stream.protocols import LetterFilter
    from kafka_stream.types import why_no_topic

    if options.topic is not None and (why := why_no_topic(options.topic)) is not None:
        raise ConfigurationError(f"--topic: {why}")
    now = datetime.now(UTC) if now is None else now
    since, until = (None if text is None else parse_moment(text, now) for text in (options.since, options.until))
    if since is not None and until is not None and since >= until:
        raise ConfigurationError(f"--since {options.since} is not before --until {options.until}: no letter is meant")
    return LetterFilter(
        topic=options.topic,
        partition=options.partition,
        offsets=frozenset(options.offset) if options.offset else None,
        key=None if options.key is None else parse_key(options.key),
        error_type=options.error,
        statuses=_statuses(options.status) if options.status else None,
        since=since,
        until=until,
    )


def _statuses(given: Iterable[str]) -> frozenset[LetterStatus]:
    from kafka_stream.errors import ConfigurationError
    from kafka_stream.protocols import LetterStatus

    for text in given:
        if text not in STATUSES:
            raise ConfigurationError(f"--status {text!r} is none of {', '.join(STATUSES)}")
    return frozenset(map(LetterStatus, given))


def letters_of(target: Target) -> DeadLetterStore:
    """The store of a stream that there is, as these commands need it.

    Raises:
        KafkaStreamError: there is no such stream.
        ConfigurationError: the store keeps no dead letters.
    """
    from kafka_stream.admin.dead_letters.selection import keeping_letters

    store = keeping_letters(target.store)
    target.positions()
    return store


__all__ = ["STATUSES", "Filters", "LetterOptions", "letters_of", "wanted"]
