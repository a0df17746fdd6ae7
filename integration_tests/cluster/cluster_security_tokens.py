"""A token callback that does not do as it should, while a stream runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from integration_tests.engine import wait_until
from integration_tests.refusals import RECORDS, STORES, WAIT_S, Secured
from integration_tests.secured_kafka import STREAM
from integration_tests.test_security import committed
from integration_tests.token_issuer import FromIssuer

LIFETIME_S = 10.0


@dataclass
class Hanging:
    """An ``oauth_cb`` that gives tokens, and from ``hangs`` on does not return until it is ``released``."""

    issuer: FromIssuer
    hangs: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    waiting: int = 0

    def __call__(self, config: str) -> tuple[str, float]:
        if self.hangs.is_set():
            self.waiting += 1
            self.released.wait()
        return self.issuer(config)


@pytest.fixture
def hanging(secured: Secured) -> Iterator[Hanging]:
    secured.kafka.issuer.lifetime_s = LIFETIME_S
    secured.grant_all_but()
    callback = Hanging(FromIssuer(secured.kafka.issuer.url, STREAM))
    yield callback
    callback.released.set()


@pytest.mark.parametrize("store", STORES)
def test_one_that_hangs_holds_up_no_stop(secured: Secured, hanging: Hanging, store: str) -> None:
    """Librdkafka's clients wait for it when they end; they are left behind."""
    stream = secured.stream(store, secured.kafka.token(STREAM, oauth_cb=hanging))
    stream.start()
    assert wait_until(lambda: committed(stream, RECORDS), WAIT_S), stream.status()
    hanging.hangs.set()
    assert wait_until(lambda: hanging.waiting >= 2, WAIT_S)
    stopping = threading.Thread(target=stream.stop, daemon=True)
    stopping.start()
    stopping.join(WAIT_S)
    assert not stopping.is_alive()


@pytest.mark.parametrize("store", ["sqlite", "kafka"])
def test_one_that_hangs_past_its_tokens_life_is_waited_for(
    secured: Secured, hanging: Hanging, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    with secured.stream(store, secured.kafka.token(STREAM, oauth_cb=hanging)) as stream:
        assert wait_until(lambda: committed(stream, RECORDS), WAIT_S), stream.status()
        hanging.hangs.set()
        assert wait_until(lambda: hanging.waiting >= 2, WAIT_S)
        expired_at = time.monotonic() + LIFETIME_S
        assert wait_until(lambda: time.monotonic() > expired_at, WAIT_S)
        hanging.hangs.clear()
        hanging.released.set()
        secured.kafka.produce(secured.topic, ["more"])
        assert wait_until(lambda: committed(stream, RECORDS + 1), WAIT_S), stream.status()
    secured.assert_no_secret(caplog.text)
