"""What goes before what: an option before the application's code, and the code before the environment.

A variable that was exported for one application must not redirect another one without a word: it may say the same as
the code, or what the code leaves out (a password, say), and is refused where it says something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from kafka_stream.errors import ConfigurationError
    from kafka_stream.stream import DirectStream

_PASSWORD = re.compile(r"(?<=://)([^\s:/@]*):[^\s@]*@")
_VARIABLES: ContextVar[Mapping[str, object]] = ContextVar("variables", default={})  # noqa: B039 - never changed
_OTHER_NAMES: Mapping[str, str] = {
    "bootstrap.servers": "metadata.broker.list",
    "metadata.broker.list": "bootstrap.servers",
    "sasl.mechanism": "sasl.mechanisms",
    "sasl.mechanisms": "sasl.mechanism",
}


@contextmanager
def telling_variables(context: typer.Context) -> Iterator[None]:
    """Meanwhile ``is_variable`` knows which parameters of this command came from the environment."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    found = {name: context.params[name] for name, source in sources.items() if source and source.name == "ENVIRONMENT"}
    token = _VARIABLES.set(found)
    try:
        yield
    finally:
        _VARIABLES.reset(token)


def is_variable(parameter: str, value: object) -> bool:
    """Whether this value of a parameter of the command that runs was taken from the environment."""
    return parameter in _VARIABLES.get() and _VARIABLES.get()[parameter] == value


@dataclass(frozen=True, slots=True)
class GivenKafka:
    """Settings of librdkafka by where they come from: those of ``options`` go before all others."""

    of_file: Mapping[str, str] = field(repr=False)
    variables: Mapping[str, str] = field(repr=False)
    options: Mapping[str, str] = field(repr=False)

    def alone(self) -> dict[str, str]:
        """Where no application says anything."""
        return {**self.of_file, **self.variables, **self.options}

    def beside(self, own: Mapping[str, Any], app: str) -> dict[str, Any]:
        """With what an application's code says.

        Raises:
            ConfigurationError: a variable says something else.
        """
        given = {**self.of_file, **self.options}
        filling = {}
        for key, value in self.variables.items():
            of_code = own.get(key, own.get(_OTHER_NAMES.get(key, key)))
            if of_code is None:
                filling[key] = value
            elif key not in given and str(of_code).lower() != value.lower():
                raise _differs(f"the variable for the Kafka setting {key!r}", app, "--kafka")
        return {**filling, **own, **given}


def name_beside(own: str, given: str | None, app: str, parameter: str) -> str:
    """The stream's name.

    Raises:
        ConfigurationError: a variable says another one than the code.
    """
    if given is not None and given != own and is_variable(parameter, given):
        raise _differs(f"KAFKA_STREAM_NAME={given}", f"{app}, whose stream is {own!r},", f"--{parameter}")
    return own if given is None else given


def instance_id_beside(own: str | None, given: str | None, app: str) -> str | None:
    """The copy's id in its group, which code leaves out where each copy is told its own.

    Raises:
        ConfigurationError: a variable says another one than the code.
    """
    if own is not None and given not in (None, own) and is_variable("group_instance_id", given):
        raise _differs(f"KAFKA_STREAM_GROUP_INSTANCE_ID={given}", app, "--group-instance-id")
    return own if given is None else given


def store_beside(stream: DirectStream, given: str | None, app: str) -> str | None:
    """The URL that goes before the code's store; ``None`` if the code's is used.

    Raises:
        ConfigurationError: a variable says another one than the code.
    """
    from pydantic import SecretStr

    from kafka_stream.plugins import store_from_url

    if given is None or not is_variable("store", given):
        return given
    own = stream.settings.store
    if isinstance(own, SecretStr):
        url = own.get_secret_value()
        if given == url:
            return None
        if _PASSWORD.sub(r"\1@", given) == url:  # with the password that the code leaves out
            return given
    elif store_from_url(given).describe() == stream.store.describe():
        return None
    raise _differs("KAFKA_STREAM_STORE", f"{app}, which says {stream.store.describe()},", "--store")


def _differs(what: str, app: str, option: str) -> ConfigurationError:
    from kafka_stream.errors import ConfigurationError

    return ConfigurationError(
        f"{what} differs from the code of {app} and may be meant for another application: unset it, have the code "
        f"read it (StreamSettings.from_env), or say {option}"
    )


__all__ = ["GivenKafka", "instance_id_beside", "is_variable", "name_beside", "store_beside", "telling_variables"]
