"""One line for a fault, whichever clients notice it and however often; from then on it is counted."""

from __future__ import annotations

import logging

import pytest

from kafka_stream.source.client_log import ClientLog, fault_of

REFUSED = (
    "127.0.0.1:9092/bootstrap: Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT)"
)
SUPPRESSED = REFUSED.replace(
    "after 0ms in state CONNECT", "after 12ms in state CONNECT, 30 identical error(s) suppressed"
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(clock: Clock, caplog: pytest.LogCaptureFixture) -> ClientLog:
    caplog.set_level(logging.DEBUG, "test.client")
    return ClientLog(logging.getLogger("test.client"), clock)


@pytest.mark.parametrize(
    "line",
    [
        f"FAIL [rdkafka#consumer-1] [thrd:127.0.0.1:9092/bootstrap]: {REFUSED}",
        f"FAIL [rdkafka#producer-2] [thrd:127.0.0.1:9092/bootstrap]: {REFUSED}",
        f"FAIL [rdkafka#consumer-1] [thrd:127.0.0.1:9092/1]: {SUPPRESSED}",
        f"FAIL [rdkafka#consumer-1] [thrd:GroupCoordinator]: GroupCoordinator: {REFUSED.replace('/bootstrap', '')}",
        REFUSED,
    ],
)
def test_one_fault_is_one_whoever_notices_it(line: str) -> None:
    assert fault_of(line) == "127.0.0.1:9092: Connect to ipv4#127.0.0.1:9092 failed: Connection refused"


def test_other_brokers_and_reasons_are_other_faults() -> None:
    others = {REFUSED, REFUSED.replace("9092", "9093"), REFUSED.replace("refused", "reset"), "1/1 brokers are down"}
    assert len({fault_of(line) for line in others}) == len(others)
    assert fault_of("1/1 brokers are down") == fault_of("0/2 brokers are down")


def test_what_is_seen_again_is_counted_and_told_half_a_minute_later(
    log: ClientLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for seconds in range(31):
        clock.now = float(seconds)
        log.log(logging.ERROR, "%s [%s] %s", "FAIL", "rdkafka#consumer-1", f"[thrd:main]: {REFUSED}")
        log.fault(REFUSED)
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    first, again = caplog.messages
    assert first == f"FAIL [rdkafka#consumer-1] [thrd:main]: {REFUSED}"
    assert again == f"{first} … and 59 more in 30 s"


def test_recovery_tells_what_was_counted_and_makes_the_next_fault_news(
    log: ClientLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    log.fault("127.0.0.1:9093/2: Disconnected")
    for _ in range(4):
        log.fault(REFUSED)
    clock.now = 7.0
    log.recovered()
    log.fault(REFUSED)
    assert caplog.messages == ["127.0.0.1:9093/2: Disconnected", REFUSED, f"{REFUSED} … and 3 more in 7 s", REFUSED]


def test_what_is_for_debugging_is_logged_as_it_comes(log: ClientLog, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        log.log(logging.DEBUG, "%s [%s] %s", "TERMINATE", "rdkafka#consumer-1", "[thrd:app]: Terminating instance")
    assert len(caplog.messages) == 2


def test_what_is_told_at_info_is_counted_at_info(
    log: ClientLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """librdkafka tells of a connection that breaks at INFO, for each broker and client, and again and again."""
    for _ in range(36):
        log.log(logging.INFO, "%s [%s] %s", "FAIL", "rdkafka#consumer-1", "[thrd:main]: Disconnected (after 1ms in UP)")
    clock.now = 7.0
    log.recovered()
    assert [record.levelno for record in caplog.records] == [logging.INFO, logging.INFO]
    assert caplog.messages[1].endswith(" … and 35 more in 7 s")


def test_it_does_not_grow_with_what_it_is_told(log: ClientLog) -> None:
    for number in range(10_000):
        log.fault(f"no such thing as {number}")
    assert len(log._faults) <= 200
