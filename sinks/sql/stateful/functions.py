"""Pure: functions that users hand over, refused where a call of them would run nothing, or could not be made."""

from __future__ import annotations

from typing import TypeVar

from kafka_stream.callables import deferring_kind, refused_arguments
from kafka_stream.errors import ConfigurationError

_F = TypeVar("_F")


def checked_function(function: _F, what: str, *names: str) -> _F:
    """The function, which is called with so many arguments.

    Raises:
        ConfigurationError: it is none, a call of it runs nothing, or it takes other arguments.
    """
    if not callable(function):
        raise ConfigurationError(f"{what} is a {type(function).__name__}, not a function of ({', '.join(names)})")
    if (kind := deferring_kind(function)) is not None:
        raise ConfigurationError(
            f"{what} is {kind}, and a call of it would run nothing: give a plain function; what has to be awaited "
            "belongs in the stream's prepare, which may be async def"
        )
    if (why := refused_arguments(function, *names)) is not None:
        raise ConfigurationError(f"{what} cannot be called: {why}")
    return function
