"""Streams that copy one topic, of each assignment and with offsets in several stores, beside bare clients.

Whatever becomes of the servers: each goes on by itself, and has every committed record once, in order, at the end.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from kazoo.client import KazooClient

from integration_tests.engine import wait_until
from integration_tests.load import BareConsumer, BareTransactions, Load, Pauses
from integration_tests.results import CommittedRecord, ResultTable
from integration_tests.running_service import RunningService, Services, wait_while_running
from integration_tests.servers import KafkaServer, PostgresDatabase, random_name
from integration_tests.service_settings import ServiceSettings

SESSIONS: Mapping[str, Any] = {"session.timeout.ms": 10_000, "heartbeat.interval.ms": 1000}
WAIT_S = 180.0


Check = Callable[[Sequence[CommittedRecord]], str | None]
"""What of these records is lost, there twice, or out of order in a copy."""


@dataclass
class Copy:
    """A stream that copies the topic, and how to find out what it has copied."""

    name: str
    settings: ServiceSettings
    service: RunningService
    check: Check

    def batches(self) -> Callable[[], int]:
        """Counts the batches that it has committed from now on. For one thread."""
        position, counted = self.service.log.stat().st_size, 0

        def count() -> int:
            nonlocal position, counted
            with self.service.log.open("rb") as log:
                log.seek(position)
                counted += log.read().count(b"batch ")
                position = log.tell()
            return counted

        return count


def _in_table(table: ResultTable) -> Check:
    def check(committed: Sequence[CommittedRecord]) -> str | None:
        findings = table.check(committed)
        if not findings.are_exactly_once:
            return str(findings)
        return "rows are out of order" if table.out_of_order() else None

    return check


def _in_topic(server: KafkaServer, topic: str) -> Check:
    def check(committed: Sequence[CommittedRecord]) -> str | None:
        copied = [(partition, json.loads(value or b"")) for partition, _, _, value in server.read_committed(topic)]
        places = [(partition, each["partition"], each["record_offset"]) for partition, each in copied]
        return _lost_or_repeated(committed, [place[1:] for place in places]) or _out_of_order(places)

    return check


def _in_znodes(address: str) -> Check:
    def check(committed: Sequence[CommittedRecord]) -> str | None:
        places = [(0, partition, offset) for partition, offset in records_in_znodes(address)]
        return _lost_or_repeated(committed, [place[1:] for place in places]) or _out_of_order(places)

    return check


def records_in_znodes(address: str) -> list[tuple[int, int]]:
    """Partition and offset of what "znode per batch" has kept, in the order in which it did."""
    client = KazooClient(address)
    client.start(WAIT_S)
    try:
        names = [name for name in client.get_children("/") if name.startswith("batch-")]
        answers = [answer.get() for answer in [client.get_async(f"/{name}") for name in names]]
        in_order = sorted(answers, key=lambda answer: answer[1].czxid)
        return [(partition, offset) for data, _ in in_order for partition, offset in json.loads(data)]
    finally:
        client.stop()
        client.close()


def _lost_or_repeated(committed: Iterable[CommittedRecord], copied: Iterable[tuple[int, int]]) -> str | None:
    wanted, found = Counter((partition, offset) for partition, offset, *_ in committed), Counter(copied)
    return None if found == wanted else f"{(wanted - found).total()} lost, {(found - wanted).total()} repeated"


def _out_of_order(places: Iterable[tuple[int, int, int]]) -> str | None:
    """Within each partition of the copy, records of one partition have to stand as they stood there."""
    latest: dict[tuple[int, int], int] = {}
    for copy, partition, offset in places:
        if offset < latest.get((copy, partition), -1):
            return f"records of partition {partition} are out of order in partition {copy} of the copy"
        latest[copy, partition] = offset
    return None


class Copies:
    """Streams of one topic, and of one coordinator if their groups are to have it."""

    def __init__(self, server: KafkaServer, services: Services, topic: str, name: Callable[[], str]) -> None:
        self.server, self.topic = server, topic
        self._services = services
        self._name = name
        self.all: list[Copy] = []

    def start_on_kafka(self, assignment: str, **options: Any) -> None:
        """One with its offsets, and its results, in Kafka."""
        target = self.server.create_topic(partitions=3)
        url = f"kafka://{options.get('bootstrap_servers', self.server.bootstrap_servers)}"
        check = _in_topic(self.server, target)
        self._start("kafka", check, url, assignment=assignment, handler="kafka sink", target=target, **options)

    def start_on_postgres(self, assignment: str, database: PostgresDatabase, **options: Any) -> None:
        """One with its offsets, and its results, in a database."""
        check = _in_table(ResultTable(database))
        self._start("postgres", check, database.url, assignment=assignment, handler="rows", **options)

    def start_on_zookeeper(self, assignment: str, address: str, **options: Any) -> None:
        """One with its offsets, and its results, in znodes; ``address`` has a chroot."""
        handler, url = "znode per batch", f"zookeeper://{address}"
        self._start("zookeeper", _in_znodes(address), url, assignment=assignment, handler=handler, **options)

    def _start(self, place: str, check: Check, store: str, **options: Any) -> None:
        defaults = {"bootstrap_servers": self.server.bootstrap_servers, "stream": self._name(), "kafka": SESSIONS}
        settings = ServiceSettings(**{**defaults, **options, "topic": self.topic, "store": store})
        name = f"{settings.assignment}, offsets in {place}"
        self.all.append(Copy(name, settings, self._services.start(settings), check))

    def counts(self) -> dict[str, Callable[[], int]]:
        """Counts of each one's batches from now on, by name."""
        return {each.name: each.batches() for each in self.all}

    def wait_until_they_go_on(self) -> None:
        """Each has committed a batch since now."""
        counts = [each.batches() for each in self.all]
        wait_while_running(lambda: all(count() for count in counts), WAIT_S, *(each.service for each in self.all))

    def wait_until_all_is_copied(self) -> None:
        """Each has copied what is in the topic, or the time is up; what is wrong then is found later."""
        wait_until(lambda: not self.wrong(), WAIT_S)

    def wrong(self) -> dict[str, str]:
        """What is lost, repeated or out of order, by stream."""
        committed = self.server.read_committed(self.topic)
        found = {each.name: each.check(committed) for each in self.all}
        return {name: wrong for name, wrong in found.items() if wrong is not None}

    def assert_exactly_once(self) -> None:
        """All is copied, every service stops in order, and nothing is lost, repeated or out of order."""
        self.wait_until_all_is_copied()
        for each in self.all:
            each.service.signal(signal.SIGTERM)
        assert [each.service.wait() for each in self.all] == [0] * len(self.all)
        assert self.wrong() == {}


@contextmanager
def under_load(copies: Copies, group: str | None = None) -> Iterator[Pauses]:
    """Records come, and bare clients are measured beside the streams, from when all have begun to the block's end.

    ``group`` is the bare consumer's. At the end every record was delivered, and is copied once.
    """
    servers = copies.server.bootstrap_servers
    with ExitStack() as stack:
        bare = stack.enter_context(BareConsumer(servers, group or random_name("bare"), copies.topic))
        bare_transactions = stack.enter_context(BareTransactions(servers, copies.server.create_topic(partitions=1)))
        load = stack.enter_context(Load(servers, copies.topic))
        copies.wait_until_they_go_on()
        counts: dict[str, Callable[[], int]] = {
            **copies.counts(),
            "bare consumer": lambda: bare.read,
            "bare producer": lambda: load.delivered,
            "bare transactions": lambda: bare_transactions.committed,
        }
        with Pauses(**counts) as pauses:
            yield pauses
            copies.wait_until_they_go_on()
    assert not load.failed
    copies.assert_exactly_once()
