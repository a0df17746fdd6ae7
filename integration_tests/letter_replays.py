"""A replay of dead letters as a process of its own, which kills or freezes itself at a named step: for tests of it.

python -m integration_tests.letter_replays STORE STREAM BROKERS            through the letters' own topics
python -m integration_tests.letter_replays STORE STREAM MODULE:STREAM      in place
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import closing

from kafka_stream.admin.dead_letters import InPlace, KafkaSender, Replaying, keeping_letters, new_replay, waiting
from kafka_stream.admin.dead_letters import replaying as settings
from kafka_stream.errors import KafkaStreamError
from kafka_stream.loading import load_stream
from kafka_stream.plugins import store_from_url
from kafka_stream.protocols import OffsetStore
from kafka_stream.source.client_log import CLIENT_LOG
from kafka_stream.source.cluster import Cluster

SIGNAL_AT = "KAFKA_STREAM_TEST_SIGNAL_AT"
LETTERS_PER_TRANSACTION = 4


def signalling() -> Callable[[str], None]:
    """What sends this process a signal the nth time that it comes to a step: ``KILL:after_commit:2``."""
    number, step, nth = os.environ[SIGNAL_AT].split(":")
    left = int(nth)

    def tell(reached: str) -> None:
        nonlocal left
        left -= reached == step
        if left == 0 and reached == step:
            os.kill(os.getpid(), signal.Signals[f"SIG{number}"])

    return tell


def through_topic(store: OffsetStore, stream: str, brokers: str) -> None:
    """Finish what is under way; else send all letters that wait."""
    settings.RECORDS_PER_TRANSACTION = LETTERS_PER_TRANSACTION
    kafka = {"bootstrap.servers": brokers}
    cluster = Cluster(kafka, CLIENT_LOG)
    cluster.connect(30)
    letters = keeping_letters(store)
    with closing(KafkaSender(cluster, kafka, stream)) as sender:
        work = Replaying(letters, stream, sender, tell=signalling())
        if work.resume() is None:
            work.run(new_replay(waiting(letters, stream)))


def in_place(store: OffsetStore, stream: str, application: str) -> None:
    """Process all letters that wait."""
    letters = keeping_letters(store)
    with closing(InPlace(load_stream(application), store, stream, tell=signalling())) as work:
        for _ in work.replay(waiting(letters, stream)):
            pass


def main(url: str, stream: str, where: str) -> None:
    """As the arguments say; an error is its text on stderr."""
    is_application = not where.rpartition(":")[2].isdigit()
    with closing(store_from_url(url)) as store:
        try:
            (in_place if is_application else through_topic)(store, stream, where)
        except KafkaStreamError as error:
            sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
