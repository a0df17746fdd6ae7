"""Sessions that expire, connections that break, owners that wake up late: a batch is committed once, or not at all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from integration_tests.engine import wait_until
from integration_tests.zookeeper_proxy import ZooKeeperProxy
from kafka_stream import Batch, DirectStream
from kafka_stream.errors import CommitOutcomeUnknown, OwnershipLost, StoreUnavailable
from kafka_stream.offset_stores.zookeeper import ZooKeeperOffsetStore
from kafka_stream.progress import StreamListener
from kafka_stream.sinks.zookeeper import Create, ZooKeeperSink
from kafka_stream.testing import MemoryKafka
from kafka_stream.testing.store_backend import (
    NEWER,
    OLDER,
    P0,
    P1,
    STREAM,
    claim_of,
    commit,
    epochs_of,
    next_offsets,
)
from kafka_stream.types import OffsetRange, Phase
from tests.zookeeper_backend import ZooKeeperBackend

ROOT = Path(__file__).parents[1]
WAIT_S = 60.0
RECORDS = 600


@pytest.fixture
def backend(zookeeper: str) -> Iterator[ZooKeeperBackend]:
    found = ZooKeeperBackend(zookeeper)
    yield found
    found.close()


@pytest.fixture
def proxy(zookeeper: str) -> Iterator[ZooKeeperProxy]:
    host, _, port = zookeeper.partition("/")[0].partition(":")
    with ZooKeeperProxy(host, int(port)) as running:
        yield running


@pytest.fixture
def store(backend: ZooKeeperBackend, proxy: ZooKeeperProxy) -> Iterator[ZooKeeperOffsetStore]:
    """A store behind the proxy."""
    address = f"{proxy.host}:{proxy.port}{backend.layout.chroot}"
    found = ZooKeeperOffsetStore(address, session_timeout_s=5.0)
    found.open()
    yield found
    proxy.admit()
    proxy.resume()
    found.close()


@pytest.fixture
def successor(backend: ZooKeeperBackend) -> Iterator[ZooKeeperOffsetStore]:
    """A store of another process, that is connected directly."""
    found = backend.store()
    found.open()
    yield found
    found.close()


def client_of(store: ZooKeeperOffsetStore) -> KazooClient:
    return store._connection.connect()


def end_session(store: ZooKeeperOffsetStore, backend: ZooKeeperBackend) -> None:
    """Take the store's session over with a second client, and end it."""
    intruder = KazooClient(backend.address.partition("/")[0], client_id=client_of(store).client_id)
    intruder.start()
    intruder.stop()
    intruder.close()


def sessions_lost(store: ZooKeeperOffsetStore) -> int:
    return store._connection.sessions_lost


# Sessions -------------------------------------------------------------------------------------------------------------


def test_a_session_that_is_taken_over_during_a_batch_takes_the_batch_with_it(
    store: ZooKeeperOffsetStore, backend: ZooKeeperBackend
) -> None:
    taken = store.take_over(STREAM, OLDER, [P0, P1], {})
    claim = claim_of(OLDER, {P0: (0, 5), P1: (0, 5)}, taken)
    with pytest.raises(OwnershipLost, match="session") as raised, store.begin(claim) as transaction:
        backend.write(transaction, 1)
        end_session(store, backend)
        assert wait_until(lambda: sessions_lost(store) == 1, WAIT_S)
        transaction.advance()
        transaction.commit()
    assert raised.value.other == OLDER, "nobody else has fenced us: taking over again is right"
    assert backend.results() == []
    assert store.positions(STREAM) == taken
    again = store.take_over(STREAM, OLDER, [P0, P1], {})
    commit(store, OLDER, {P0: (0, 5)}, epochs_of(again))
    assert next_offsets(store) == {P0: 5, P1: 0}


def test_who_loses_the_session_to_a_successor_is_told_of_it(
    store: ZooKeeperOffsetStore, successor: ZooKeeperOffsetStore, backend: ZooKeeperBackend
) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with pytest.raises(OwnershipLost) as raised, store.begin(claim) as transaction:
        backend.write(transaction, 1)
        end_session(store, backend)
        successor.take_over(STREAM, NEWER, [P0], {})
        assert wait_until(lambda: sessions_lost(store) == 1, WAIT_S)
        transaction.advance()
        transaction.commit()
    assert raised.value.other == NEWER
    assert backend.results() == []


def test_a_session_that_ends_unnoticed_just_before_the_commit_commits_nothing(
    store: ZooKeeperOffsetStore, backend: ZooKeeperBackend
) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with pytest.raises((CommitOutcomeUnknown, OwnershipLost)), store.begin(claim) as transaction:
        backend.write(transaction, 1)
        transaction.advance()
        end_session(store, backend)
        transaction.commit()
    found = store.reclaim(claim)
    assert found[P0].next_offset == 0
    assert backend.results() == []
    commit(store, OLDER, {P0: (0, 5)}, epochs_of(found))


FROZEN_OWNER = """
import os, signal, sys, json
from kafka_stream.errors import KafkaStreamError
from kafka_stream.testing.store_backend import OLDER, P0, STREAM, claim_of
from kafka_stream.offset_stores.zookeeper import ZooKeeperOffsetStore

store = ZooKeeperOffsetStore(sys.argv[1], session_timeout_s=4.0)
store.open()
store._connection.connect().create(sys.argv[2] + "/alive", ephemeral=True)
claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
try:
    with store.begin(claim) as transaction:
        transaction.create("/results/1-frozen")
        if sys.argv[3] == "before":
            os.kill(os.getpid(), signal.SIGSTOP)
        transaction.advance()
        if sys.argv[3] == "after":
            os.kill(os.getpid(), signal.SIGSTOP)
        transaction.commit()
    print(json.dumps(["committed"]))
except KafkaStreamError as error:
    try:
        store.reclaim(claim)
        print(json.dumps([type(error).__name__, "reclaimed"]))
    except KafkaStreamError as lost:
        print(json.dumps([type(error).__name__, type(lost).__name__]))
store.close()
"""


@pytest.mark.parametrize(("when", "has_successor"), [("before", True), ("after", True), ("after", False)])
def test_an_owner_that_is_frozen_past_its_session_commits_nothing_when_it_wakes(
    backend: ZooKeeperBackend, successor: ZooKeeperOffsetStore, when: str, has_successor: bool
) -> None:
    command = [sys.executable, "-c", FROZEN_OWNER, backend.address, backend.layout.chroot, when]
    owner = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert wait_until(lambda: backend.client.exists(f"{backend.layout.chroot}/alive"), WAIT_S)
        assert wait_until(lambda: not backend.client.exists(f"{backend.layout.chroot}/alive"), WAIT_S), "it expires"
        assert backend.results() == []
        if has_successor:
            taken = successor.take_over(STREAM, NEWER, [P0], {})
            with successor.begin(claim_of(NEWER, {P0: (0, 3)}, taken)) as transaction:
                backend.write(transaction, 3)
                transaction.advance()
                transaction.commit()
        owner.send_signal(signal.SIGCONT)
        printed, _ = owner.communicate(timeout=WAIT_S)
    finally:
        owner.kill()
        owner.wait()
    first, then = json.loads(printed)
    assert first in {"CommitOutcomeUnknown", "OwnershipLost", "StoreUnavailable"}
    assert then == ("OwnershipLost" if has_successor else "reclaimed")
    assert backend.results() == ([3] if has_successor else [])
    assert next_offsets(successor) == {P0: 3 if has_successor else 0}


# Connections ----------------------------------------------------------------------------------------------------------

CUTS: dict[str, tuple[Callable[[ZooKeeperProxy], None], int, list[int]]] = {
    "before": (ZooKeeperProxy.cut_before_multi, 0, []),
    "after": (ZooKeeperProxy.cut_after_multi, 5, [1]),
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_commit_whose_answer_is_lost_is_settled_by_reclaiming(
    store: ZooKeeperOffsetStore, backend: ZooKeeperBackend, proxy: ZooKeeperProxy, cut: str
) -> None:
    arm, offset, results = CUTS[cut]
    taken = store.take_over(STREAM, OLDER, [P0, P1], {})
    claim = claim_of(OLDER, {P0: (0, 5), P1: (0, 5)}, taken)
    with pytest.raises(CommitOutcomeUnknown), store.begin(claim) as transaction:
        backend.write(transaction, 1)
        transaction.advance()
        arm(proxy)
        transaction.commit()
    assert proxy.was_cut.wait(WAIT_S)
    found = store.reclaim(claim)
    assert {position.next_offset for position in found.values()} == {offset}
    assert all(found[tp].owner_epoch > taken[tp].owner_epoch for tp in taken)
    assert backend.results() == results
    commit(store, OLDER, {P0: (offset, offset + 1)}, epochs_of(found))


def test_a_multi_that_arrives_after_the_reclaim_changes_nothing(
    store: ZooKeeperOffsetStore, successor: ZooKeeperOffsetStore, backend: ZooKeeperBackend, proxy: ZooKeeperProxy
) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    outcome: list[BaseException | None] = []

    def commit_held_back() -> None:
        try:
            with store.begin(claim) as transaction:
                backend.write(transaction, 1)
                transaction.advance()
                proxy.pause()
                began.set()
                transaction.commit()
            outcome.append(None)
        except Exception as error:
            outcome.append(error)

    began = threading.Event()
    late = threading.Thread(target=commit_held_back)
    late.start()
    assert began.wait(WAIT_S)
    found = successor.reclaim(claim)
    assert found[P0].next_offset == 0
    proxy.resume()
    late.join(WAIT_S)
    assert isinstance(outcome[0], OwnershipLost | CommitOutcomeUnknown)
    assert backend.results() == []
    assert next_offsets(successor) == {P0: 0}
    commit(successor, OLDER, {P0: (0, 5)}, epochs_of(found))


def test_a_suspended_connection_is_waited_for(store: ZooKeeperOffsetStore, proxy: ZooKeeperProxy) -> None:
    taken = store.take_over(STREAM, OLDER, [P0], {})
    client = client_of(store)
    proxy.refuse()
    assert wait_until(lambda: not client.connected, WAIT_S)
    timer = threading.Timer(1.0, proxy.admit)
    timer.start()
    commit(store, OLDER, {P0: (0, 5)}, epochs_of(taken))
    timer.join()
    assert sessions_lost(store) == 0, "it is the same session"
    assert next_offsets(store) == {P0: 5}


def test_a_connection_that_is_suspended_at_the_commit_is_waited_for(
    store: ZooKeeperOffsetStore, backend: ZooKeeperBackend, proxy: ZooKeeperProxy
) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    client = client_of(store)
    with store.begin(claim) as transaction:
        backend.write(transaction, 1)
        transaction.advance()
        proxy.refuse()
        assert wait_until(lambda: not client.connected, WAIT_S)
        timer = threading.Timer(0.5, proxy.admit)
        timer.start()
        transaction.commit()
        timer.join()
    assert backend.results() == [1]
    assert next_offsets(store) == {P0: 5}


def test_a_server_that_is_gone_is_told_in_bounded_time_and_may_come_back(
    store: ZooKeeperOffsetStore, proxy: ZooKeeperProxy
) -> None:
    taken = store.take_over(STREAM, OLDER, [P0], {})
    proxy.refuse()
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="zookeeper://"):
            store.positions(STREAM)
    proxy.admit()
    assert next_offsets(store) == {P0: 0}
    commit(store, OLDER, {P0: (0, 5)}, epochs_of(taken))
    store.close()
    store.close()


def test_a_server_that_hangs_is_told_in_bounded_time(store: ZooKeeperOffsetStore, proxy: ZooKeeperProxy) -> None:
    store.take_over(STREAM, OLDER, [P0], {})
    proxy.pause()
    with pytest.raises(StoreUnavailable):
        store.positions(STREAM)
    proxy.resume()
    assert next_offsets(store) == {P0: 0}


# Streams --------------------------------------------------------------------------------------------------------------


class Disturbed(StreamListener):
    """Does something each time that a batch with records comes to a point, at most three times."""

    def __init__(self, phase: Phase, action: Callable[[], object]) -> None:
        self.retried: list[str] = []
        self._phase = phase
        self._action = action
        self._left = 3

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        if phase is self._phase and self._left:
            self._left -= 1
            self._action()

    def on_retry(self, error: Exception, delay_s: float) -> None:
        self.retried.append(type(error).__name__)


def record_znodes(batch: Batch) -> Iterator[Create]:
    for m in batch.messages:
        yield Create(f"/results/{m.partition()}-{m.offset()}", m.value() or b"")


def disturbances(store: ZooKeeperOffsetStore, backend: ZooKeeperBackend, proxy: ZooKeeperProxy) -> dict[str, Disturbed]:
    def session_ends() -> None:
        lost = sessions_lost(store)
        end_session(store, backend)
        assert wait_until(lambda: sessions_lost(store) > lost, WAIT_S)

    return {
        "session ends before the write": Disturbed(Phase.AFTER_CLAIM, session_ends),
        "session ends before the commit": Disturbed(Phase.AFTER_ADVANCE, session_ends),
        "session ends unnoticed": Disturbed(Phase.AFTER_ADVANCE, lambda: end_session(store, backend)),
        "cut before the multi": Disturbed(Phase.AFTER_ADVANCE, proxy.cut_before_multi),
        "cut after the multi": Disturbed(Phase.AFTER_ADVANCE, proxy.cut_after_multi),
        "cut anywhere": Disturbed(Phase.AFTER_CLAIM, proxy.cut),
    }


@pytest.mark.parametrize(
    "what",
    [
        "session ends before the write",
        "session ends before the commit",
        "session ends unnoticed",
        "cut before the multi",
        "cut after the multi",
        "cut anywhere",
    ],
)
def test_a_stream_that_is_disturbed_stores_every_record_once(
    store: ZooKeeperOffsetStore, backend: ZooKeeperBackend, proxy: ZooKeeperProxy, what: str
) -> None:
    kafka = MemoryKafka({"orders": 3})
    expected = {}
    for number in range(RECORDS):
        offset = kafka.produce("orders", str(number), partition=number % 3)
        expected[f"{number % 3}-{offset}"] = str(number).encode()
    listener = disturbances(store, backend, proxy)[what]
    stream = DirectStream(
        name="orders",
        topics=["orders"],
        kafka=kafka,
        store=store,
        sink=ZooKeeperSink(record_znodes),
        assignment="static",
        max_records_per_batch=60,
        listeners=[listener],
    )
    summary = stream.run(until="latest")
    assert summary.records == RECORDS
    path = f"{backend.layout.chroot}/results"
    assert {name: backend.client.get(f"{path}/{name}")[0] for name in backend.client.get_children(path)} == expected
    assert listener._left == 0
