"""The user's ``oauth_cb``, which gives clients their tokens (OAUTHBEARER): what it may give, and why it gave none.

Every client calls it by itself, on a thread of librdkafka's, when it is made and each time four fifths of a token's
life are over. confluent-kafka (2.13 and later) waits up to ten seconds for the first one while the client is made, and
forgets what the callback has raised; so that is kept here.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any
from weakref import WeakSet

from confluent_kafka import KafkaError, KafkaException

from kafka_stream.callables import deferring_kind, name_of
from kafka_stream.errors import BrokerUnavailable, ConfigurationError, KafkaStreamError, NotAuthorized
from kafka_stream.protocols.causes import said
from kafka_stream.source.client_log import CLIENT_LOG

CALLBACK = "oauth_cb"
_SHAPE = "(token, expiry[, principal[, extensions]]): a text, a time in seconds since 1970, a text and a dict"
_LONGEST_LIFE_S = 10 * 365 * 86_400.0
_OUTAGE_S = 60.0
"""So long it counts: librdkafka asks again 10 s after a failure, for as long as the client is there."""
_REFUSALS = frozenset({400, 401, 403})
"""What an issuer answers (RFC 6749, 5.2) whom other credentials would help, and no patience."""


class TokenCallback:
    """An ``oauth_cb`` that remembers, as ``failure``, why it gave no token the last time. No token is kept."""

    def __init__(self, ask: Callable[[str], Any]) -> None:
        self._ask = ask
        self._name = name_of(inspect.unwrap(ask))
        self.failure: Exception | None = None
        self._expires_at = float("inf")
        self._troubled_at = float("-inf")
        with _lock:
            _callbacks.add(self)

    def __call__(self, config: str) -> Any:
        """A token, checked; raises what the user's function does. ``config`` is ``sasl.oauthbearer.config``."""
        try:
            given = _checked(self._ask(config), self._name)
        except Exception as error:
            self.failure = error
            if not _is_refused(error):
                self._troubled_at = time.time()
            CLIENT_LOG.fault(f"{CALLBACK} {self._name} gave no token: {_line(error)}")
            raise
        if self.failure is not None or self._expires_at < time.time():
            self._troubled_at = time.time()  # what was refused meanwhile may not have been heard of yet
        self.failure, self._expires_at = None, given[1]
        return given

    def is_awaited(self) -> bool:
        """Whether the last token was not to be had, or has expired before the next one came, just now."""
        now = time.time()
        return now - self._troubled_at < _OUTAGE_S or 0 <= now - self._expires_at < _OUTAGE_S


_lock = Lock()
_callbacks: WeakSet[TokenCallback] = WeakSet()


def with_token_callback(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of one client, with its own ``TokenCallback`` in place of the user's function.

    Raises:
        ConfigurationError: ``oauth_cb`` is no function.
    """
    ask = settings.get(CALLBACK)
    if ask is None:
        return dict(settings)
    if isinstance(ask, TokenCallback):
        return dict(settings)
    if (kind := deferring_kind(ask) if callable(ask) else f"a {type(ask).__name__}") is not None:
        raise ConfigurationError(f"kafka setting {CALLBACK!r} is {kind}; give a plain function that returns {_SHAPE}")
    return {**settings, CALLBACK: TokenCallback(ask)}


def is_token_awaited() -> bool:
    """Whether a client of this process waits for a token: its issuer was away, or the process was frozen.

    A broker that refuses the old one then is no reason to stop for good: it is shown the next one.
    """
    with _lock:
        return any(callback.is_awaited() for callback in _callbacks)


def why_no_token(error: KafkaException, settings: Mapping[str, Any]) -> KafkaStreamError | None:
    """Why a client could not be made for want of a token; ``None`` if it is not that."""
    callback = settings.get(CALLBACK)
    if not isinstance(callback, TokenCallback) or error.args[0].code() != KafkaError.SASL_AUTHENTICATION_FAILED:
        return None
    failure = callback.failure
    if isinstance(failure, ConfigurationError):
        return failure
    if failure is None:
        return BrokerUnavailable(f"{CALLBACK} has given no token within 10 s, so no broker could be asked for anything")
    if _is_refused(failure):
        return NotAuthorized(
            f"{CALLBACK} was refused a token ({_line(failure)}); check the credentials that it shows to the issuer"
        )
    return BrokerUnavailable(
        f"{CALLBACK} gave no token within 10 s ({_line(failure)}), so no broker could be asked for anything; "
        "is the token's issuer up, and reachable from here?"
    )


def _checked(given: Any, name: str) -> Any:
    """What confluent-kafka takes, and librdkafka after it.

    Raises:
        ConfigurationError: it is something else, or has a time that cannot be meant.
    """
    match given:
        case (str(), int() | float() as expiry, *rest) if all(map(isinstance, rest, (str, dict))) and len(rest) <= 2:
            left_s = expiry - time.time()
        case _:
            raise ConfigurationError(f"{CALLBACK} {name} gave a {type(given).__name__} that is not {_SHAPE}")
    if left_s > _LONGEST_LIFE_S:
        raise ConfigurationError(
            f"{CALLBACK} {name} gave a token whose expiry is more than ten years away: it is in seconds since 1970, "
            "not in milliseconds"
        )
    if left_s <= 0:
        raise ValueError(f"the token has expired {-left_s:.0f} s ago, by the clock of this machine")
    return given


def _is_refused(error: Exception) -> bool:
    """Whether the issuer answered, and said no: by the HTTP status, where urllib, requests and httpx keep it."""
    status = getattr(error, "code", None)
    if status is None:
        status = getattr(getattr(error, "response", None), "status_code", None)
    return isinstance(error, ConfigurationError) or status in _REFUSALS


def _line(error: Exception) -> str:
    return " ".join(said(error).split())


__all__ = ["CALLBACK", "TokenCallback", "is_token_awaited", "why_no_token", "with_token_callback"]
