"""Processes of an owner, on PostgreSQL or MariaDB, that freeze inside the transaction of a batch."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import make_url, text

from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.testing.store_backend import NEWER, P0, P1, STREAM, claim_of, next_offsets
from tests.sql_backend import SqlBackend, write

ROOT = Path(__file__).parents[1]
WAIT_S = 60.0

_FROZEN = """
import os, signal, sys, threading
from sqlalchemy import create_engine, text
from kafka_stream.testing.store_backend import OLDER, P0, P1, STREAM, claim_of
from kafka_stream.offset_stores.sql import SqlOffsetStore
from tests.sql_backend import write

def freeze():
    os.kill(os.getpid(), signal.SIGSTOP)

def freeze_in_the_insert():
    with create_engine(sys.argv[1], isolation_level="AUTOCOMMIT").connect() as looking:
        while looking.execute(text(sys.argv[3])).scalar_one() == 0:
            pass
    freeze()

store = SqlOffsetStore(sys.argv[1])
store.open()
claim = claim_of(OLDER, {P0: (0, 5)}, store.take_over(STREAM, OLDER, [P0, P1], {}))
try:
    with store.begin(claim) as transaction:
        connection = transaction.connection
        match sys.argv[2]:
            case "after the claim":
                freeze()
            case "mid-INSERT":  # the server is at work on it while this process is frozen
                write(connection, 1)
                threading.Thread(target=freeze_in_the_insert, daemon=True).start()
                connection.execute(text(sys.argv[4]))
            case "mid-COPY":
                with connection.connection.driver_connection.cursor().copy("COPY results (value) FROM STDIN") as copy:
                    for number in range(100_000):
                        copy.write_row((number,))
                    freeze()
            case "after the advance":
                write(connection, 1)
                transaction.advance()
                freeze()
        if sys.argv[2] != "after the advance":
            transaction.advance()
        transaction.commit()
except Exception as error:
    print(type(store.classify(error) or error).__name__, flush=True)
else:
    print("committed", flush=True)
os._exit(0)
"""

_SLOW_INSERT = {
    "postgresql": (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'",
        "INSERT INTO results (value) SELECT n FROM generate_series(1, 9) n, pg_sleep(600)",
    ),
    "mysql": (
        "SELECT count(*) FROM information_schema.processlist WHERE db = database() AND state = 'User sleep'",
        "INSERT INTO results (value) SELECT sleep(600)",
    ),
}
"""How many sessions are at work on it, and the statement."""


@contextlib.contextmanager
def frozen_owners(url: str) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """A function that starts one, and waits until it is frozen where it was told to be."""
    started: list[subprocess.Popen[str]] = []

    def start(where: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _FROZEN, url, where, *_SLOW_INSERT[make_url(url).get_backend_name()]]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        started.append(process)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        return process

    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.communicate()


def take_over_past(
    zombie: subprocess.Popen[str], store: SqlOffsetStore, backend: SqlBackend, *before_writing: str
) -> None:
    """A successor takes over and commits a batch; what was frozen wakes up then, and has nothing to say any more."""
    taken = store.take_over(STREAM, NEWER, [P0, P1], {})
    assert (taken[P0].next_offset, taken[P0].planned_until, taken[P0].owner) == (0, None, NEWER)
    with store.begin(claim_of(NEWER, {P0: (0, 3)}, taken)) as transaction:
        for statement in before_writing:
            transaction.connection.execute(text(statement))
        write(transaction.connection, 7)
        transaction.advance()
        transaction.commit()
    os.kill(zombie.pid, signal.SIGCONT)
    output, _ = zombie.communicate(timeout=WAIT_S)
    assert output in {"StoreUnavailable\n", "CommitOutcomeUnknown\n"}
    assert backend.results() == [7]
    assert next_offsets(store) == {P0: 3, P1: 0}


__all__ = ["frozen_owners", "take_over_past"]
