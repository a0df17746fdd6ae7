"""How letters are put back: the options of ``dead-letters replay``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from kafka_stream.cli.dead_letters.selection import LetterOptions
from kafka_stream.cli.offsets.confirmation import ExecuteOption, YesOption

WAYS = "--through-topic [TOPIC], --in-place MODULE:STREAM, --resume or --abandon"


@dataclass(frozen=True, slots=True)
class ReplayOptions(LetterOptions):
    """How, and whether to do it."""

    into: Annotated[
        str | None,
        typer.Argument(
            metavar="TOPIC",
            envvar="KAFKA_STREAM_LETTERS_INTO",
            help="With --through-topic: another topic than the letters' own.",
        ),
    ] = None
    through_topic: Annotated[
        bool,
        typer.Option(
            "--through-topic",
            envvar="KAFKA_STREAM_LETTERS_THROUGH_TOPIC",
            help="Send them to TOPIC, or back to where they come from.",
        ),
    ] = False
    in_place: Annotated[
        str | None,
        typer.Option(
            "--in-place",
            metavar="MODULE:STREAM",
            envvar="KAFKA_STREAM_LETTERS_IN_PLACE",
            help="Run this application's handler on them, where they are.",
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", envvar="KAFKA_STREAM_LETTERS_RESUME", help="Finish a replay through a topic that has stopped."
        ),
    ] = False
    abandon: Annotated[
        bool,
        typer.Option(
            "--abandon",
            envvar="KAFKA_STREAM_LETTERS_ABANDON",
            help="End one that has stopped: what was not sent waits again.",
        ),
    ] = False
    sent: Annotated[
        int | None,
        typer.Option(
            "--sent",
            metavar="N",
            envvar="KAFKA_STREAM_LETTERS_SENT",
            min=0,
            help="How many letters were sent of a replay so old that Kafka has forgotten it.",
        ),
    ] = None
    execute: ExecuteOption = False
    yes: YesOption = False


def refuse_contradictions(options: ReplayOptions) -> None:
    """Raise ``ConfigurationError`` for options that cannot be meant together."""
    from kafka_stream.errors import ConfigurationError
    from kafka_stream.types import why_no_topic

    ways = [options.through_topic, options.in_place is not None, options.resume, options.abandon]
    if sum(ways) != 1:
        raise ConfigurationError(f"say how, with one of {WAYS}")
    if options.in_place is not None and options.app not in (None, options.in_place):
        raise ConfigurationError(f"--app {options.app} and --in-place {options.in_place} name two applications")
    if options.into is not None and not options.through_topic:
        raise ConfigurationError(f"the topic {options.into!r} is of no use without --through-topic")
    if options.into is not None and (why := why_no_topic(options.into)) is not None:
        raise ConfigurationError(why)
    ending = options.resume or options.abandon
    if options.sent is not None and not ending:
        raise ConfigurationError("--sent says of a replay that has stopped how far it came: give --resume or --abandon")
    filters = (options.topic, options.partition, options.key, options.error, options.since, options.until)
    if ending and (any(each is not None for each in filters) or options.offset or options.status):
        raise ConfigurationError("--resume and --abandon are about all of what is under way: leave the filters out")


__all__ = ["WAYS", "ReplayOptions", "refuse_contradictions"]
