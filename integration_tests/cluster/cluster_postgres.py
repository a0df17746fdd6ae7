"""PostgreSQL fails over to its synchronous replica: what was acknowledged is there, what was unknown is settled."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from integration_tests.copies import Copies, Copy, under_load
from integration_tests.engine import wait_until
from integration_tests.failover import AcknowledgedRows
from integration_tests.load import Pauses
from integration_tests.postgres_pair import FailoverDatabase, PostgresPair
from integration_tests.running_service import Services
from integration_tests.servers import KafkaServer, PostgresDatabase, random_name

WAIT_S = 60.0
COMMITS_THAT_WAIT = (
    "SELECT pid, query_start FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = current_database()"
)


@pytest.fixture
def databases(postgres_pair: PostgresPair) -> list[FailoverDatabase]:
    """One for each stream."""
    return [postgres_pair.create_database() for _ in range(2)]


@pytest.fixture
def copies(kafka: KafkaServer, databases: list[FailoverDatabase], services: Services) -> Iterator[Copies]:
    """Of each assignment."""
    found = Copies(kafka, services, kafka.create_topic(partitions=4), lambda: random_name("stream"))
    for assignment, database in zip(("group", "static"), databases, strict=True):
        found.start_on_postgres(assignment, database)
    yield found
    for each in found.all:
        each.service.end()


def waits(primary: PostgresDatabase) -> bool:
    """Whether a commit waits for the replica."""
    return bool(primary.execute(COMMITS_THAT_WAIT))


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_streams_go_on_with_the_promoted_replica(
    copies: Copies, postgres_pair: PostgresPair, how: str, report: Callable[[Pauses], None]
) -> None:
    with AcknowledgedRows(postgres_pair.create_database()) as rows, under_load(copies) as pauses:
        (postgres_pair.kill_primary if how == "killed" else postgres_pair.stop_primary)()
        postgres_pair.promote()
        copies.wait_until_they_go_on()
    assert rows.acknowledged
    assert rows.missing() == []
    report(pauses)


def test_commits_that_hung_in_a_frozen_primary_are_settled_on_the_promoted_replica(
    copies: Copies, databases: list[FailoverDatabase], postgres_pair: PostgresPair, report: Callable[[Pauses], None]
) -> None:
    """The primary is cut from its replica, so that nothing is acknowledged; it wakes up late, and is ended."""
    with AcknowledgedRows(postgres_pair.create_database()) as rows, under_load(copies) as pauses:
        postgres_pair.replication.pause()
        old = [postgres_pair.on(postgres_pair.primary, database.name) for database in databases]
        assert wait_until(lambda: all(map(waits, old)), WAIT_S)
        postgres_pair.pause_primary()
        postgres_pair.promote()
        postgres_pair.unpause_primary()
        assert all(map(waits, old))
        postgres_pair.kill_primary()
        copies.wait_until_they_go_on()
    assert rows.acknowledged
    assert rows.missing() == []
    report(pauses)


def test_a_commit_whose_wait_for_the_replica_is_cancelled_counts_as_unknown(
    copies: Copies, databases: list[FailoverDatabase], postgres_pair: PostgresPair
) -> None:
    """The server answers it as a success, with a warning; a promotion would take it back."""
    with under_load(copies):
        postgres_pair.replication.pause()
        for copy, database in zip(copies.all, databases, strict=True):
            cancel_a_wait(copy, postgres_pair.on(postgres_pair.primary, database.name))
        postgres_pair.replication.resume()
        copies.wait_until_they_go_on()


def cancel_a_wait(copy: Copy, primary: PostgresDatabase) -> None:
    """The stream hears of a success; it settles that, which writes, too, and so waits for the replica in its turn."""
    assert wait_until(lambda: waits(primary), WAIT_S)
    batches = copy.batches()
    (cancelled,) = primary.execute(COMMITS_THAT_WAIT)
    primary.execute("SELECT pg_cancel_backend(%s)", (cancelled[0],))
    assert wait_until(lambda: any(found != cancelled for found in primary.execute(COMMITS_THAT_WAIT)), WAIT_S)
    assert batches() == 0


def test_an_old_primary_that_comes_back_is_refused(
    copies: Copies, databases: list[FailoverDatabase], postgres_pair: PostgresPair
) -> None:
    """It takes writes still, and every client asks it first."""
    with under_load(copies):
        postgres_pair.kill_primary()
        postgres_pair.promote()
        copies.wait_until_they_go_on()
        old = [postgres_pair.on(postgres_pair.primary, database.name) for database in databases]
        new = [postgres_pair.on(postgres_pair.replica, database.name) for database in databases]
        postgres_pair.start_primary()
        before = [each.execute("SELECT count(*) FROM results") for each in old]
        for each in new:
            each.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        assert wait_until(lambda: all("StoreSuperseded" in each.service.said("retry") for each in copies.all), WAIT_S)
        assert [each.execute("SELECT count(*) FROM results") for each in old] == before
        postgres_pair.stop_primary()
        copies.wait_until_they_go_on()


def test_whoever_starts_between_two_primaries_is_led_to_the_latest_or_waits(
    kafka: KafkaServer, postgres_pair: PostgresPair, services: Services
) -> None:
    copies = Copies(kafka, services, kafka.create_topic(partitions=4), lambda: random_name("stream"))
    database = postgres_pair.create_database()
    postgres_pair.kill_primary()
    postgres_pair.promote()
    copies.start_on_postgres("static", database)
    postgres_pair.start_primary()
    (copy,) = copies.all
    copy.service.end()
    copy.service = services.start(copy.settings)
    assert wait_until(lambda: "StoreSuperseded" in copy.service.report(), WAIT_S)
    postgres_pair.stop_primary()
    with under_load(copies):
        copies.wait_until_they_go_on()


def test_a_replica_that_lagged_takes_results_and_offsets_back_together(
    copies: Copies, databases: list[FailoverDatabase], postgres_pair: PostgresPair, services: Services
) -> None:
    """Also the takeover of an owner that has come since: what is stored is an older owner's, and an older epoch."""
    with under_load(copies):
        for database in databases:
            database.execute(f'ALTER DATABASE "{database.name}" SET synchronous_commit = local')
        postgres_pair.replication.pause()
        for copy in copies.all:
            copy.service.end()
            copy.service = services.start(copy.settings)
        copies.wait_until_they_go_on()
        rows = [each.execute("SELECT count(*) FROM results") for each in databases]
        postgres_pair.kill_primary()
        postgres_pair.promote()
        assert all(
            each.execute("SELECT count(*) FROM results") < before for each, before in zip(databases, rows, strict=True)
        )
        copies.wait_until_they_go_on()
    assert all("has gone back" in copy.service.report() for copy in copies.all)


def test_a_cut_between_primary_and_replica_holds_commits_up_and_loses_none(
    copies: Copies, databases: list[FailoverDatabase], postgres_pair: PostgresPair, report: Callable[[Pauses], None]
) -> None:
    with under_load(copies) as pauses:
        postgres_pair.replication.pause()
        primaries = [postgres_pair.on(postgres_pair.primary, database.name) for database in databases]
        assert wait_until(lambda: all(map(waits, primaries)), WAIT_S)
        postgres_pair.replication.resume()
        copies.wait_until_they_go_on()
    report(pauses)
