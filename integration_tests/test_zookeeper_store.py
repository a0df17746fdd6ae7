"""``ZooKeeperOffsetStore`` on a server: the stores' contract, limits, access control, many partitions, first starts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.security import OPEN_ACL_UNSAFE, make_digest_acl

from kafka_stream.errors import (
    CommitOutcomeUnknown,
    ConfigurationError,
    NotAuthorized,
    OwnershipLost,
    SchemaMismatch,
    StoreUnavailable,
    StreamClosed,
    TransactionEscaped,
)
from kafka_stream.offset_stores.zookeeper import ZooKeeperOffsetStore
from kafka_stream.offset_stores.zookeeper.requests import DEFAULT_MAX_REQUEST_BYTES, size_of
from kafka_stream.offset_stores.zookeeper.znodes import Marker, TopicState
from kafka_stream.testing.administration_contract import HistoryContract
from kafka_stream.testing.compare_and_set_contract import CompareAndSetContract
from kafka_stream.testing.dead_letter_contract import DeadLetterContract
from kafka_stream.testing.plan_contract import DurablePlanContract
from kafka_stream.testing.store_backend import (
    NEWER,
    OLDER,
    P0,
    P1,
    STREAM,
    TOPIC,
    at_once,
    claim_of,
    commit,
    epochs_of,
    next_offsets,
)
from kafka_stream.types import PlanKind, TopicPartition
from tests.zookeeper_backend import ZooKeeperBackend

WAIT_S = 60.0
SECRET = "s3cret-word"
CREDENTIAL = ("digest", f"orders:{SECRET}")
SMALLEST = 64 * 1024


@pytest.fixture
def backend(zookeeper: str) -> Iterator[ZooKeeperBackend]:
    found = ZooKeeperBackend(zookeeper)
    yield found
    found.close()


class TestZooKeeperOffsetStore(CompareAndSetContract, DurablePlanContract, HistoryContract):
    """The contract."""

    @pytest.fixture
    def backend(self, backend: ZooKeeperBackend) -> ZooKeeperBackend:
        return backend


class TestZooKeeperLetters(DeadLetterContract):
    """The contract of a store that keeps dead letters."""

    @pytest.fixture
    def backend(self, backend: ZooKeeperBackend) -> ZooKeeperBackend:
        return backend


@pytest.fixture
def opened(backend: ZooKeeperBackend) -> Iterator[Callable[..., ZooKeeperOffsetStore]]:
    """A function that opens one more store, below the test's chroot."""
    stores: list[ZooKeeperOffsetStore] = []

    def build(address: str = backend.address, **options: Any) -> ZooKeeperOffsetStore:
        store = ZooKeeperOffsetStore(address, **options)
        stores.append(store)
        store.open()
        return store

    yield build
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Callable[..., ZooKeeperOffsetStore]) -> ZooKeeperOffsetStore:
    return opened()


# What is stored -------------------------------------------------------------------------------------------------------


def test_a_position_is_readable(store: ZooKeeperOffsetStore, backend: ZooKeeperBackend) -> None:
    store.initialise(STREAM, "b b/ü", {0: 7}, "id-1")
    taken = store.take_over(STREAM, OLDER, [TopicPartition("b b/ü", 0)], {})
    path = f"{backend.layout.chroot}/kafka_stream/orders/b%20b%2F%C3%BC"
    position = json.loads(backend.client.get(f"{path}/0")[0])
    changed_at = next(iter(taken.values())).changed_at
    assert changed_at is not None
    assert position == {
        "format": 1, "next_offset": 7, "topic_id": "id-1", "owner_epoch": 1, "state": "open",
        "owner": {"id": OLDER.id, "host": OLDER.host, "code_version": "v1"}, "changed_at": changed_at.isoformat(),
    }  # fmt: skip
    marker = json.loads(backend.client.get(path)[0])
    assert (marker["state"], marker["topic_id"]) == ("open", "id-1")


@pytest.mark.parametrize("value", [b"", b"7", b"{", b'{"format": 2, "next_offset": 7}', b'{"format": 1}', b"\xff"])
def test_a_znode_that_holds_something_else_is_named(
    store: ZooKeeperOffsetStore, backend: ZooKeeperBackend, value: bytes
) -> None:
    store.initialise(STREAM, TOPIC, {0: 7}, None)
    backend.client.set(backend.layout.partition(STREAM, P0), value)
    with pytest.raises(SchemaMismatch, match="/kafka_stream/orders/orders/0"):
        store.positions(STREAM)


def test_only_reading_creates_nothing(backend: ZooKeeperBackend) -> None:
    store = backend.store()
    assert store.positions(STREAM) == {}
    assert not store.is_started(STREAM, TOPIC)
    assert not backend.client.exists(backend.layout.root)
    store.close()


# The size of a request ------------------------------------------------------------------------------------------------


def test_a_batch_of_exactly_the_limit_commits_and_a_larger_one_is_refused_before_it_is_sent(
    store: ZooKeeperOffsetStore, backend: ZooKeeperBackend
) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with store.begin(claim) as transaction:
        transaction.create("/results/1-a", b"")
        transaction.advance()
        empty = size_of(transaction._request)
    for size, error in ((DEFAULT_MAX_REQUEST_BYTES + 1, "1,048,576"), (DEFAULT_MAX_REQUEST_BYTES * 3, "3,145,725")):
        too_large = pytest.raises(ConfigurationError, match=f"{error} bytes.*max_records_per_batch")
        with too_large, store.begin(claim) as transaction:
            transaction.create("/results/1-a", b"x" * (size - empty))
            transaction.advance()
    assert backend.results() == []
    with store.begin(claim) as transaction:
        transaction.create("/results/1-a", b"x" * (DEFAULT_MAX_REQUEST_BYTES - empty))
        transaction.advance()
        transaction.commit()
    assert backend.results() == [1]
    assert next_offsets(store) == {P0: 5}
    assert store._connection.sessions_lost == 0


def test_what_the_server_refuses_for_its_size_after_all_is_settled(
    opened: Callable[..., ZooKeeperOffsetStore], backend: ZooKeeperBackend
) -> None:
    store = opened(max_request_bytes=4 * 2**20)
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with pytest.raises(CommitOutcomeUnknown), store.begin(claim) as transaction:
        transaction.create("/results/1-a", b"x" * 2**20)
        transaction.advance()
        transaction.commit()
    assert store.reclaim(claim)[P0].next_offset == 0
    assert backend.results() == []


# Who may do what ------------------------------------------------------------------------------------------------------


@pytest.fixture
def authenticated(backend: ZooKeeperBackend) -> Iterator[KazooClient]:
    """A client that may see what the store has protected; it removes that after the test."""
    client = KazooClient(backend.address.partition("/")[0], auth_data=[CREDENTIAL])
    client.start()
    yield client
    client.delete(backend.layout.chroot, recursive=True)
    client.stop()
    client.close()


def test_a_chroot_that_is_missing_is_created_and_protected_like_the_rest(
    backend: ZooKeeperBackend, authenticated: KazooClient, opened: Callable[..., ZooKeeperOffsetStore]
) -> None:
    host, _, chroot = backend.address.partition("/")
    store = opened(f"zookeeper://orders:{SECRET}@{host}/{chroot}/new/chroot")
    assert SECRET not in f"{store!r} {store.describe()} {vars(store)} {vars(store._connection)}"
    taken = store.take_over(STREAM, OLDER, [P0], {})
    with store.begin(claim_of(OLDER, {P0: (0, 5)}, taken)) as transaction:
        transaction.create("/mine", b"1")
        transaction.create("/everybodys", b"2", acl=OPEN_ACL_UNSAFE)
        transaction.advance()
        transaction.commit()
    top = f"/{chroot}/new"
    for path in (top, f"{top}/chroot", f"{top}/chroot/mine", f"{top}/chroot/kafka_stream/orders/orders/0"):
        (acl,) = authenticated.get_acls(path)[0]
        assert (acl.id.scheme, acl.id.id.partition(":")[0], acl.perms) == ("digest", "orders", 31)
    assert authenticated.get_acls(f"{top}/chroot/everybodys")[0] == OPEN_ACL_UNSAFE


@pytest.mark.parametrize("auth", [None, ("digest", "orders:wrong-word"), ("digest", "someone:else")])
def test_who_is_not_let_in_is_told_without_a_password(
    backend: ZooKeeperBackend,
    authenticated: KazooClient,
    opened: Callable[..., ZooKeeperOffsetStore],
    auth: tuple[str, str] | None,
) -> None:
    owner = opened(auth=CREDENTIAL)
    taken = owner.take_over(STREAM, OLDER, [P0], {})
    stranger = ZooKeeperOffsetStore(backend.address, auth=auth)
    attempts: list[Callable[[], object]] = [
        stranger.open,
        partial(stranger.positions, STREAM),
        partial(stranger.is_started, STREAM, TOPIC),
        partial(stranger.take_over, STREAM, NEWER, [P0, P1], {}),
        partial(stranger.initialise, STREAM, "payments", {0: 0}, None),
        partial(commit, stranger, OLDER, {P0: (0, 1)}, epochs_of(taken)),
    ]
    for attempt in attempts:
        with pytest.raises(NotAuthorized, match="NoAuthError") as raised:
            attempt()
        assert SECRET not in str(raised.value)
        assert "wrong-word" not in str(raised.value)
    stranger.close()
    assert owner.positions(STREAM) == taken


def test_a_znode_that_the_handler_may_not_change_is_named(
    store: ZooKeeperOffsetStore, backend: ZooKeeperBackend, authenticated: KazooClient
) -> None:
    protected = [make_digest_acl("orders", SECRET, all=True)]
    backend.client.create(f"{backend.layout.chroot}/protected", b"", protected)
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with pytest.raises(NotAuthorized, match="set the znode /protected"), store.begin(claim) as transaction:
        transaction.set("/protected", b"1")
        transaction.advance()
        transaction.commit()
    assert next_offsets(store) == {P0: 0}


def test_the_requests_are_not_logged_whatever_the_level(
    backend: ZooKeeperBackend,
    authenticated: KazooClient,
    opened: Callable[..., ZooKeeperOffsetStore],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(1)
    opened(auth=CREDENTIAL).take_over(STREAM, OLDER, [P0], {})
    assert SECRET not in caplog.text
    assert "Zookeeper connection established" in caplog.text


# Handlers -------------------------------------------------------------------------------------------------------------


def test_a_handlers_mistake_is_not_blamed_where_the_ownership_is_lost(
    store: ZooKeeperOffsetStore, opened: Callable[..., ZooKeeperOffsetStore], backend: ZooKeeperBackend
) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with pytest.raises(OwnershipLost) as raised, store.begin(claim) as transaction:
        transaction.create("/results/1-a")
        successor = opened()
        with successor.begin(claim_of(NEWER, {P0: (0, 5)}, successor.take_over(STREAM, NEWER, [P0], {}))) as theirs:
            theirs.create("/results/1-a")
            theirs.advance()
            theirs.commit()
        transaction.advance()
        transaction.commit()
    assert (raised.value.other, raised.value.stored_offset) == (NEWER, 5)
    assert backend.results() == [1]


def test_positions_that_are_removed_by_hand_stop_the_owner(
    store: ZooKeeperOffsetStore, backend: ZooKeeperBackend
) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with pytest.raises(StreamClosed, match="removed"), store.begin(claim) as transaction:
        backend.client.delete(backend.layout.root, recursive=True)
        transaction.advance()
        transaction.commit()
    with pytest.raises(StreamClosed):
        store.begin(claim).__enter__()


def test_what_a_put_rests_on_may_change_before_the_commit(
    store: ZooKeeperOffsetStore, backend: ZooKeeperBackend
) -> None:
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    with pytest.raises(StoreUnavailable, match="/results/1-a"), store.begin(claim) as transaction:
        transaction.put("/results/1-a", b"ours")
        transaction.advance()
        backend.client.create(f"{backend.layout.chroot}/results/1-a", b"theirs")
        transaction.commit()
    with store.begin(claim) as transaction:
        transaction.put("/results/1-a", b"ours")
        transaction.advance()
        transaction.commit()
    assert backend.client.get(f"{backend.layout.chroot}/results/1-a")[0] == b"ours"


def test_a_transaction_cannot_be_written_to_outside_of_its_batch(
    store: ZooKeeperOffsetStore, backend: ZooKeeperBackend
) -> None:
    taken = store.take_over(STREAM, OLDER, [P0], {})
    with store.begin(claim_of(OLDER, {P0: (0, 5)}, taken)) as transaction:
        transaction.advance()
        with pytest.raises(TransactionEscaped):
            transaction.create("/results/1-late")
        with pytest.raises(TransactionEscaped):
            transaction.commit()
    with pytest.raises(TransactionEscaped):
        transaction.create("/results/1-later")
    assert backend.results() == []
    assert store.positions(STREAM) == taken


def test_a_handlers_own_client_that_gets_no_answer_is_the_handlers_own_failure(store: ZooKeeperOffsetStore) -> None:
    client = KazooClient("127.0.0.1:1")
    with pytest.raises(Exception, match="closed") as raised:
        client.get("/x")
    assert store.classify(raised.value) is None


# Many partitions ------------------------------------------------------------------------------------------------------

THOUSAND = [TopicPartition(TOPIC, number) for number in range(1_000)]


def test_a_thousand_partitions_start_are_taken_over_and_move_in_one_batch(
    store: ZooKeeperOffsetStore, opened: Callable[..., ZooKeeperOffsetStore]
) -> None:
    store.initialise(STREAM, TOPIC, {tp.partition: tp.partition for tp in THOUSAND}, "id-1")
    taken = store.take_over(STREAM, OLDER, THOUSAND, {})
    assert {tp: position.next_offset for tp, position in taken.items()} == {tp: tp.partition for tp in THOUSAND}
    claim = claim_of(OLDER, {tp: (tp.partition, tp.partition + 3) for tp in THOUSAND}, taken)
    planned = replace(claim, plan_kind=PlanKind.RANGE)
    store.plan(planned)
    with store.begin(planned) as transaction:
        transaction.advance()
        transaction.commit()
    successor = opened()
    stored = successor.take_over(STREAM, NEWER, THOUSAND, {})
    assert {tp: position.next_offset for tp, position in stored.items()} == {tp: tp.partition + 3 for tp in THOUSAND}
    assert {position.owner_epoch for position in stored.values()} == {2}
    with pytest.raises(OwnershipLost):
        store.reclaim(claim)


def test_a_takeover_gets_through_to_an_owner_that_commits_all_the_time(
    store: ZooKeeperOffsetStore, opened: Callable[..., ZooKeeperOffsetStore]
) -> None:
    partitions = THOUSAND[:120]
    taken = store.take_over(STREAM, OLDER, partitions, {})
    lost: list[OwnershipLost] = []
    batches = threading.Semaphore(0)

    def commit_on() -> None:
        for offset in range(10_000):
            try:
                commit(store, OLDER, dict.fromkeys(partitions, (offset, offset + 1)), epochs_of(taken))
            except OwnershipLost as error:
                lost.append(error)
                return
            batches.release()

    older = threading.Thread(target=commit_on)
    older.start()
    for _ in range(3):
        assert batches.acquire(timeout=WAIT_S)
    successor = opened()
    found = successor.take_over(STREAM, NEWER, partitions, {})
    older.join(WAIT_S)
    assert [error.other for error in lost] == [NEWER]
    assert successor.positions(STREAM) == found, "nothing was committed after the takeover returned"
    assert len({position.next_offset for position in found.values()}) == 1


def test_a_start_larger_than_a_request_is_won_as_a_whole_by_one_of_several(
    opened: Callable[..., ZooKeeperOffsetStore],
) -> None:
    stores = [opened(max_request_bytes=SMALLEST) for _ in range(3)]
    numbers = range(1_000)
    at_once(
        [
            partial(each.initialise, STREAM, TOPIC, dict.fromkeys(numbers, start), f"id-{start}")
            for start, each in enumerate(stores, start=1)
        ]
    )
    found = stores[0].positions(STREAM)
    assert len(found) == len(numbers)
    assert len({(position.next_offset, position.topic_id) for position in found.values()}) == 1
    assert all(each.is_started(STREAM, TOPIC) for each in stores)


@pytest.mark.parametrize("by", ["initialise", "take_over"])
def test_a_start_that_was_cut_off_is_finished_as_it_was_decided(
    store: ZooKeeperOffsetStore, backend: ZooKeeperBackend, by: str
) -> None:
    """As a crash leaves it between the requests: the marker has decided, and one partition is there already."""
    store.initialise(STREAM, TOPIC, {0: 7}, "id-1")
    marker = Marker(TopicState.STARTING, "id-1", starts={0: 7, 1: 8, 2: 9})
    backend.client.set(backend.layout.topic(STREAM, TOPIC), marker.encoded())
    assert not store.is_started(STREAM, TOPIC)
    if by == "initialise":
        store.initialise(STREAM, TOPIC, {0: 99, 1: 99, 2: 99, 3: 99}, "id-2")
    else:
        assert store.take_over(STREAM, OLDER, [P1], {})[P1].next_offset == 8
    assert store.is_started(STREAM, TOPIC)
    assert {tp.partition: offset for tp, offset in next_offsets(store).items()} == {0: 7, 1: 8, 2: 9}
