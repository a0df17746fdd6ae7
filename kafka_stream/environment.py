"""The variables that begin with ``KAFKA_STREAM_``: which there are, and which one is meant by one that there is not."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from kafka_stream.librdkafka import meant

PREFIX = "KAFKA_STREAM_"

_OF_THE_COMMANDS = """
    ALL_TOPICS APP BY_DURATION CLEAR_SHARED_STATE EXECUTE EXPORT EXPORT_FORMAT FENCE FILE FROM FROM_FILE GROUP HTTP
    INTERVAL KAFKA_CONFIG LETTERS_ABANDON LETTERS_ERROR LETTERS_INTO LETTERS_IN_PLACE LETTERS_KEY LETTERS_NOTE
    LETTERS_OFFSET LETTERS_PARTITION LETTERS_RESUME LETTERS_SENT LETTERS_SINCE LETTERS_STATUS LETTERS_THROUGH_TOPIC
    LETTERS_TOPIC LETTERS_UNTIL LIMIT LOG_CONFIG LOG_FORMAT LOG_LEVEL NO_TIME ONCE OUTPUT SHIFT_BY STATE STUCK_AFTER TO
    TOPIC TO_CURRENT TO_DATETIME TO_EARLIEST TO_LATEST TO_OFFSET UI_TOKEN UNTIL URL WATCH WITH_STATE_RESET YES
    """
OF_THE_COMMANDS = frozenset(_OF_THE_COMMANDS.split())
"""What commands read beside a stream's settings, without the prefix."""

_OTHERS = re.compile(
    r"(TEST|DEMO|BENCH)_.*"
    # What Kubernetes and Docker set where a service has the name "kafka-stream".
    r"|SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_.*)?)?|ENV_.*"
)


def why_unknown_variable(names: Iterable[str], settings: Collection[str]) -> str | None:
    """What is wrong with the variables (or files of secrets) of these names; ``None`` if nothing is.

    ``settings`` are the names of a stream's settings. Names with another prefix are none of ours.
    """
    known = {name.upper() for name in settings} | OF_THE_COMMANDS
    for name in sorted(names):
        if not name.upper().startswith(PREFIX):
            continue
        own = name.upper().removeprefix(PREFIX)
        if own.partition("__")[0] not in known and not _OTHERS.fullmatch(own):
            every = [PREFIX + each for each in known]
            every += [PREFIX + own.replace("KAFKA_", "KAFKA__", 1)] if own.startswith("KAFKA_") else []
            return f"the variable {name} is none that there is{meant(PREFIX + own, every)}"
    return None


__all__ = ["OF_THE_COMMANDS", "PREFIX", "why_unknown_variable"]
