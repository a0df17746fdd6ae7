"""Asking before something is changed."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

YesOption = Annotated[
    bool, typer.Option("--yes", "-y", envvar="KAFKA_STREAM_YES", help="Do not ask; for scripts, which nobody watches.")
]
ExecuteOption = Annotated[
    bool, typer.Option("--execute", envvar="KAFKA_STREAM_EXECUTE", help="Do it; without, the plan is only printed.")
]


def confirm(question: str, *, yes: bool) -> None:
    """Ask on the terminal; return if the answer is yes.

    Raises:
        ConfigurationError: there is no terminal, and ``--yes`` was not given.
        KafkaStreamError: the answer is no.
    """
    from kafka_stream.errors import ConfigurationError

    if yes:
        return
    if not is_watched():
        raise ConfigurationError("this changes what is stored, and nobody is there to confirm it: look, then add --yes")
    _ask(question)


def confirm_on_terminal(question: str, *, yes: bool) -> None:
    """Ask if somebody sits at a terminal; elsewhere what was asked for in so many words is done.

    Raises:
        KafkaStreamError: the answer is no.
    """
    if not yes and is_watched():
        _ask(question)


def _ask(question: str) -> None:
    from kafka_stream.errors import KafkaStreamError

    if not typer.confirm(question, err=True):
        raise KafkaStreamError("it was not confirmed, so nothing was changed")


def is_watched() -> bool:
    """Whether somebody sits at a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


__all__ = ["YesOption", "confirm", "confirm_on_terminal", "is_watched"]
