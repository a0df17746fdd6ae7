"""``oauth_cb``: what it may give, and what is said, and kept, where it gives no token."""

from __future__ import annotations

import gc
import logging
import time
import urllib.error
from collections.abc import Callable
from email.message import Message
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from kafka_stream.errors import BrokerUnavailable, ConfigurationError, KafkaStreamError, NotAuthorized
from kafka_stream.source.kafka_errors import refusal
from kafka_stream.source.security.tokens import CALLBACK, is_token_awaited, why_no_token, with_token_callback

TOKEN = "eyJ.token-secret"
NO_TOKEN = KafkaException(KafkaError(KafkaError.SASL_AUTHENTICATION_FAILED, "OAuth token not set"))
REFUSED = KafkaError(KafkaError._AUTHENTICATION, "SASL authentication error: invalid_token")


def given(*answer: Any) -> Any:
    """What a callback gives that gives this."""
    return with_token_callback({CALLBACK: lambda config: answer})[CALLBACK]("")


def failing(error: Exception) -> dict[str, Any]:
    """The settings of a client whose callback has just raised."""

    def ask(config: str) -> Any:
        raise error

    settings = with_token_callback({CALLBACK: ask})
    with pytest.raises(type(error)):
        settings[CALLBACK]("")
    return settings


def answered(status: int) -> urllib.error.HTTPError:
    return urllib.error.HTTPError("http://issuer", status, "no", Message(), None)


def test_what_confluent_kafka_takes_is_handed_on() -> None:
    soon = time.time() + 60
    for answer in ((TOKEN, soon), (TOKEN, soon, "me"), (TOKEN, int(soon), "me", {"logicalCluster": "lkc"})):
        assert given(*answer) == answer
    assert with_token_callback({"sasl.mechanism": "PLAIN"}) == {"sasl.mechanism": "PLAIN"}


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((TOKEN,), "gave a tuple that is not"),
        ((TOKEN, "soon"), "gave a tuple that is not"),
        ((None, 1.0), "gave a tuple that is not"),
        ((TOKEN, 1.0, "me", {}, 1), "gave a tuple that is not"),
        ((TOKEN, 1000 * time.time()), "not in milliseconds"),
    ],
)
def test_what_it_does_not_take_is_said_without_the_token(answer: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence) as raised:
        given(*answer)
    assert TOKEN not in str(raised.value)


@pytest.fixture(autouse=True)
def _nobody_before() -> None:
    gc.collect()  # clients of other tests


@pytest.mark.parametrize("callback", ["module:function", 1])
def test_only_a_function_can_be_asked(callback: object) -> None:
    with pytest.raises(ConfigurationError, match="give a plain function"):
        with_token_callback({CALLBACK: callback})


def test_an_async_function_is_refused() -> None:
    async def ask(config: str) -> tuple[str, float]:
        return TOKEN, 0.0

    with pytest.raises(ConfigurationError, match="an async function; give a plain function"):
        with_token_callback({CALLBACK: ask})


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (lambda: answered(401), NotAuthorized, "was refused a token"),
        (lambda: answered(503), BrokerUnavailable, "is the token's issuer up"),
        (lambda: urllib.error.URLError("unreachable"), BrokerUnavailable, "URLError: <urlopen error unreachable>"),
    ],
)
def test_a_client_that_is_not_made_for_want_of_a_token_says_why(
    error: Callable[[], Exception], kind: type[KafkaStreamError], sentence: str
) -> None:
    why = why_no_token(NO_TOKEN, failing(error()))
    assert type(why) is kind
    assert sentence in str(why)
    assert "\n" not in str(why)


def test_other_failures_are_none_of_its_matter() -> None:
    settings = failing(answered(503))
    assert why_no_token(KafkaException(KafkaError(KafkaError._INVALID_ARG, "no such setting")), settings) is None
    assert why_no_token(NO_TOKEN, {"sasl.mechanism": "PLAIN"}) is None


def test_while_an_issuer_is_away_a_token_that_is_refused_is_no_reason_to_stop() -> None:
    settings = failing(answered(503))
    assert is_token_awaited()
    assert refusal(REFUSED, "broker", "access") is None
    del settings  # the client is gone
    gc.collect()
    assert not is_token_awaited()
    assert isinstance(refusal(REFUSED, "broker", "access"), NotAuthorized)


def test_an_issuer_that_answers_and_says_no_is_not_away() -> None:
    settings = failing(answered(401))
    assert not is_token_awaited()
    assert isinstance(refusal(REFUSED, "broker", "access"), NotAuthorized)
    del settings


def test_the_next_token_ends_it() -> None:
    answers: list[Any] = [answered(503), (TOKEN, time.time() + 60)]

    def ask(config: str) -> Any:
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        return answer

    callback = with_token_callback({CALLBACK: ask})[CALLBACK]
    with pytest.raises(urllib.error.HTTPError):
        callback("")
    assert is_token_awaited()
    callback("")
    assert callback.failure is None
    assert is_token_awaited(), "what was refused before may be heard of after"
    del callback


def test_a_token_that_expires_before_the_next_one_comes_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    callback = with_token_callback({CALLBACK: lambda config: (TOKEN, time.time() + 60)})[CALLBACK]
    callback("")
    assert not is_token_awaited()
    monkeypatch.setattr(time, "time", lambda: now + 90)  # as after SIGSTOP and SIGCONT
    assert is_token_awaited()
    callback("")
    assert is_token_awaited(), "what was refused before may be heard of after"
    monkeypatch.setattr(time, "time", lambda: now + 140)
    callback("")
    monkeypatch.setattr(time, "time", lambda: now + 190)
    assert not is_token_awaited()


def test_it_is_told_in_the_log_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    failing(OSError("the issuer of this very test"))
    failing(OSError("the issuer of this very test"))
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "OSError: the issuer of this very test"
    ]


@pytest.mark.parametrize(
    ("code", "said", "is_refused"),
    [
        (
            KafkaError._AUTHENTICATION,
            "SASL PLAIN mechanism handshake failed: Local: Broker transport failure: (n/a)",
            False,
        ),
        (KafkaError._AUTHENTICATION, "SASL PLAIN mechanism handshake failed: Local: Timed out: (n/a)", False),
        (KafkaError._AUTHENTICATION, "FindCoordinator response error: Local: Authentication failure", False),
        (
            KafkaError._AUTHENTICATION,
            "SASL X mechanism handshake failed: Broker: Unsupported SASL mechanism: PLAIN",
            True,
        ),
        (
            KafkaError._AUTHENTICATION,
            "Failed to acquire SASL OAUTHBEARER token: OAuth callback raised exception",
            False,
        ),
        (KafkaError._AUTHENTICATION, "Failed to acquire SASL OAUTHBEARER token: HTTP error 401: invalid_client", True),
        (KafkaError._AUTHENTICATION, "Failed to acquire SASL OAUTHBEARER token: connection refused (-1)", False),
    ],
)
def test_a_login_that_broke_off_is_no_refusal(code: int, said: str, is_refused: bool) -> None:
    assert (refusal(KafkaError(code, said), "broker", "access") is not None) is is_refused
