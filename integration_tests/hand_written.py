"""Four loops as people write them, each of which stops at its worst moment.

What each loses or repeats is in docs/comparison.md, and shown by test_hand_written.py.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

import psycopg
from confluent_kafka import Consumer, Message
from confluent_kafka import TopicPartition as ClientTopicPartition

COUNT = 10
_WAIT_S = 60.0
_SESSIONS = {"session.timeout.ms": 3_000, "heartbeat.interval.ms": 500}

Stop = Callable[[], None]


def consumer(servers: str, group: str, **settings: object) -> Consumer:
    """One that reads from the start where nothing is committed."""
    ours = {"bootstrap.servers": servers, "group.id": group, "auto.offset.reset": "earliest", **_SESSIONS}
    return Consumer({**ours, **settings})


def some(reader: Consumer) -> list[Message]:
    """The next records, as many as a loop takes at a time."""
    found: list[Message] = []
    while len(found) < COUNT and (message := reader.poll(_WAIT_S)) is not None:
        if message.error() is None:
            found.append(message)
    return found


def end_of(messages: list[Message]) -> int:
    """The offset behind them."""
    last = messages[-1].offset()
    assert last is not None
    return last + 1


def write(database: psycopg.Connection, messages: list[Message]) -> None:
    """Their offsets as rows, in the open transaction."""
    with database.cursor() as cursor:
        cursor.executemany("INSERT INTO results VALUES (%s)", [(message.offset(),) for message in messages])


def committed_by_the_client(servers: str, topic: str, database: psycopg.Connection, stop: Stop) -> None:
    """The client commits what it has handed out (``enable.auto.commit``, its default)."""
    reader = consumer(servers, topic, **{"auto.commit.interval.ms": 100})
    reader.subscribe([topic])
    messages = some(reader)
    while reader.committed([ClientTopicPartition(topic, 0)])[0].offset < end_of(messages):
        time.sleep(0.05)
    stop()
    write(database, messages)
    database.commit()


def committed_before(servers: str, topic: str, database: psycopg.Connection, stop: Stop) -> None:
    """Offsets first: nothing is written twice."""
    reader = consumer(servers, topic, **{"enable.auto.commit": False})
    reader.subscribe([topic])
    messages = some(reader)
    reader.commit(asynchronous=False)
    stop()
    write(database, messages)
    database.commit()


def committed_after(servers: str, topic: str, database: psycopg.Connection, stop: Stop) -> None:
    """Rows first: nothing is lost."""
    reader = consumer(servers, topic, **{"enable.auto.commit": False})
    reader.subscribe([topic])
    write(database, some(reader))
    database.commit()
    stop()
    reader.commit(asynchronous=False)


def in_one_transaction(servers: str, topic: str, database: psycopg.Connection, stop: Stop) -> None:
    """The offset beside the rows, in their transaction; of whom the partition is, nobody asks."""
    row = database.execute("SELECT next_offset FROM positions").fetchone()
    assert row is not None
    reader = consumer(servers, topic)
    reader.assign([ClientTopicPartition(topic, 0, row[0])])
    messages = some(reader)
    stop()
    write(database, messages)
    database.execute("UPDATE positions SET next_offset = %s", (end_of(messages),))
    database.commit()


_LOOPS = (committed_by_the_client, committed_before, committed_after, in_one_transaction)
LOOPS = {each.__name__: each for each in _LOOPS}


def main(loop: str, servers: str, topic: str, database: str, how: str) -> None:
    """One turn of a loop; ``how`` it stops: ``kill``, ``freeze``, or ``go-on``."""
    number = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP}.get(how)

    def stop() -> None:
        if number is not None:
            os.kill(os.getpid(), number)

    with psycopg.connect(database) as connection:
        LOOPS[loop](servers, topic, connection, stop)


if __name__ == "__main__":
    main(*sys.argv[1:])


__all__ = ["COUNT", "LOOPS"]
