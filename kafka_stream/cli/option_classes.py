"""Commands with many options: they take one object, whose class says what the options are."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

import typer

from kafka_stream.cli.precedence import telling_variables

T = TypeVar("T")
_CONTEXT = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)


def takes(options: type[T]) -> Callable[[Callable[[T], None]], Callable[..., None]]:
    """Turn a function of one options object into what Typer makes a command of.

    ``options`` is a dataclass whose fields are annotated as a command's parameters are; one without a default has to be
    given. A class may add its own options to those that it inherits.
    """
    hints = get_type_hints(options, include_extras=True)
    assert dataclasses.is_dataclass(options)
    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(options)
    ]

    def decorate(function: Callable[[T], None]) -> Callable[..., None]:
        def command(context: typer.Context, **values: Any) -> None:
            with telling_variables(context):
                function(options(**values))

        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__signature__ = inspect.Signature([_CONTEXT, *parameters])  # type: ignore[attr-defined]  # what Typer reads
        return command

    return decorate


__all__ = ["takes"]
