"""What goes into ZooKeeper: paths, JSON, requests and their size."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kazoo.exceptions import BadVersionError, RolledBackError, RuntimeInconsistency
from kazoo.protocol.serialization import CheckVersion, Create, Delete, SetData
from kazoo.security import OPEN_ACL_UNSAFE

from kafka_stream.errors import ConfigurationError, SchemaMismatch
from kafka_stream.offset_stores.zookeeper.ensemble.address import Address, why_no_path
from kafka_stream.offset_stores.zookeeper.operations import Asked, Put, Remove, Step, paths_to_look_at, steps_of
from kafka_stream.offset_stores.zookeeper.requests import check_size, failure_in, in_requests, size_of
from kafka_stream.offset_stores.zookeeper.znodes import Layout, Marker, TopicState, decoded, encoded, escaped, unescaped
from kafka_stream.types import MAX_OFFSET, Owner, PlanKind, PositionState, StoredPosition, TopicPartition

offsets = st.integers(0, MAX_OFFSET)
names = st.text(min_size=1)


@given(names)
def test_a_name_becomes_one_part_of_a_path_and_back(name: str) -> None:
    part = escaped(name)
    assert unescaped(part) == name
    assert "/" not in part
    assert part.isascii()
    assert why_no_path(f"/{part}") is None


@pytest.mark.parametrize("name", [".", "..", "/", "%2F", "%", "a b", "s'\"%:x ü", "\0", "\ud800", "zookeeper"])
def test_names_that_are_special_to_zookeeper_or_to_the_escape(name: str) -> None:
    assert unescaped(escaped(name)) == name
    assert why_no_path(f"/{escaped(name)}") is None


@given(st.lists(names, min_size=2, max_size=2, unique=True))
def test_different_names_have_different_paths(pair: list[str]) -> None:
    layout = Layout("/chroot")
    assert layout.stream(pair[0]) != layout.stream(pair[1])


def test_where_a_position_lies() -> None:
    assert Layout("").partition("orders", TopicPartition("a/b", 7)) == "/kafka_stream/orders/a%2Fb/7"
    assert Layout("/x").partition("orders", TopicPartition("a", 7)) == "/x/kafka_stream/orders/a/7"


owners = st.builds(Owner, id=st.text(), host=st.text(), code_version=st.none() | st.text())
positions = st.builds(
    StoredPosition,
    next_offset=offsets,
    owner_epoch=st.integers(0, 2**63 - 1),
    owner=st.none() | owners,
    planned_until=st.none() | offsets,
    plan_kind=st.none() | st.sampled_from(PlanKind),
    leader_epoch=st.none() | st.integers(0, 2**31 - 1),
    topic_id=st.none() | st.text(),
    state=st.sampled_from(PositionState),
    state_reason=st.none() | st.text(),
    changed_at=st.none() | st.datetimes(timezones=st.just(UTC)),
)


@given(positions)
def test_a_position_comes_back_as_it_was(position: StoredPosition) -> None:
    assert decoded(encoded(position), "/p") == position


def test_what_is_not_known_is_left_out_and_times_are_utc() -> None:
    at = datetime(2024, 5, 1, 14, 0, 0, 123_000, tzinfo=timezone(timedelta(hours=2)))
    assert json.loads(encoded(StoredPosition(5, 1, changed_at=at))) == {
        "format": 1, "next_offset": 5, "owner_epoch": 1, "state": "open",
        "changed_at": "2024-05-01T12:00:00.123000+00:00",
    }  # fmt: skip


@given(st.builds(Marker, st.sampled_from(TopicState), st.none() | st.text(), st.none() | st.text(),
                 st.dictionaries(st.integers(0, 2**31 - 1), offsets, max_size=20)))  # fmt: skip
def test_a_marker_comes_back_as_it_was(marker: Marker) -> None:
    assert Marker.decoded(marker.encoded(), "/p") == marker


def test_a_znode_that_is_there_for_its_children_has_no_marker() -> None:
    assert Marker.decoded(b"", "/p") is None


@pytest.mark.parametrize(
    "data",
    [
        b"x", b"[]", b"null", b"{}", b'{"format": 2}', b'{"format": 1, "state": "ajar"}',
        b'{"format": 1, "next_offset": -1, "owner_epoch": 1, "state": "open"}',
        b'{"format": 1, "next_offset": 7.0, "owner_epoch": 1, "state": "open"}',
        b'{"format": 1, "next_offset": "7", "owner_epoch": 1, "state": "open"}',
        b'{"format": 1, "next_offset": 7, "owner_epoch": 1, "state": "open", "owner": 3}',
    ],
)  # fmt: skip
def test_something_else_is_refused_by_name(data: bytes) -> None:
    for decode in (decoded, Marker.decoded):
        with pytest.raises(SchemaMismatch, match="/orders/0"):
            decode(data if decode is decoded else data + b" ?", "/orders/0")


# Addresses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hosts", "chroot", "credentials"),
    [
        ("h1:2182", "h1:2182", "", None),
        ("h1", "h1:2181", "", None),
        ("h1:2181, h2/a/b/", "h1:2181,h2:2181", "/a/b", None),
        ("zookeeper://h1:2181,h2:2181/chroot", "h1:2181,h2:2181", "/chroot", None),
        ("ZooKeeper://h1/", "h1:2181", "", None),
        ("[::1]:2182,[::1]/a", "[::1]:2182,[::1]:2181", "/a", None),
        ("zookeeper://u:p%40:%2F@h1,h2/a", "h1:2181,h2:2181", "/a", "u:p@:/"),
    ],
)
def test_an_address(text: str, hosts: str, chroot: str, credentials: str | None) -> None:
    found = Address.parsed(text)
    assert (found.hosts, found.chroot, found.credentials) == (hosts, chroot, credentials)
    assert "u:p" not in f"{found} {found!r}"


# Requests -------------------------------------------------------------------------------------------------------------


def test_requests_hold_as_much_as_fits_and_all_of_it_in_order() -> None:
    operations = [SetData(f"/a/{number}", b"x" * (number % 7), 3) for number in range(100)]
    beside = CheckVersion("/a", 1)
    for limit in (200, 1_000, 100_000):
        requests = list(in_requests(operations, beside, limit))
        assert [each for request in requests for each in request] == operations
        assert all(size_of([*request, beside]) <= limit for request in requests)
        full = [[*request, following[0], beside] for request, following in itertools.pairwise(requests)]
        assert all(size_of(more) > limit for more in full)
    assert list(in_requests([], beside, 1_000)) == [[]]


def test_a_request_that_is_too_large_is_refused_with_its_size() -> None:
    operations = [Create("/a", b"x" * 1000, OPEN_ACL_UNSAFE, 0)]
    size = size_of(operations)
    check_size(operations, size, "zookeeper://h")
    with pytest.raises(ConfigurationError, match=rf"{size:,} bytes \(1 operations\).*{size - 1:,}.*zookeeper://h"):
        check_size(operations, size - 1, "zookeeper://h")


def test_the_error_that_counts_is_found_among_those_that_are_returned() -> None:
    error = BadVersionError()
    assert failure_in(["/a", True]) is None
    assert failure_in([RolledBackError(), error, RuntimeInconsistency()]) == (1, error)
    only_rolled_back = [RuntimeInconsistency(), RuntimeInconsistency()]
    assert failure_in(only_rolled_back) == (0, only_rolled_back[0])


# What a handler asks for ----------------------------------------------------------------------------------------------


def done(asked: Sequence[Asked], existing: set[str], chroot: str = "") -> list[Step]:
    assert existing <= {*paths_to_look_at(asked, chroot), *existing}
    return list(steps_of(asked, existing, chroot, OPEN_ACL_UNSAFE))


def created(path: str, data: bytes = b"", *, is_certain: bool = False) -> Step:
    return Step(Create(path, data, OPEN_ACL_UNSAFE, 0), is_certain)


def test_what_is_above_a_znode_is_created_once() -> None:
    assert paths_to_look_at([Put("/c/a/b", b""), Put("/c/a/d", b""), Remove("/c/e")], "/c") == [
        "/c/a", "/c/a/b", "/c/a/d", "/c/e",
    ]  # fmt: skip
    assert done([Put("/c/a/b", b"1"), Put("/c/a/d", b"2")], set(), "/c") == [
        created("/c/a"), created("/c/a/b", b"1"), created("/c/a/d", b"2"),
    ]  # fmt: skip


def test_what_is_there_is_set() -> None:
    assert done([Put("/a", b"1")], {"/a"}) == [Step(SetData("/a", b"1", -1), is_certain=False)]
    create = Create("/a", b"1", OPEN_ACL_UNSAFE, 0)
    assert done([create, Put("/a", b"2")], set()) == [
        created("/a", b"1", is_certain=True), Step(SetData("/a", b"2", -1), is_certain=False),
    ]  # fmt: skip


def test_what_is_gone_is_not_removed_again() -> None:
    removed = Step(Delete("/a", -1), is_certain=False)
    assert done([Remove("/a"), Remove("/a")], {"/a"}) == [removed]
    assert done([Remove("/a")], set()) == []
    assert done([Delete("/a", 3), Put("/a", b"1")], {"/a"}) == [
        Step(Delete("/a", 3), is_certain=True), created("/a", b"1"),
    ]  # fmt: skip
    assert done([Remove("/a"), Put("/a", b"1"), Remove("/a")], {"/a"}) == [removed, created("/a", b"1"), removed]
