"""A process that answers ``/status`` over HTTP, looked at again and again from elsewhere."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Any

from kafka_stream.errors import ConfigurationError, KafkaStreamError, ProcessingError, TransientError
from kafka_stream.observe.page.model import PageView, StreamView
from kafka_stream.observe.page.of_status import stream_view
from kafka_stream.observe.page.watching import StreamWatch
from kafka_stream.progress import StreamState, StreamStatus
from kafka_stream.types import Guarantee, Owner, TopicPartition

_ANSWERS_S = 10.0


class NoAnswer(TransientError):
    """Nothing answers there, or something that is no kafka-stream."""


class ProcessLooks:
    """What a process says of its streams; its last hour is what was seen of it from here."""

    def __init__(self, url: str) -> None:
        """Of the process at ``url``.

        Raises:
            ConfigurationError: it is no URL of HTTP.
        """
        if not url.lower().startswith(("http://", "https://")):
            raise ConfigurationError(f"--url: {url!r} does not begin with http:// or https://")
        self.url = url.removesuffix("/").removesuffix("/status")
        self._watches: dict[str, StreamWatch] = {}

    def look(self) -> PageView:
        """Ask it.

        Raises:
            NoAnswer.
        """
        try:
            with urllib.request.urlopen(f"{self.url}/status", timeout=_ANSWERS_S) as answer:  # noqa: S310 - see __init__
                streams = json.load(answer)["streams"]
            now = datetime.now(UTC)
            views = tuple(self._view(each, now) for each in streams)
        except OSError as error:
            raise NoAnswer(f"{self.url}/status does not answer: {_why(error)}") from error
        except (HTTPException, LookupError, TypeError, ValueError) as error:
            raise NoAnswer(f"what answers at {self.url}/status is no status of kafka-stream's") from error
        return PageView(self.url, now, views)

    def _view(self, told: Mapping[str, Any], now: datetime) -> StreamView:
        name, status = str(told["stream"]), status_of(told, now)
        watch = self._watches.setdefault(name, StreamWatch())
        watch.look(status)
        return stream_view(name, status, watch, now)


def _why(error: OSError) -> str:
    reason = getattr(error, "reason", error)
    return getattr(reason, "strerror", None) or str(reason)


def status_of(told: Mapping[str, Any], now: datetime) -> StreamStatus:
    """The status that ``health.report`` has made this of; an error is one of the same name.

    Raises:
        LookupError, TypeError, ValueError: it was made of none.
    """
    owner, in_hand_s, guarantee = told["owner"], told["batch_in_hand_s"], told["guarantee"]
    partitions = {TopicPartition(each["topic"], each["partition"]): each for each in told["partitions"]}
    return StreamStatus(
        StreamState(told["state"]),
        owner and Owner(owner["id"], owner["host"], owner["code_version"]),
        guarantee and Guarantee(guarantee),
        {tp: each["next_offset"] for tp, each in partitions.items()},
        {tp: each["lag"] for tp, each in partitions.items()},
        {tp: at for tp, each in partitions.items() if (at := _moment(each["pinned_since"])) is not None},
        batches=told["batches"],
        records=told["records"],
        dead_letters=told["dead_letters"],
        duplicates=told["duplicates"],
        batch_started_at=None if in_hand_s is None else now - timedelta(seconds=in_hand_s),
        committed_at=_moment(told["committed_at"]),
        error=_error(told["error"]),
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _error(told: Mapping[str, Any] | None) -> KafkaStreamError | None:
    if told is None:
        return None
    kind, message = str(told["type"]), told["message"]
    base = ProcessingError if message is None else KafkaStreamError
    made: KafkaStreamError = type(kind, (base,), {})(message or "")
    return made


__all__ = ["NoAnswer", "ProcessLooks", "status_of"]
