"""The commands on dead letters, on a store in memory: what they change, what they refuse, and how each ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kafka_stream.protocols import Payload
from kafka_stream.testing import MemoryOffsetStore
from tests.command_line import one_sentence
from tests.replays import STREAM, ReplayKafka, letter
from tests.unit.letters.command import IN_PLACE, Run, history, rows, statuses

# ------------------------------------------------------------------------------------------------------------ looking


@pytest.mark.parametrize(
    ("arguments", "offsets"),
    [
        ([], [3, 5, 7, 4, 6]),
        (["--partition", "0"], [3, 5, 7]),
        (["--topic", "elsewhere"], []),
        (["--offset", "4", "--offset", "7"], [7, 4]),
        (["--key", "a"], [3, 5]),
        (["--key", "0x61"], [3, 5]),
        (["--error", "JSONDecodeError"], [5]),
        (["--error", "app.BadOrder", "--key", "a"], [3]),
        (["--status", "waiting", "--partition", "2"], []),
        (["--status", "waiting", "--status", "discarded", "--partition", "2"], [6]),
        (["--since", "2026-03-01T12:00:01"], []),
        (["--until", "2026-03-01T14:00:01+02:00"], [3, 5, 7, 4, 6]),
        (["--since", "P9999D", "--until", "PT1S"], [3, 5, 7, 4, 6]),
    ],
)
def test_filters(arguments: list[str], offsets: list[int], run: Run, store: MemoryOffsetStore) -> None:
    assert [row["offset"] for row in rows(run("list", *arguments, "--output", "json"))] == offsets
    counted = rows(run("stats", *arguments, "--output", "json"))
    assert sum(row["letters"] for row in counted) == len(offsets)
    exported = run("export", *arguments).out.splitlines()
    assert [json.loads(line)["offset"] for line in exported] == offsets


def test_a_list_says_that_there_are_more(run: Run, store: MemoryOffsetStore) -> None:
    ended = run("list", "--limit", "2", "--output", "json")
    assert len(rows(ended)) == 2
    assert ended.err == "warning: there are more than these 2; raise --limit, or filter\n"
    assert run("list", "--limit", "5").err == ""


@pytest.mark.parametrize("command", ["list", "show", "stats"])
def test_no_letters_are_no_mistake(command: str, run: Run, application: Any) -> None:
    ended = run(command)
    assert (ended.status, ended.out) == (0, "There are no such dead letters.\n")
    assert rows(run(command, "--output", "json")) == []
    assert run(command, "--output", "csv").out.startswith("stream,topic" if command == "show" else "topic,partition")


def test_show_is_whole(run: Run, store: MemoryOffsetStore) -> None:
    (shown,) = rows(run("show", "--offset", "3", "--output", "json"))
    assert shown["value"] == '{"id": 3}'
    assert shown["headers"] == [["trace", {"base64": "Af8="}], ["none", None]]
    assert shown["traceback"].endswith("app.BadOrder: no price")
    assert '      "id": 3\n' in run("show", "--offset", "3").out


def test_export_into_a_new_file(run: Run, store: MemoryOffsetStore, tmp_path: Path) -> None:
    ended = run("export", "letters.jsonl")
    assert (ended.status, ended.out) == (0, "")
    assert ended.err == "5 dead letter(s) of stream 'orders' were exported.\n"
    assert len((tmp_path / "letters.jsonl").read_text().splitlines()) == 5
    again = run("export", "letters.jsonl")
    assert (again.status, one_sentence(again)) == (2, "FILE 'letters.jsonl' cannot be written: File exists")


def test_an_export_holds_one_letter_at_a_time(
    run: Run, application: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written: list[int] = []

    def many(*_: Any, **__: Any) -> Any:
        for offset in range(3):
            written.append((tmp_path / "out").stat().st_size)
            yield replace(letter(offset), payload=Payload(b"k", b"v" * 200_000))

    monkeypatch.setattr(application.store, "letters", many)
    assert run("export", "out").status == 0
    assert written[0] == 0
    assert written[2] > 200_000


# ---------------------------------------------------------------------------------------------------------- discarding


def test_a_discard_prints_its_plan_and_changes_nothing_unless_it_is_executed(
    run: Run, store: MemoryOffsetStore
) -> None:
    before = list(store.letters(STREAM))
    planned = run("discard", "--key", "a")
    assert planned.out.endswith("Nothing was changed; add --execute to do it.\n")
    assert list(store.letters(STREAM)) == before
    done = run("discard", "--key", "a", "--note", "test data", "--execute")
    assert (done.status, done.out.splitlines()[-1]) == (0, "2 letter(s) were discarded.")
    found = {each.id.offset: each for each in store.letters(STREAM)}
    assert [found[offset].status for offset in (3, 5, 7)] == ["discarded", "discarded", "waiting"]
    assert [found[offset].note for offset in (3, 5, 7)] == ["test data", "test data", None]
    (entry,) = history(store)
    assert (entry.action.kind, entry.from_offset, entry.until_offset, entry.records) == ("discard", 3, 6, 2)


def test_what_does_not_wait_is_not_discarded(run: Run, store: MemoryOffsetStore) -> None:
    ended = run("discard", "--partition", "2", "--execute")
    assert (ended.status, ended.out) == (0, "No letter that waits is meant; nothing was changed.\n")
    refused = run("discard", "--status", "discarded", "--execute")
    assert refused.status == 2
    assert "only letters that wait can be replayed or discarded" in one_sentence(refused)
    assert history(store) == []


def test_rows_of_discards(run: Run, store: MemoryOffsetStore) -> None:
    planned = run("discard", "--output", "json")
    done = run("discard", "--execute", "--output", "json")
    assert rows(planned) == rows(done)
    assert [(row["partition"], row["letters"], row["first_offset"], row["last_offset"]) for row in rows(done)] == [
        (0, 3, 3, 7),
        (1, 1, 4, 4),
    ]
    assert run("discard", "--output", "csv").out == "topic,partition,letters,first_offset,last_offset\n"


# -------------------------------------------------------------------------------------------------- what can be wrong


@pytest.mark.parametrize("command", ["list", "show", "stats", "export", "discard"])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--topic", "no topic"], "--topic: 'no topic' cannot be the name of a topic"),
        (["--topic", ""], "--topic: '' cannot be the name of a topic"),
        (["--key", "0xabc"], "the key '0xabc' begins with 0x, and what follows is not hexadecimal"),
        (["--status", "dead"], "--status 'dead' is none of waiting, replaying, sent, replayed, discarded"),
        (["--since", "yesterday"], "'yesterday' is no ISO 8601 time"),
        (["--until", "P1Y"], "'P1Y' is no ISO 8601 duration"),
        (["--since", "P99999999D"], "reaches beyond all calendars"),
        (["--since", "PT1H", "--until", "PT2H"], "--since PT1H is not before --until PT2H"),
    ],
)
def test_a_filter_that_cannot_be_read(
    command: str, arguments: list[str], sentence: str, run: Run, store: MemoryOffsetStore
) -> None:
    ended = run(command, *arguments)
    assert ended.status == 2
    assert sentence in one_sentence(ended)


@pytest.mark.parametrize(
    "arguments", [["--partition", "-1"], ["--offset", "x"], ["--offset", str(2**63)], ["--limit", "0"]]
)
def test_a_number_that_is_none_is_usage(arguments: list[str], run: Run, store: MemoryOffsetStore) -> None:
    assert run("list", *arguments).status == 2


@pytest.mark.parametrize("command", ["list", "show", "stats", "export", "discard", "replay"])
def test_a_store_that_keeps_no_letters(
    command: str, run: Run, application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application.stream, "_store", application.Bare())
    ended = run(command, *(["--through-topic"] if command == "replay" else []))
    assert ended.status == 2
    assert "memory is a store that keeps no dead letters" in one_sentence(ended)


@pytest.mark.parametrize("command", ["list", "show", "stats", "export", "discard"])
def test_a_missing_stream(command: str, run: Run, store: MemoryOffsetStore) -> None:
    ended = run(command, "--stream", "order")
    assert ended.status == 1
    assert one_sentence(ended) == "there is no stream 'order' in memory; look at the name and the store"


@pytest.mark.parametrize("command", [["discard"], ["replay", "--through-topic"], IN_PLACE])
def test_somebody_at_a_terminal_may_say_no(
    command: Sequence[str], run: Run, store: MemoryOffsetStore, kafka: ReplayKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(question: str, **_: Any) -> bool:
        asked.append(question)
        return False

    monkeypatch.setattr("typer.confirm", answer)
    monkeypatch.setattr("kafka_stream.cli.offsets.confirmation.is_watched", lambda: True)
    ended = run(*command, "--execute")
    assert (ended.status, one_sentence(ended)) == (1, "it was not confirmed, so nothing was changed")
    assert len(asked) == 1
    assert statuses(store) == ["waiting"] * 4 + ["discarded"]
