"""By name, each process start is a process of its own; a right stream on real servers is one of integration_tests."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import sqlalchemy as sa

from kafka_stream.errors import ConfigurationError
from kafka_stream.testing import MemoryOffsetStore, StreamStopped, WrittenOutside, assert_exactly_once
from kafka_stream.testing.exactly_once.elsewhere import ProcessesElsewhere
from kafka_stream.testing.exactly_once.starts import starts
from kafka_stream.types import OF_EVERY_BATCH
from tests.unit.exactly_once import handlers, mailing
from tests.unit.exactly_once.handlers import ORDERS

MAILING = "tests.unit.exactly_once.mailing:stream"


def test_what_a_process_that_was_killed_wrote_outside_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, mails = f"sqlite:///{tmp_path / 'shop.db'}", tmp_path / "mails"
    mails.touch()
    engine = sa.create_engine(url)
    handlers.metadata.create_all(engine)
    engine.dispose()
    monkeypatch.setenv(mailing.MAILS, str(mails))
    with pytest.raises(WrittenOutside, match=r"orders\[0\]@0 .* its result '0' is there, although") as caught:
        assert_exactly_once(
            MAILING,
            ORDERS,
            results=lambda: mails.read_text().split(),
            expected=lambda records: [str(number) for number in range(len(records))],
            store=url,
        )
    assert "killed at after_advance of its batch 1" in caught.value.crash
    assert mails.read_text().startswith("0\n"), "it really ran"


def test_a_process_that_fails_tells_what_it_said(tmp_path: Path) -> None:
    """Its database has no tables."""
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    with pytest.raises(StreamStopped, match=r"(?s)with exit status 1:.*no such table: orders") as caught:
        assert_exactly_once(MAILING, ORDERS, results=list, expected=lambda records: [], store=url)
    assert "a process that was killed" in caught.value.crash


def test_a_store_that_no_other_process_can_have_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="cannot write into a store of this one: give store= as a URL"):
        assert_exactly_once(MAILING, ORDERS, results=list, expected=lambda records: [], store=MemoryOffsetStore())


@pytest.mark.parametrize("records", [1, 10, 200, 5_000])
def test_starts_come_to_every_point_and_are_told_by_their_seed(records: int) -> None:
    first, again = (list(starts(random.Random(7), records, 30, anywhen=True)) for _ in range(2))
    assert first == again
    assert {start.kill_at for start in first} >= set(OF_EVERY_BATCH)
    assert sum(start.kill_after_s is not None for start in first) == 15
    assert not any(start.kill_after_s for start in starts(random.Random(7), records, 30, anywhen=False))
    assert all(1 <= start.batch_records <= max(1, records // 10) for start in first)
    assert len({str(start) for start in first}) > 15
    assert ProcessesElsewhere.anywhen
