"""Pure: what the user wrote as the ensemble's address, into hosts, chroot and credentials."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from kafka_stream.errors import ConfigurationError
from kafka_stream.offset_stores.zookeeper.ensemble.tls import option_of

_SCHEME = "zookeeper://"
_DEFAULT_PORT = 2181
_EXAMPLE = "give it as host:port,host:port/chroot or zookeeper://host:port,host:port/chroot"


@dataclass(frozen=True, slots=True)
class Address:
    """An ensemble and the path in it that everything lies below; ``chroot`` is empty or begins with a slash."""

    hosts: str
    chroot: str
    credentials: str | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)

    def __str__(self) -> str:
        return f"{_SCHEME}{self.hosts}{self.chroot}"

    @classmethod
    def parsed(cls, text: str) -> Address:
        """The address in a text, whose user and password (``zookeeper://user:password@…``) are never shown.

        A URL may say of TLS what ``KazooClient`` takes: ``?use_ssl=true&ca=/path``.

        Raises:
            ConfigurationError: it is none.
        """
        is_url = text.lower().startswith(_SCHEME)
        rest, _, query = text[len(_SCHEME) :].partition("?") if is_url else (text, "", "")
        if "://" in rest or (is_url and "#" in rest + query):
            raise ConfigurationError(
                f"this address of a ZooKeeper ensemble has another scheme, or a fragment, which it cannot "
                f"have; {_EXAMPLE}"
            )
        options = {name: option_of(name, value) for name, value in parse_qsl(query, keep_blank_values=True)}
        servers, slash, path = rest.partition("/")
        user, at, hosts = servers.rpartition("@")
        if "@" in path or (at and (not is_url or ":" not in user)):
            raise ConfigurationError(
                "credentials for ZooKeeper are given as zookeeper://user:password@host:port/chroot, where %2F is a "
                "slash in them, or with auth=('digest', 'user:password')"
            )
        name, _, password = user.partition(":")
        credentials = f"{unquote(name)}:{unquote(password)}" if at else None
        return cls(
            ",".join(_checked_host(host) for host in hosts.split(",")),
            _checked_chroot(slash + path),
            credentials,
            options,
        )


def _checked_host(text: str) -> str:
    try:
        found = urlsplit(f"//{text.strip()}")
        host, port = found.hostname, found.port
    except ValueError:
        host, port = None, None
    if not host or re.search(r"\s", host):
        # Not shown: it may be a part of a password.
        raise ConfigurationError(f"this is not the address of a ZooKeeper ensemble; {_EXAMPLE}")
    return f"{f'[{host}]' if ':' in host else host}:{port or _DEFAULT_PORT}"


def _checked_chroot(path: str) -> str:
    chroot = path.rstrip("/")
    if chroot and (found := why_no_path(chroot)) is not None:
        raise ConfigurationError(f"the chroot {chroot!r} {found}")
    return chroot


# What ZooKeeper's own PathUtils refuses.
_FORBIDDEN = re.compile("[\0-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\uffff]")


def why_no_path(path: str) -> str | None:
    """Why this cannot be the path of a znode below the root; ``None`` if it can."""
    if not path.startswith("/"):
        return "does not begin with a slash"
    names = path[1:].split("/")
    if "" in names:
        return "has an empty name between its slashes, or ends with one"
    if {".", ".."} & set(names):
        return "has a relative name in it"
    if _FORBIDDEN.search(path):
        return "has a character in it that ZooKeeper does not take"
    return None


__all__ = ["Address", "why_no_path"]
