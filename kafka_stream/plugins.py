"""Store URLs into offset stores, and names into sinks, by entry point: the engine imports none itself.

A package offers a store by declaring, in its metadata, an entry point of the group ``kafka_stream.offset_stores`` whose
name is the URL's scheme (without a driver: ``postgresql`` serves ``postgresql+psycopg://``) and whose value is a
callable that takes the URL; a sink by one of the group ``kafka_stream.sinks`` whose value is its class. An extra of the
package that has to be installed for it stands behind the value (``acme.store:AcmeStore [client]``). The idea is
SQLAlchemy's dialects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from typing import Any, cast

from kafka_stream.errors import ConfigurationError, MissingExtra, UnknownSink, UnknownStore
from kafka_stream.protocols import OffsetStore, Sink

STORES_GROUP = "kafka_stream.offset_stores"
SINKS_GROUP = "kafka_stream.sinks"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9.-]*)(?:\+[A-Za-z0-9_.-]+)?://")
_REQUIREMENT_OF_EXTRA = re.compile(r"""([A-Za-z0-9._-]+).*;.*\bextra\s*==\s*["']([^"']+)["']""")


@dataclass(frozen=True, slots=True)
class Plugin:
    """A store or a sink that some installed package offers; nothing of it is imported to tell this.

    ``name`` is a store's URL scheme or a sink's name; ``package`` and ``version`` are of the distribution it is in.
    ``missing`` are the distributions that its extra needs and that are not installed, ``install`` the command for them.
    """

    name: str
    value: str
    package: str | None
    version: str | None
    missing: tuple[str, ...]
    install: str | None


def store_from_url(url: str) -> OffsetStore:
    """The offset store that serves a URL's scheme; connects to nothing, and no message shows more than the scheme.

    Raises:
        UnknownStore: nothing that is installed serves the scheme; the message lists what is known.
        ConfigurationError: two packages serve it, or the one that does is broken.
        MissingExtra: the package that serves it lacks a driver; the message says what to install.
    """
    found = _SCHEME.match(url)
    if found is None:
        raise UnknownStore(
            f"a store URL begins with its scheme, such as sqlite:///orders.db; known: {_known(STORES_GROUP)}"
        )
    scheme = found[1].lower()
    point = _entry_point(STORES_GROUP, scheme, f"{scheme}://")
    if point is None:
        raise UnknownStore(f"no offset store serves {scheme}:// URLs; known: {_known(STORES_GROUP)}")
    try:
        store = _loaded(point, f"{scheme}://")(url)
    except ValueError:  # not chained: it may quote a piece of a password
        raise ConfigurationError(f"this {scheme}:// URL cannot be read: look at its hosts and brackets") from None
    if not isinstance(store, OffsetStore):
        raise ConfigurationError(
            f"{scheme}:// is served by {_value(point)}, which gave a {type(store).__name__} that is no "
            "kafka_stream.protocols.OffsetStore; tell the maintainers of the package it is in"
        )
    return store


def known_schemes() -> tuple[str, ...]:
    """The URL schemes that installed packages serve, sorted."""
    return _names(STORES_GROUP)


def sink_class(name: str) -> Callable[..., Sink]:
    """The class of the sink that is registered by that name, such as ``"sql"``.

    Raises:
        UnknownSink: nothing that is installed has it; the message lists what is known.
        ConfigurationError: two packages have it, or the one that has is broken.
        MissingExtra: the package that has it lacks a driver; the message says what to install.
    """
    point = _entry_point(SINKS_GROUP, name, f"sink {name!r}")
    if point is None:
        raise UnknownSink(f"there is no sink {name!r}; known: {_known(SINKS_GROUP)}")
    return cast("Callable[..., Sink]", _loaded(point, f"sink {name!r}"))


def known_sinks() -> tuple[str, ...]:
    """The names of the sinks that installed packages offer, sorted."""
    return _names(SINKS_GROUP)


def installed_plugins(group: str) -> Sequence[Plugin]:
    """What installed packages offer in a group, sorted by name; imports none of them."""
    points = {(point.name, _value(point)): point for point in entry_points(group=group)}
    return [_plugin(point) for _, point in sorted(points.items())]


def _names(group: str) -> tuple[str, ...]:
    return tuple(sorted({point.name for point in entry_points(group=group)}))


def _known(group: str) -> str:
    """The names, each with the command that is still to be run for it."""
    plugins = installed_plugins(group)
    if not plugins:
        return "none, because kafka-stream itself is not installed (pip install .)"
    needs = {plugin.name: f" ({plugin.install})" if plugin.missing else "" for plugin in plugins}
    return ", ".join(f"{name}{needs[name]}" for name in sorted(needs))


def _entry_point(group: str, name: str, shown: str) -> EntryPoint | None:
    points = entry_points(group=group, name=name)
    found = {_value(point): point for point in points}  # an editable install beside a wheel names the same one twice
    if len(found) > 1:
        raise ConfigurationError(f"several packages serve {shown} ({', '.join(sorted(found))}); uninstall all but one")
    return next(iter(found.values()), None)


def _loaded(point: EntryPoint, shown: str) -> Callable[..., Any]:
    plugin = _plugin(point)
    if plugin.missing:
        missing = " and ".join(plugin.missing)
        raise MissingExtra(f"{shown} needs {missing}, which is not installed: {plugin.install}")
    try:
        return cast("Callable[..., Any]", point.load())
    except ModuleNotFoundError as error:
        if point.module == error.name or point.module.startswith(f"{error.name}."):
            raise _broken(point, shown, error) from error
        raise MissingExtra(
            f"{shown} is served by {_value(point)}, which needs the module {error.name!r}, which is not installed: "
            f"{plugin.install or 'install it'}"
        ) from error
    except (ImportError, AttributeError) as error:
        raise _broken(point, shown, error) from error


def _broken(point: EntryPoint, shown: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"{shown} is served by {_value(point)}, which could not be imported ({error}); reinstall the package it is in"
    )


def _plugin(point: EntryPoint) -> Plugin:
    if point.dist is None:
        return Plugin(point.name, _value(point), None, None, (), None)
    package, extras = point.dist.name, point.extras
    found = (_REQUIREMENT_OF_EXTRA.match(requirement) for requirement in point.dist.requires or ())
    needed = dict.fromkeys(match[1] for match in found if match is not None and match[2] in extras)
    missing = tuple(name for name in needed if not _is_installed(name))
    install = f"pip install '{package}[{','.join(extras)}]'" if extras else None
    return Plugin(point.name, _value(point), package, point.dist.version, missing, install)


def _value(point: EntryPoint) -> str:
    return f"{point.module}:{point.attr}"


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


__all__ = [
    "SINKS_GROUP",
    "STORES_GROUP",
    "Plugin",
    "installed_plugins",
    "known_schemes",
    "known_sinks",
    "sink_class",
    "store_from_url",
]
