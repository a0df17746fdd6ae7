"""Files with offsets in PostgreSQL: an owner that is frozen in the middle of a file, with its transaction open.

What a takeover does then can be shown on a server only: it ends the frozen owner's session. The records come from a
Kafka in memory, the same in each process; files from a real one are shown with every store in ``test_pairings``.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from integration_tests.servers import PostgresDatabase
from tests.file_results import records_in, rows_in
from tests.file_service import SameKafka, Settings

TIMEOUT_S = 60


@pytest.fixture
def settings(postgres: PostgresDatabase, tmp_path: Path) -> Settings:
    return Settings(str(tmp_path / "results"), postgres.url)


@pytest.fixture
def frozen(settings: Settings, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """An owner that stands still at a system call of a write."""
    process = settings.start(FILE_SERVICE_FAULT=f"{request.param}:SIGSTOP")
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        yield process
    finally:
        process.kill()
        process.communicate(timeout=TIMEOUT_S)


@pytest.mark.parametrize("frozen", ["before_fsync:4", "before_replace:4", "after_replace:4"], indirect=True)
def test_an_owner_that_was_frozen_in_the_middle_of_a_file_leaves_every_record_once(
    settings: Settings, postgres: PostgresDatabase, frozen: subprocess.Popen[str]
) -> None:
    directory = Path(settings.directory)
    in_a_transaction = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
    )
    assert postgres.execute(in_a_transaction) == [(1,)]
    kafka = SameKafka()
    replace(settings, code="2", max_records=1_000).stream(kafka).run(until="latest")
    assert records_in(directory) == Counter(kafka.committed)
    before = rows_in(directory)

    frozen.send_signal(signal.SIGCONT)
    _, errors = frozen.communicate(timeout=TIMEOUT_S)
    assert frozen.returncode == 1
    assert "OwnershipLost" in errors
    assert rows_in(directory) == before
