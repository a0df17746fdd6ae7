"""Every setting of a stream with its type, unit, default, variable and a sentence, for a command and for the docs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from pydantic.fields import FieldInfo

from kafka_stream.environment import PREFIX
from kafka_stream.settings import StreamSettings

_UNITS: Final = {"_s": "seconds", "_days": "days", "max_bytes_": "bytes", "max_records_": "records"}
_IN_CODE_ONLY: Final = {"prepare", "sink", "listeners", "retry", "transient_errors", "dead_letters"}

# What is taken, and the sentence; in the order in which a reader needs them.
_DESCRIPTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "name": ("text", "The stream's name, its identity in the store; a new name is a new stream."),
    "topics": ("names, ^patterns", "The topics that are read; in a variable with commas between them."),
    "kafka": (
        "mapping",
        "librdkafka's settings by its own names; each a variable of its own, with underscores for dots.",
    ),
    "store": ("URL, or a store", "Where positions are kept, and results beside them; its password is never shown."),
    "prepare": ("function", "From a batch to what sinks take: pure, may run again, and may be async."),
    "sink": ("sink, function, or list", "Where results go, in the transaction that moves the positions."),
    "executor": (
        "text, or an executor",
        "Where prepare runs: here without one, else processes:4, dask://host:8786 or spark.",
    ),
    "start": (
        "earliest, latest, a time, or offsets",
        "Where a stream begins that has no positions yet; kept from then on.",
    ),
    "assignment": (
        "group, static, or static:i/n",
        "Who reads which partitions: members of a group, or copies by a fixed rule.",
    ),
    "guarantee": (
        "exactly-once, effectively-once, or at-least-once",
        "What is promised; what sinks and store cannot hold is refused when the stream is built.",
    ),
    "group_id": ("text", "The consumer group's name; the stream's own if none is given."),
    "group_protocol": (
        "auto, classic, or consumer",
        "How a group is joined: as its members have, else by the consumer protocol (KIP-848) where brokers have it.",
    ),
    "group_instance_id": (
        "text",
        "A static member's id, such as a pod's name: a copy that is started again has its partitions back at once.",
    ),
    "max_records_per_batch": ("number", "How many records a batch may have."),
    "max_records_per_partition": ("number", "How many of them one partition may have."),
    "max_bytes_per_batch": ("number", "How large a batch may be, counted by the values of its records."),
    "target_batch_duration_s": ("number", "How long a batch should take; its size follows from what batches took."),
    "max_rate_per_partition": ("number", "How many records a second a partition may give."),
    "interval_s": (
        "number",
        "Have a batch begin so often, whatever there is; without it as soon as there is a record.",
    ),
    "on_data_loss": (
        "stop, earliest, or latest",
        "What becomes of a stream whose position the broker does not have any more.",
    ),
    "on_error": (
        "stop, or dead-letter",
        "What becomes of a record that fails itself: the stream stops, or it is set aside in the batch's transaction.",
    ),
    "dead_letters": ("DeadLetters(…)", 'How many records may be set aside, and how; with on_error="dead-letter".'),
    "retry": (
        "FixedDelay(…), ExponentialBackoff(…), FailureRate(…), or NoRetry()",
        "How often, and after which pauses, a batch is tried again while a server is away.",
    ),
    "transient_errors": ("classes of exceptions", "Which of your own errors mean that a server is away."),
    "history_days": ("number", "How long the store keeps what moved the positions; 0 records nothing."),
    "listeners": ("list", "Who is told of what happens to the stream."),
    "code_version": ("text", "What runs, as the history is to name it: a release, a commit."),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting; ``variable`` is ``None`` where only code can give it, ``default`` where it has to be given."""

    name: str
    takes: str
    unit: str | None
    default: str | None
    variable: str | None
    sentence: str


def reference() -> Sequence[Setting]:
    """All settings, in the order in which a reader needs them."""
    return [_setting(name, StreamSettings.model_fields[name]) for name in _DESCRIPTIONS]


def described() -> Sequence[str]:
    """The names of those that have a description."""
    return list(_DESCRIPTIONS)


def _setting(name: str, field: FieldInfo) -> Setting:
    takes, sentence = _DESCRIPTIONS[name]
    variable = None if name in _IN_CODE_ONLY else PREFIX + name.upper() + ("__…" if name == "kafka" else "")
    return Setting(name, takes, _unit(name), _default(field), variable, sentence)


def _unit(name: str) -> str | None:
    if name == "max_rate_per_partition":
        return "records a second"
    return next((unit for part, unit in _UNITS.items() if name.endswith(part) or name.startswith(part)), None)


def _default(field: FieldInfo) -> str | None:
    if field.is_required():
        return None
    return _shown(field.default)


def _shown(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, Enum):
        return str(value.value)
    return f"{value:,}" if isinstance(value, int) else str(value)


__all__ = ["Setting", "described", "reference"]
