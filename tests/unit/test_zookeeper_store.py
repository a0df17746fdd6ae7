"""The ZooKeeper store on followers that lag: what decides is never a read alone."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

import pytest

from kafka_stream.errors import ConfigurationError, OwnershipLost, ProcessingError, StoreUnavailable, StreamClosed
from kafka_stream.offset_stores.zookeeper import ZooKeeperOffsetStore, ZooKeeperTransaction
from kafka_stream.offset_stores.zookeeper.operations import Operation
from kafka_stream.offset_stores.zookeeper.znodes import Layout, Marker, TopicState
from kafka_stream.protocols import Action, ActionKind
from kafka_stream.testing.administration_contract import HistoryContract
from kafka_stream.testing.compare_and_set_contract import CompareAndSetContract
from kafka_stream.testing.plan_contract import DurablePlanContract
from kafka_stream.testing.store_backend import NEWER, OLDER, P0, P1, STREAM, TOPIC, claim_of, commit, epochs_of
from tests.zookeeper_ensemble import Ensemble, FollowerConnection, Znode


class LaggingBackend:
    def __init__(self) -> None:
        self.ensemble = Ensemble({"/results": Znode(b"")})
        self._results = 0

    def store(self) -> ZooKeeperOffsetStore:
        return self.ensemble.store()

    def write(self, transaction: ZooKeeperTransaction, value: int) -> None:
        self._results += 1
        transaction.create(f"/results/{value}-{self._results}")

    def results(self) -> Sequence[int]:
        names = [path.removeprefix("/results/") for path in self.ensemble.znodes if path.startswith("/results/")]
        return [int(name.split("-")[0]) for name in names]

    def close_topic(self, stream: str, topic: str, reason: str | None) -> None:
        """What an operator does meanwhile, without a reason to delete it."""
        kind = ActionKind.DELETE if reason is None else ActionKind.CLOSE
        self.store().close_topics(stream, [topic], Action(uuid.uuid4().hex, kind, "operator"), reason)


@pytest.fixture
def ensemble() -> Ensemble:
    return Ensemble()


class TestZooKeeperOffsetStoreOnLaggingFollowers(CompareAndSetContract, DurablePlanContract, HistoryContract):
    @pytest.fixture
    def backend(self) -> LaggingBackend:
        return LaggingBackend()


def test_the_second_and_every_later_batch_reads_nothing(ensemble: Ensemble) -> None:
    store = ensemble.store()
    taken = store.take_over(STREAM, OLDER, [P0, P1], {})
    ensemble.requests.clear()
    for offset in range(3):
        commit(store, OLDER, {P0: (offset, offset + 1), P1: (offset, offset + 1)}, epochs_of(taken))
    assert ensemble.requests == ["multi", "multi"] * 3, "the claim, and the commit"


def test_a_session_that_began_on_a_lagging_follower_is_not_told_that_it_lost(ensemble: Ensemble) -> None:
    taken = ensemble.store().take_over(STREAM, OLDER, [P0], {})
    commit(ensemble.store(), OLDER, {P0: (0, 5)}, epochs_of(taken))


def test_what_is_kept_is_not_believed(ensemble: Ensemble) -> None:
    store, successor = ensemble.store(), ensemble.store()
    older = store.take_over(STREAM, OLDER, [P0], {})
    newer = successor.take_over(STREAM, NEWER, [P0], {})
    for refused in (store.reclaim, store.reposition):
        with pytest.raises(OwnershipLost) as raised:
            refused(claim_of(OLDER, {P0: (0, 0)}, older))
        assert raised.value.other == NEWER
    assert successor.positions(STREAM) == newer


def test_what_is_kept_refuses_nothing(ensemble: Ensemble) -> None:
    store = ensemble.store()
    claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0], {}))
    found = ensemble.store().reclaim(claim)
    commit(store, OLDER, {P0: (0, 5)}, epochs_of(found))


def test_a_znode_that_only_the_leader_has_yet_is_removed(ensemble: Ensemble) -> None:
    store, other = ensemble.store(), ensemble.store()
    taken = store.take_over(STREAM, OLDER, [P0], {})
    with store.begin(claim_of(OLDER, {P0: (0, 5)}, taken)) as transaction:
        other._connection.create_missing("/a")
        transaction.remove("/a")
        transaction.advance()
        transaction.commit()
    assert "/a" not in ensemble.znodes


def test_positions_that_change_all_the_time_are_given_up_for_a_while(
    ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ensemble.store()
    taken = store.take_over(STREAM, OLDER, [P0, P1], {})
    path = "/kafka_stream/orders/orders/0"
    sync = store._connection.sync

    def sync_and_change() -> None:
        sync()
        ensemble.znodes[path] = Znode(ensemble.znodes[path].data, ensemble.znodes[path].version + 1)

    monkeypatch.setattr(store._connection, "sync", sync_and_change)
    claim = claim_of(OLDER, {P0: (0, 5), P1: (0, 5)}, taken)
    ensemble.znodes[path] = Znode(ensemble.znodes[path].data, 100)
    with pytest.raises(StoreUnavailable, match="30 times"):
        store.reclaim(claim)
    with pytest.raises(StoreUnavailable, match="30 times"):
        store.take_over(STREAM, NEWER, [P0, P1], {})


# Closed and deleted topics ------------------------------------------------------------------------------------------


@pytest.fixture
def backend() -> LaggingBackend:
    return LaggingBackend()


@pytest.fixture
def store(backend: LaggingBackend) -> ZooKeeperOffsetStore:
    return backend.store()


def test_a_closed_topic_stops_its_owner_and_every_other(store: ZooKeeperOffsetStore, backend: LaggingBackend) -> None:
    store.initialise(STREAM, TOPIC, {0: 7}, None)
    taken = store.take_over(STREAM, OLDER, [P0], {})
    claim = claim_of(OLDER, {P0: (7, 8)}, taken)
    with pytest.raises(StreamClosed, match="moved"), store.begin(claim) as transaction:
        backend.close_topic(STREAM, TOPIC, "moved")
        transaction.advance()
        transaction.commit()
    before = store.positions(STREAM)
    attempts: list[Callable[[], object]] = [
        lambda: store.begin(claim).__enter__(),
        lambda: store.reclaim(claim),
        lambda: store.take_over(STREAM, NEWER, [P0], {}),
        lambda: store.take_over(STREAM, NEWER, [P1], {}),
    ]
    for attempt in attempts:
        with pytest.raises(StreamClosed, match="moved"):
            attempt()
    assert store.is_started(STREAM, TOPIC), "it is not to be started again"
    store.initialise(STREAM, TOPIC, {0: 0, 1: 0}, None)
    assert store.positions(STREAM) == before


def test_a_deleted_topic_starts_again_at_higher_epochs(store: ZooKeeperOffsetStore, backend: LaggingBackend) -> None:
    store.initialise(STREAM, TOPIC, {0: 7, 1: 7}, "id-1")
    taken = store.take_over(STREAM, OLDER, [P0, P1], {})
    backend.close_topic(STREAM, TOPIC, None)
    assert not store.is_started(STREAM, TOPIC)
    with pytest.raises(StreamClosed):
        store.take_over(STREAM, NEWER, [P0], {})
    deleted = epochs_of(store.positions(STREAM))
    store.initialise(STREAM, TOPIC, {0: 3, 2: 4}, "id-2")
    assert store.is_started(STREAM, TOPIC)
    found = store.positions(STREAM)
    assert {tp.partition: (p.next_offset, p.owner, p.topic_id) for tp, p in found.items()} == {
        0: (3, None, "id-2"), 1: (0, None, "id-2"), 2: (4, None, "id-2"),
    }  # fmt: skip
    assert all(found[tp].owner_epoch > deleted[tp] > taken[tp].owner_epoch for tp in (P0, P1))
    with pytest.raises(OwnershipLost), store.begin(claim_of(OLDER, {P0: (7, 8)}, taken)):
        pytest.fail("the deleted stream's owner was let in")


def test_a_takeover_is_refused_before_it_changes_anything(store: ZooKeeperOffsetStore, backend: LaggingBackend) -> None:
    store.initialise(STREAM, "a", {0: 1}, None)
    store.initialise(STREAM, TOPIC, {0: 1}, None)
    backend.close_topic(STREAM, TOPIC, "moved")
    before = store.positions(STREAM)
    with pytest.raises(StreamClosed, match="moved"):
        store.take_over(STREAM, OLDER, [*before, P1], {})
    assert store.positions(STREAM) == before


def test_a_topic_that_is_deleted_in_the_middle_of_a_takeover_gets_no_new_partition(
    store: ZooKeeperOffsetStore, backend: LaggingBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.initialise(STREAM, TOPIC, {0: 1}, None)
    multi = store._connection.multi

    def delete_first(operations: Sequence[Operation]) -> list[object]:
        monkeypatch.undo()
        backend.close_topic(STREAM, TOPIC, None)
        return multi(operations)

    monkeypatch.setattr(store._connection, "multi", delete_first)
    with pytest.raises(StreamClosed):
        store.take_over(STREAM, OLDER, [P1], {})
    assert list(store.positions(STREAM)) == [P0]


def test_a_start_that_is_decided_anew_between_its_requests_is_as_it_was_decided_last(
    store: ZooKeeperOffsetStore, backend: LaggingBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FollowerConnection, "max_request_bytes", 5_000)
    multi, path = store._connection.multi, Layout("").topic(STREAM, TOPIC)
    partitions, sent = range(100), []

    def decide_anew(operations: Sequence[Operation]) -> list[object]:
        sent.append(operations)
        if len(sent) == 6:  # three of its parents, the marker, and the first partitions
            backend.close_topic(STREAM, TOPIC, None)
            decided = Marker(TopicState.STARTING, starts=dict.fromkeys(partitions, 2))
            znodes = backend.ensemble.znodes
            assert len(partitions) > len(sent[4]) > 2, "the first partitions are there, others are not"
            znodes[path] = Znode(decided.encoded(), znodes[path].version + 1)
        return multi(operations)

    monkeypatch.setattr(store._connection, "multi", decide_anew)
    store.initialise(STREAM, TOPIC, dict.fromkeys(partitions, 1), None)
    assert {position.next_offset for position in store.positions(STREAM).values()} == {2}
    assert len(store.positions(STREAM)) == len(partitions)


# What is refused before anything is sent ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        ("results", b"", "slash"),
        ("/results/", b"", "empty name"),
        ("/results//a", b"", "empty name"),
        ("/results/./a", b"", "relative"),
        ("/results/\ud800", b"", "character"),
        ("/kafka_stream/orders", b"", "offsets"),
        ("/results/a", "text", "must be bytes"),
        ("/results/a", None, "must be bytes"),
    ],
)
def test_a_handlers_mistake_is_told_where_it_is_made(ensemble: Ensemble, path: str, value: bytes, match: str) -> None:
    store = ensemble.store()
    taken = store.take_over(STREAM, OLDER, [P0], {})
    with store.begin(claim_of(OLDER, {P0: (0, 5)}, taken)) as transaction:
        for operation in (transaction.create, transaction.set, transaction.put):
            with pytest.raises(ProcessingError, match=match):
                operation(path, value)


def test_versions_and_acls_are_checked_where_they_are_given(ensemble: Ensemble) -> None:
    store = ensemble.store()
    taken = store.take_over(STREAM, OLDER, [P0], {})
    with store.begin(claim_of(OLDER, {P0: (0, 5)}, taken)) as transaction:
        for version in (-2, 2**31, "1", None):
            with pytest.raises(ProcessingError, match="version"):
                transaction.set("/a", b"", version)  # type: ignore[arg-type]
            with pytest.raises(ProcessingError, match="version"):
                transaction.delete("/a", version)  # type: ignore[arg-type]
        with pytest.raises(ProcessingError, match="acl"):
            transaction.create("/a", b"", acl=["world:anyone"])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"hosts": ""}, "address"),
        ({"hosts": "zookeeper://"}, "address"),
        ({"hosts": "h1:99999"}, "address"),
        ({"hosts": "h1:x"}, "address"),
        ({"hosts": "h1,,h2"}, "address"),
        ({"hosts": "kafka://h1"}, "scheme"),
        ({"hosts": "zookeeper://h1/a?b=c"}, "options"),
        ({"hosts": "h1/a//b"}, "chroot"),
        ({"hosts": "h1/../b"}, "chroot"),
        ({"hosts": "user:pass-word@h1"}, "credentials"),
        ({"hosts": "zookeeper://user@h1"}, "credentials"),
        ({"hosts": "zookeeper://user:pass-word/1@h1"}, "%2F"),
        ({"hosts": "zookeeper://user:1/pass-word@h1/a"}, "%2F"),
        ({"hosts": "user:pass-word/1"}, "address"),
        ({"hosts": "zookeeper://user:pass-word@h1", "auth": ("digest", "a:b")}, "twice"),
        ({"hosts": "h1", "auth": ("digest",)}, "auth"),
        ({"hosts": "h1", "auth": "user:pass-word"}, "auth"),
        ({"hosts": "h1", "acl": ["pass-word"]}, "acl"),
        ({"hosts": "h1", "acl": []}, "acl"),
        ({"hosts": "h1", "session_timeout_s": 0}, "session_timeout_s"),
        ({"hosts": "h1", "session_timeout_s": float("nan")}, "session_timeout_s"),
        ({"hosts": "h1", "max_request_bytes": 1000}, "max_request_bytes"),
        ({"hosts": "h1", "client_options": {"auth_data": [("digest", "pass-word")]}}, "auth_data"),
        ({"hosts": "h1", "client_options": {"chroot": "/a"}}, "chroot"),
    ],
)
def test_what_cannot_work_is_refused_when_the_store_is_built(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigurationError, match=match) as raised:
        ZooKeeperOffsetStore(**arguments)  # type: ignore[arg-type]
    assert "pass-word" not in str(raised.value)


def test_a_store_shows_no_secret() -> None:
    store = ZooKeeperOffsetStore("zookeeper://user:pass%2Fword@h1,h2:2182/a/b")
    assert store.describe() == "zookeeper://h1:2181,h2:2182/a/b"
    assert repr(store) == "<ZooKeeperOffsetStore zookeeper://h1:2181,h2:2182/a/b>"
    assert store._connection._access.auth == ("digest", "user:pass/word")
    assert "word" not in repr(store._connection._access)
