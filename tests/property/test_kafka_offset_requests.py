"""Offsets go in requests that brokers take: all of them, in order, in as few as fit."""

from __future__ import annotations

from itertools import pairwise

from confluent_kafka import KafkaError, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from kafka_stream.errors import ConfigurationError, StoreUnavailable
from kafka_stream.offset_stores.kafka.offset_requests import OffsetRequests, size_of

NAMES = st.text("orders-é", min_size=1, max_size=249)
OFFSETS = st.lists(
    st.builds(TopicPartition, NAMES, st.integers(0, 9), st.just(1), st.text("x€", max_size=1_300)), max_size=300
)
TOO_LARGE = KafkaError(KafkaError.INVALID_COMMIT_OFFSET_SIZE)


@given(OFFSETS, st.integers(0, 7))
def test_requests_hold_all_offsets_in_order_and_none_is_larger_than_it_may_be(
    offsets: list[TopicPartition], refusals: int
) -> None:
    requests, limit = OffsetRequests(), 500_000
    for _ in range(refusals):
        refused = requests.refused([TopicPartition("t" * 200, n) for n in range(10_000)], TOO_LARGE, "there")
        assert isinstance(refused, StoreUnavailable)
        limit = max(5_000, limit // 2)
    found = list(requests.of(offsets))
    assert [each for request in found for each in request] == offsets
    assert all(len(request) == 1 or sum(map(size_of, request)) <= limit for request in found)
    assert all(sum(map(size_of, one)) + size_of(next_one[0]) > limit for one, next_one in pairwise(found))


def test_what_cannot_be_cut_any_more_is_refused_with_its_size() -> None:
    error = OffsetRequests().refused([TopicPartition("orders", 0, 1)], TOO_LARGE, "there")
    assert isinstance(error, ConfigurationError)
    assert "does not take the offsets of 1 partition(s) in one request of about 406 bytes" in str(error)


def test_an_error_of_the_broker_that_is_not_known_is_the_size_only_of_what_is_large() -> None:
    unknown = KafkaError(KafkaError.UNKNOWN)
    assert OffsetRequests().refused([TopicPartition("orders", 0, 1)], unknown, "there") is None
    large = [TopicPartition("orders", n, 1) for n in range(1_000)]
    assert isinstance(OffsetRequests().refused(large, unknown, "there"), StoreUnavailable)
    assert OffsetRequests().refused(large, KafkaError(KafkaError.NOT_COORDINATOR), "there") is None
