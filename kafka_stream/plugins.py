"""Store URLs into offset stores, by entry point: the engine imports no store itself.

A package offers one by declaring, in its metadata, an entry point of the group ``kafka_stream.offset_stores`` whose
name is the URL's scheme (without a driver: ``postgresql`` serves ``postgresql+psycopg://``) and whose value is a
callable that takes the URL. The idea is SQLAlchemy's dialects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from kafka_stream.errors import ConfigurationError, MissingExtra, UnknownStore
from kafka_stream.protocols import OffsetStore

ENTRY_POINT_GROUP = "kafka_stream.offset_stores"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9.-]*)(?:\+[A-Za-z0-9_.-]+)?://")


def store_from_url(url: str) -> OffsetStore:
    """The offset store that serves a URL's scheme; connects to nothing, and no message shows more than the scheme.

    Raises:
        UnknownStore: nothing that is installed serves the scheme; the message lists what is known.
        ConfigurationError: two packages serve it, or the one that does is broken.
        MissingExtra: the package that serves it lacks a driver.
    """
    found = _SCHEME.match(url)
    if found is None:
        raise UnknownStore(f"a store URL begins with its scheme, such as sqlite:///orders.db; known: {_known()}")
    scheme = found[1].lower()
    return _load(scheme, entry_points(group=ENTRY_POINT_GROUP, name=scheme))(url)


def known_schemes() -> tuple[str, ...]:
    """The URL schemes that installed packages serve, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)}))


def _known() -> str:
    schemes = known_schemes()
    return ", ".join(schemes) if schemes else "none, because kafka-stream itself is not installed (pip install .)"


def _load(scheme: str, points: Iterable[EntryPoint]) -> Callable[[str], OffsetStore]:
    by_value = {point.value: point for point in points}  # an editable install beside a wheel names the same one twice
    if not by_value:
        raise UnknownStore(f"no offset store serves {scheme}:// URLs; known: {_known()}")
    if len(by_value) > 1:
        raise ConfigurationError(
            f"several packages serve {scheme}:// URLs ({', '.join(sorted(by_value))}); uninstall all but one"
        )
    point = next(iter(by_value.values()))
    try:
        return cast("Callable[[str], OffsetStore]", point.load())
    except ModuleNotFoundError as error:
        if point.module == error.name or point.module.startswith(f"{error.name}."):
            raise _broken(scheme, point, error) from error
        raise MissingExtra(
            f"{scheme}:// is served by {point.value}, which needs the module {error.name!r}; install it (for our own "
            "stores: pip install 'kafka-stream[all]')"
        ) from error
    except (ImportError, AttributeError) as error:
        raise _broken(scheme, point, error) from error


def _broken(scheme: str, point: EntryPoint, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"{scheme}:// is served by {point.value}, which could not be imported ({error}); reinstall the package it is in"
    )


__all__ = ["ENTRY_POINT_GROUP", "known_schemes", "store_from_url"]
