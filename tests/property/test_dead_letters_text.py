"""What is written of letters can be read back, and filters mean what they say."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kafka_stream.admin.dead_letters.export import EXPORT_FIELDS, to_json_line
from kafka_stream.admin.dead_letters.pretty import pretty_json
from kafka_stream.admin.dead_letters.selection import by_partition, read_letters, waiting
from kafka_stream.admin.dead_letters.words import hex_dump, is_plain, key_text, parse_key, printable
from kafka_stream.cli.dead_letters.selection import Filters, wanted
from kafka_stream.errors import CommandRefused
from kafka_stream.protocols import DeadLetter, LetterError, LetterId, LetterStatus, Payload
from kafka_stream.testing import MemoryOffsetStore
from tests.replays import AT, STREAM, keep

NOW = AT + timedelta(hours=10)
some_bytes = st.binary(max_size=20) | st.text(max_size=8).map(str.encode) | st.sampled_from([b"0x00", b"", b"a"])
times = st.integers(-20, 20).map(lambda minutes: AT + timedelta(minutes=minutes, microseconds=minutes))
letters = st.builds(
    DeadLetter,
    stream=st.just(STREAM),
    id=st.builds(LetterId, st.sampled_from(["orders", "rates"]), st.just(""), st.integers(0, 2), st.integers(0, 4)),
    payload=st.builds(
        Payload,
        st.none() | some_bytes,
        st.none() | some_bytes,
        st.lists(st.tuples(st.text(max_size=5), st.none() | some_bytes), max_size=3).map(tuple),
        st.none() | st.integers(0, 2**62),
    ),
    error=st.builds(LetterError, st.sampled_from(["app.BadOrder", "KeyError", "after another"]), st.text(), st.text()),
    code_version=st.none() | st.text(),
    first_failed_at=times,
    last_failed_at=times,
    attempts=st.integers(1, 9),
    status=st.sampled_from(LetterStatus),
    note=st.none() | st.text(),
    changed_at=st.none() | times,
)
several = st.lists(letters, max_size=12, unique_by=lambda letter: letter.id)


def stored(*kept: DeadLetter) -> MemoryOffsetStore:
    store = MemoryOffsetStore()
    keep(store, kept)
    return store


@given(some_bytes)
@example(b"0x")
@example(b"\n")
def test_a_key_is_found_by_what_is_shown_of_it(key: bytes) -> None:
    shown = key_text(key)
    assert shown is not None
    assert shown.isprintable()
    assert parse_key(shown) == key


def _read(value: Any) -> bytes | None:
    if isinstance(value, dict):
        return base64.b64decode(value["base64"])
    return None if value is None else str(value).encode()


@given(letters)
def test_an_export_has_everything(letter: DeadLetter) -> None:
    line = to_json_line(letter)
    assert line.endswith("\n")
    assert "\n" not in line[:-1]
    told = json.loads(line)
    assert tuple(told) == EXPORT_FIELDS
    headers = tuple((name, _read(value)) for name, value in told["headers"])
    changed_at = told["changed_at"]
    assert letter == DeadLetter(
        told["stream"],
        LetterId(told["topic"], told["topic_id"] or "", told["partition"], told["offset"]),
        Payload(_read(told["key"]), _read(told["value"]), headers, told["timestamp_ms"]),
        LetterError(told["error"], told["message"], told["traceback"]),
        told["code_version"],
        datetime.fromisoformat(told["first_failed_at"]),
        datetime.fromisoformat(told["last_failed_at"]),
        told["attempts"],
        LetterStatus(told["status"]),
        told["note"],
        changed_at and datetime.fromisoformat(changed_at),
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(st.lists(json_values, max_size=3) | st.dictionaries(st.text(), json_values, max_size=3), st.booleans())
def test_pretty_json_is_the_same_json(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    pretty = pretty_json(text)
    assert pretty == json.dumps(value, ensure_ascii=ascii_only, indent=2)


@pytest.mark.parametrize("text", ["", "7", '"a"', "{", "[1,]", "null", "[" * 100_000, "{'a': 1}"])
def test_what_is_no_json_is_left_alone(text: str) -> None:
    assert pretty_json(text) is None


def test_pretty_json_changes_no_number_and_loses_no_name() -> None:
    assert pretty_json('{"a": 1.10, "a": 1E400}') == '{\n  "a": 1.10,\n  "a": 1E400\n}'


@given(st.text())
def test_what_is_printed_holds_no_command(text: str) -> None:
    assert is_plain(printable(text))


@given(st.binary(max_size=100))
def test_a_dump_has_every_byte(data: bytes) -> None:
    lines = list(hex_dump(data))
    assert bytes.fromhex("".join(re.sub(r"\s", "", line[10:58]) for line in lines)) == data
    assert all(len(line) <= 78 for line in lines)


def _is_meant(letter: DeadLetter, given_: dict[str, Any]) -> bool:
    """The filters in the words of the manual."""
    name = letter.error.type
    return (
        ("topic" not in given_ or letter.id.topic == given_["topic"])
        and ("partition" not in given_ or letter.id.partition == given_["partition"])
        and ("offset" not in given_ or letter.id.offset in given_["offset"])
        and ("key" not in given_ or (letter.payload.key is not None and key_text(letter.payload.key) == given_["key"]))
        and ("error" not in given_ or given_["error"] in {name, name.split(".")[-1]})
        and ("status" not in given_ or letter.status in given_["status"])
        and ("since" not in given_ or letter.first_failed_at >= datetime.fromisoformat(given_["since"]))
        and ("until" not in given_ or letter.first_failed_at < NOW - timedelta(seconds=int(given_["until"][2:-1])))
    )


filters = st.fixed_dictionaries(
    {},
    optional={
        "topic": st.sampled_from(["orders", "rates", "elsewhere"]),
        "partition": st.integers(0, 3),
        "offset": st.lists(st.integers(0, 5), min_size=1, max_size=3),
        "key": some_bytes.map(lambda key: str(key_text(key))),
        "error": st.sampled_from(["app.BadOrder", "BadOrder", "KeyError", "after another", "app"]),
        "status": st.lists(st.sampled_from(LetterStatus).map(str), min_size=1, max_size=2),
        "since": times.map(lambda at: at.astimezone(UTC).isoformat()),
        "until": st.integers(35_000, 37_000).map(lambda seconds: f"PT{seconds}S"),
    },
)


@given(several, filters)
def test_filters_mean_what_they_say(kept: list[DeadLetter], given_: dict[str, Any]) -> None:
    store = stored(*kept)
    known = {letter.id: letter for letter in store.letters(STREAM)}
    since, until = given_.get("since"), given_.get("until")
    if since and until and datetime.fromisoformat(since) >= NOW - timedelta(seconds=int(until[2:-1])):
        del given_["since"]
    meant = [known[one] for one in sorted(known) if _is_meant(known[one], given_)]
    found = wanted(Filters(**given_), NOW)
    assert [letter for letter in known.values() if found.includes(letter)] == meant
    assert list(store.letters(STREAM, found)) == meant


@given(several, st.integers(1, 4))
def test_letters_are_read_again_as_they_were_chosen(kept: list[DeadLetter], at_once: int) -> None:
    store = stored(*kept)
    ids = waiting(store, STREAM)
    assert [letter.id for letter in read_letters(store, STREAM, ids, at_once)] == list(ids)
    assert sum(each.letters for each in by_partition(ids)) == len(ids)
    with pytest.raises(CommandRefused, match="is not in memory any more"):
        list(read_letters(store, STREAM, [*ids, LetterId("gone", "", 0, 1)], at_once))
