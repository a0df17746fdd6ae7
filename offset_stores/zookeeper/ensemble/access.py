"""Pure: what the user says of how to reach an ensemble, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from kazoo.security import ACL, CREATOR_ALL_ACL, OPEN_ACL_UNSAFE

from kafka_stream.errors import ConfigurationError
from kafka_stream.offset_stores.zookeeper.ensemble.address import Address
from kafka_stream.offset_stores.zookeeper.ensemble.tls import OPTIONS, checked_options
from kafka_stream.offset_stores.zookeeper.requests import DEFAULT_MAX_REQUEST_BYTES

_SMALLEST_REQUEST_BYTES = 64 * 1024
_LONGEST_SESSION_TIMEOUT_S = 3600.0
_CLIENT_OPTIONS = frozenset({*OPTIONS, "randomize_hosts", "sasl_options"})


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach an ensemble, and how to be let in."""

    address: Address
    auth: tuple[str, str] | None = field(repr=False)
    acl: Sequence[ACL]
    session_timeout_s: float
    max_request_bytes: int
    client_options: Mapping[str, Any] = field(repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.session_timeout_s <= _LONGEST_SESSION_TIMEOUT_S:
            raise ConfigurationError(f"session_timeout_s={self.session_timeout_s} must lie between 0 and 3600 s")
        if self.max_request_bytes < _SMALLEST_REQUEST_BYTES:
            raise ConfigurationError(
                f"max_request_bytes={self.max_request_bytes} must be {_SMALLEST_REQUEST_BYTES} at least; it is the "
                f"servers' jute.maxbuffer, {DEFAULT_MAX_REQUEST_BYTES} by default"
            )
        if unknown := sorted(self.client_options.keys() - _CLIENT_OPTIONS):
            raise ConfigurationError(
                f"client_options for {self.address} cannot hold {', '.join(unknown)}; they are "
                f"{', '.join(sorted(_CLIENT_OPTIONS))}"
            )


def merged_options(options: Mapping[str, Any] | None, address: Address) -> Mapping[str, Any]:
    """What the client is given, from the URL and beside it.

    Raises:
        ConfigurationError: one is given twice, or they have no effect.
    """
    given = dict(options or {})
    if twice := sorted(given.keys() & address.options.keys()):
        raise ConfigurationError(f"{', '.join(twice)} of {address} are given twice: in the URL and in client_options")
    return checked_options({**address.options, **given}, str(address))


def checked_auth(auth: object, address: Address) -> tuple[str, str] | None:
    """A scheme and its credential, from the URL or beside it.

    Raises:
        ConfigurationError: it is none, or there are two.
    """
    if auth is None:
        return None if address.credentials is None else ("digest", address.credentials)
    if address.credentials is not None:
        raise ConfigurationError(f"credentials for {address} are given twice: in the URL and with auth=")
    match auth:
        case (str(scheme), str(credential)) if scheme and credential:
            return scheme, credential
    raise ConfigurationError(f"auth= for {address} is not a scheme and a credential, as in ('digest', 'user:password')")


def checked_acl(acl: object, auth: tuple[str, str] | None, address: Address) -> tuple[ACL, ...]:
    """What new znodes are protected with: by default, what is authenticated alone may do anything with its znodes.

    Raises:
        ConfigurationError: it is no list of ACLs.
    """
    if acl is None:
        return tuple(OPEN_ACL_UNSAFE if auth is None else CREATOR_ALL_ACL)
    if not is_acl(acl):
        raise ConfigurationError(f"acl= for {address} is not a list of kazoo.security.ACL with one of them at least")
    return tuple(acl)


def is_acl(value: object) -> TypeGuard[Sequence[ACL]]:
    """Whether it is what ZooKeeper takes as a znode's ACL."""
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(each, ACL) for each in value)


__all__ = ["Access", "checked_acl", "checked_auth", "is_acl", "merged_options"]
