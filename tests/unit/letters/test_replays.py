"""`dead-letters replay`: through a topic, after kills, and in place; a Kafka in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kafka_stream import DeadLetters
from kafka_stream.errors import NotAuthorized
from kafka_stream.testing import MemoryOffsetStore
from tests.command_line import Invoke, one_sentence
from tests.replays import AT, STREAM, FakeSender, ReplayKafka, keep, letter, origin
from tests.unit.letters.command import IN_PLACE, Run, history, rows, statuses

# ----------------------------------------------------------------------------------------------------- through a topic


def test_a_replay_sends_what_its_plan_says(run: Run, store: MemoryOffsetStore, kafka: ReplayKafka) -> None:
    planned = run("replay", "--through-topic")
    assert planned.out.endswith("Nothing was changed; add --execute to do it.\n")
    assert (kafka.records, statuses(store)) == ([], ["waiting"] * 4 + ["discarded"])
    done = run("replay", "--through-topic", "--execute")
    assert (done.status, done.out.splitlines()[-1]) == (0, "4 letter(s) were sent.")
    assert [origin(record).offset for record in kafka.records] == [3, 5, 7, 4]
    assert [(record.topic, record.partition) for record in kafka.records] == [("orders", 0)] * 3 + [("orders", 1)]
    first = kafka.records[0].payload
    assert (first.key, first.value, first.timestamp_ms) == (b"a", b'{"id": 3}', 1_700_000_000_123)
    assert first.headers[:2] == (("trace", b"\x01\xff"), ("none", None))
    told = json.loads(first.headers[2][1] or b"")
    assert {name: told[name] for name in ("topic", "partition", "offset", "attempts")} == {
        "topic": "orders",
        "partition": 0,
        "offset": 3,
        "attempts": 1,
    }
    assert statuses(store) == ["replayed"] * 4 + ["discarded"]
    assert [(e.action.kind, e.topic_partition.partition, e.records) for e in history(store)] == [
        ("replay", 0, 4),
        ("replay", 1, 4),
    ]


def test_a_replay_to_another_topic(run: Run, store: MemoryOffsetStore, kafka: ReplayKafka) -> None:
    done = run("replay", "--through-topic", "elsewhere", "--key", "b", "--execute", "--output", "json")
    assert [(row["offset"] if "offset" in row else row["first_offset"], row["to"]) for row in rows(done)] == [
        (7, "elsewhere")
    ]
    assert [(record.topic, record.partition) for record in kafka.records] == [("elsewhere", 0)]


def _keep_key_order(application: Any) -> None:
    application.stream = application.stream.replace(
        topics=["orders", "elsewhere"], on_error="dead-letter", dead_letters=DeadLetters(keep_key_order=True)
    )


def test_where_the_order_of_keys_is_kept_a_letter_is_sent_until_the_stream_has_processed_it(
    run: Run, application: Any, store: MemoryOffsetStore, kafka: ReplayKafka
) -> None:
    _keep_key_order(application)
    assert run("replay", "--through-topic", "--execute").status == 0
    assert statuses(store) == ["sent"] * 3 + ["replayed", "discarded"], "one has no key"
    assert "No letter that waits is meant" in run("discard", "--execute").out
    done = run("discard", "--status", "sent", "--key", "a", "--execute", "--yes")
    assert (done.status, done.out.splitlines()[-1]) == (0, "2 letter(s) were discarded.")
    assert statuses(store) == ["discarded", "discarded", "sent", "replayed", "discarded"]


def test_a_letter_of_a_stream_that_keeps_the_order_of_keys_goes_to_no_other_topic_of_its_own(
    run: Run, application: Any, store: MemoryOffsetStore, kafka: ReplayKafka
) -> None:
    _keep_key_order(application)
    refused = run("replay", "--through-topic", "elsewhere", "--execute")
    assert refused.status == 3
    assert "orders[0]@3 would come there in no order with later records of topic 'orders'" in refused.err
    assert kafka.records == []
    assert statuses(store) == ["waiting"] * 4 + ["discarded"]
    assert run("replay", "--through-topic", "orders", "--execute").status == 0
    assert statuses(store) == ["sent"] * 3 + ["replayed", "discarded"]


def test_in_place_a_letter_waits_for_an_earlier_one_of_its_key_that_was_not_meant(
    run: Run, application: Any, store: MemoryOffsetStore
) -> None:
    _keep_key_order(application)
    done = run("replay", "--in-place", "letters_app:stream", "--offset", "5", "--execute", "--output", "json")
    assert [(row["offset"], row["outcome"]) for row in rows(done)] == [(5, "held back")]
    assert statuses(store) == ["waiting"] * 4 + ["discarded"]


def test_who_may_not_write_the_history_replays_all_the_same(
    run: Run, store: MemoryOffsetStore, kafka: ReplayKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise NotAuthorized("permission denied for table kafka_stream_history")

    monkeypatch.setattr(store, "record", refused)
    assert run("replay", "--through-topic", "--execute").status == 0
    assert statuses(store) == ["replayed"] * 4 + ["discarded"]
    assert history(store) == []


def test_a_topic_that_there_is_not_begins_nothing(run: Run, store: MemoryOffsetStore, kafka: ReplayKafka) -> None:
    ended = run("replay", "--through-topic", "nowhere", "--execute")
    assert (ended.status, "'nowhere' does not exist" in one_sentence(ended)) == (2, True)
    assert statuses(store) == ["waiting"] * 4 + ["discarded"]


class _Killed(BaseException):
    """The process is gone."""


def _stopped(run: Run, kafka: ReplayKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay of which two of four letters were sent."""
    send = FakeSender.send

    def killed(self: FakeSender, records: Any, cursor: Any, at: Any, before_commit: Any) -> None:
        if cursor.sent > 2:
            raise _Killed
        send(self, records, cursor, at, before_commit)

    with monkeypatch.context() as patched:
        patched.setattr(FakeSender, "send", killed)
        with pytest.raises(_Killed):
            run("replay", "--through-topic", "--execute")
    assert len(kafka.records) == 2


def test_a_replay_that_was_killed_is_finished_first(
    run: Run, store: MemoryOffsetStore, kafka: ReplayKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stopped(run, kafka, monkeypatch)
    keep(store, [letter(9, partition=2)])
    assert "has begun and not ended; it is finished first" in run("replay", "--through-topic").out
    done = run("replay", "--through-topic", "--execute")
    assert (done.status, done.out.splitlines()[-1]) == (0, "5 letter(s) were sent.")
    assert "which had begun before, was finished first: 4 of its 4 letter(s) are sent" in done.err
    assert [origin(record).offset for record in kafka.records] == [3, 5, 7, 4, 9]
    assert len({entry.action.id for entry in history(store)}) == 2


def test_resume(run: Run, store: MemoryOffsetStore, kafka: ReplayKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    _stopped(run, kafka, monkeypatch)
    assert "Nothing was changed" in run("replay", "--resume").out
    assert run("replay", "--resume", "--execute").out.splitlines()[-1] == "4 letter(s) were sent."
    assert statuses(store) == ["replayed"] * 4 + ["discarded"]
    assert run("replay", "--resume", "--execute").out == "No replay is under way; nothing was changed.\n"


def test_abandon(run: Run, store: MemoryOffsetStore, kafka: ReplayKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    _stopped(run, kafka, monkeypatch)
    ended = run("replay", "--abandon", "--execute")
    assert ended.out.splitlines()[-1] == "The replay was ended: 2 letter(s) are sent, 2 wait again."
    assert statuses(store) == ["replayed"] * 2 + ["waiting"] * 2 + ["discarded"]
    assert rows(run("replay", "--abandon", "--execute", "--output", "json")) == []


def test_a_replay_that_stops_says_how_to_go_on(run: Run, store: MemoryOffsetStore, kafka: ReplayKafka) -> None:
    kafka.faults += ["", "refused"]
    kafka.faults += ["refused"] * 1_000
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("kafka_stream.admin.dead_letters.replaying.PATIENCE_S", 0.0)
        ended = run("replay", "--through-topic", "--execute")
    assert ended.status == 1
    assert one_sentence(ended) == "not this time"
    assert "is under way, and a part of it may be sent: go on with --resume, or end it with --abandon" in ended.err
    kafka.faults.clear()
    assert run("replay", "--resume", "--execute").status == 0
    assert [origin(record).offset for record in kafka.records] == [3, 5, 7, 4]


def test_a_cursor_that_was_forgotten_is_not_taken_for_nothing(
    run: Run, store: MemoryOffsetStore, kafka: ReplayKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stopped(run, kafka, monkeypatch)
    kafka.offsets.clear()
    monkeypatch.setattr(
        "kafka_stream.admin.dead_letters.replaying.FORGOTTEN_AFTER",
        AT - AT,
    )
    for way in ("--resume", "--abandon"):
        refused = run("replay", way, "--execute")
        assert refused.status == 3
        assert "Kafka may have forgotten how many of its letters were sent" in one_sentence(refused)
    refused = run("replay", "--resume", "--sent", "5", "--execute")
    assert (refused.status, "has 4 letter(s), so no more were sent" in one_sentence(refused)) == (2, True)
    assert run("replay", "--resume", "--sent", "2", "--execute").status == 0
    assert [origin(record).offset for record in kafka.records] == [3, 5, 7, 4]


# ------------------------------------------------------------------------------------------------------------ in place


def test_a_replay_in_place(invoke: Invoke, application: Any, store: MemoryOffsetStore) -> None:
    planned = invoke("dead-letters", *IN_PLACE)
    assert planned.out.endswith("Nothing was changed; add --execute to do it.\n")
    assert application.store.rows == []
    done = invoke("dead-letters", *IN_PLACE, "--execute")
    assert (done.status, done.out.splitlines()[-1]) == (0, "letters: 4 replayed")
    assert [row[1:3] for row in store.rows] == [(0, 3), (0, 5), (0, 7), (1, 4)]
    assert statuses(store) == ["replayed"] * 4 + ["discarded"]
    assert [(e.action.kind, e.topic_partition.partition, e.records) for e in history(store)] == [
        ("replay", 0, 4),
        ("replay", 1, 4),
    ]


def test_what_fails_again_stays_and_holds_its_key_back(
    invoke: Invoke, application: Any, store: MemoryOffsetStore
) -> None:
    application.broken.add(b'{"id": 3}')
    ended = invoke("dead-letters", *IN_PLACE, "--execute", "--output", "json")
    assert ended.status == 1
    assert "1 letter(s) failed again and wait" in one_sentence(ended)
    told = [(row["offset"], row["outcome"], row["error"]) for row in json.loads(ended.out)]
    assert told == [(3, "failed", "ValueError"), (5, "held back", None), (7, "replayed", None), (4, "replayed", None)]
    found = {each.id.offset: each for each in store.letters(STREAM)}
    assert (found[3].attempts, found[3].error.message) == (2, "it is still broken")
    assert (found[5].attempts, found[5].status) == (1, "waiting")
    assert [row[2] for row in store.rows] == [7, 4]
    shown = invoke("dead-letters", *IN_PLACE, "--execute")
    assert shown.out.splitlines()[-1] == "letters: 1 failed, 1 held back"


def test_in_place_waits_for_a_replay_to_a_topic(
    run: Run, invoke: Invoke, store: MemoryOffsetStore, kafka: ReplayKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stopped(run, kafka, monkeypatch)
    keep(store, [letter(9, partition=2)])
    refused = invoke("dead-letters", *IN_PLACE, "--execute")
    assert refused.status == 3
    assert "has begun and not ended; finish it first" in one_sentence(refused)
    assert store.rows == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "say how, with one of --through-topic [TOPIC], --in-place MODULE:STREAM, --resume or --abandon"),
        (["--through-topic", "--resume"], "say how, with one of"),
        (["--resume", "--abandon"], "say how, with one of"),
        (["--in-place", "other:stream"], "name two applications"),
        (["--resume", "elsewhere"], "the topic 'elsewhere' is of no use without --through-topic"),
        (["--through-topic", "no topic"], "'no topic' cannot be the name of a topic"),
        (["--through-topic", "--sent", "1"], "give --resume or --abandon"),
        (["--resume", "--key", "a"], "leave the filters out"),
        (["--abandon", "--offset", "1"], "leave the filters out"),
        (["--through-topic", "--status", "replayed"], "only letters that wait"),
        (["--through-topic", "--execute"], "this command needs the brokers"),
    ],
)
def test_a_replay_that_cannot_be_meant(arguments: list[str], sentence: str, run: Run, store: MemoryOffsetStore) -> None:
    ended = run("replay", *arguments)
    assert ended.status == 2
    assert sentence in one_sentence(ended)
    assert statuses(store) == ["waiting"] * 4 + ["discarded"]
