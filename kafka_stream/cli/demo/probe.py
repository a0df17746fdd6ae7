"""Inside a service: tells the demo what the service does, and holds it still at a named point when asked.

Lines of JSON go out on stdout; on stdin comes the name of a phase to hold at. A held service waits for its kill -9 in
the middle of its transaction. When the demo itself dies, stdin ends, and so does the service.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from kafka_stream.cli.exit_status import ExitStatus, report
from kafka_stream.progress import StreamListener
from kafka_stream.types import Guarantee, OffsetRange, Owner, Phase, TopicPartition

if TYPE_CHECKING:
    from kafka_stream.stream import DirectStream


class Probe(StreamListener):
    """A listener that reports to the demo."""

    def __init__(self, orders: Iterable[str] | None = None, reports: TextIO | None = None) -> None:
        self._orders = orders or sys.stdin
        self._reports = reports or sys.stdout
        self._hold_at: Phase | None = None
        threading.Thread(target=self._listen, name="probe", daemon=True).start()

    def on_start(self, stream: str, owner: Owner, guarantee: Guarantee) -> None:
        """The service runs."""
        self._report("started", guarantee=guarantee)

    def on_positions(self, positions: Mapping[TopicPartition, int]) -> None:
        """It has read its positions from the store."""
        self._report("positions", positions={tp.partition: offset for tp, offset in positions.items()})

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        """A batch has come to a point: perhaps the one to be held at."""
        records = sum(map(len, ranges))
        held = phase is self._hold_at and records > 0
        self._report("phase", phase=phase, records=records, held=held)
        if held:
            threading.Event().wait()

    def on_stop(self, error: BaseException | None) -> None:
        """The service ends."""
        self._report("stopped", error=None if error is None else type(error).__name__)

    def _report(self, event: str, **facts: Any) -> None:
        print(json.dumps({"event": event, **facts}), file=self._reports, flush=True)

    def _listen(self) -> None:
        for line in self._orders:
            self._hold_at = Phase(line.strip())
        os._exit(ExitStatus.FAILED)  # the demo is gone; nobody is left to kill or stop this process


def leave_with(stream: DirectStream) -> NoReturn:
    """Run a stream and leave with the exit status that ``kafka-stream run`` would leave with."""
    try:
        stream.run()
    except Exception as error:  # noqa: BLE001 - reported on stderr, and by the exit status
        sys.exit(report(error))
    sys.exit(ExitStatus.DONE)


__all__ = ["Probe", "leave_with"]
