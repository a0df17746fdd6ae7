"""Which state of which stream: the options of the commands about it, and what they mean."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from kafka_stream.cli.offsets.target import StreamOptions, Target
from kafka_stream.cli.output import Output

if TYPE_CHECKING:
    from kafka_stream.admin.state.kept import KeptState

LimitOption = Annotated[
    int,
    typer.Option("--limit", metavar="N", envvar="KAFKA_STREAM_LIMIT", min=1, max=1_000_000, help="How many, at most."),
]


@dataclass(frozen=True, slots=True)
class StateOptions(StreamOptions):
    """One of the stream's sinks."""

    state: Annotated[
        str | None,
        typer.Option(
            "--state",
            metavar="NAME",
            envvar="KAFKA_STREAM_STATE",
            help="The sink's name, as `state describe` says it; needed where there are several.",
        ),
    ] = None


def known(target: Target) -> Sequence[KeptState]:
    """The states of a stream that there is: in the store, or in the application's code.

    Raises:
        KafkaStreamError: there is no such stream.
        ConfigurationError: no state is kept through such a store.
    """
    from kafka_stream.admin.state.kept import keeping_state, known_state

    keeping_state(target.store)
    if not (found := known_state(target.store, target.stream, target.sinks)):
        target.positions()
    return found


def chosen(found: Sequence[KeptState], name: str | None, *, stream: str) -> Sequence[KeptState]:
    """Those that the option means: all, where it names none.

    Raises:
        ConfigurationError: there is no such one.
    """
    from kafka_stream.errors import ConfigurationError

    if name is None:
        return found
    if not (named := [state for state in found if state.described.name == name]):
        known_ones = ", ".join(state.described.name for state in found) or "none"
        raise ConfigurationError(f"stream {stream!r} keeps no state {name!r}; it has {known_ones}")
    return named


def say_none(stream: str, what: str, output: Output) -> bool:
    """Say to people that there is nothing."""
    if output is Output.TABLE:
        sys.stdout.write(f"Stream {stream!r} has {what}.\n")
    return output is Output.TABLE


__all__ = ["LimitOption", "StateOptions", "chosen", "known", "say_none"]
