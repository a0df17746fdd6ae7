"""What commands on offsets say of the state that sinks keep: it is not rewound, or it is cleared with the reset."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kafka_stream.cli.offsets.rows import Row, tables_and_rows
from kafka_stream.cli.offsets.target import Target
from kafka_stream.cli.output import Output

if TYPE_CHECKING:
    from kafka_stream.admin.reset import Reset
    from kafka_stream.admin.reset_plan import ResetPlan


@dataclass(frozen=True, slots=True)
class StateInReset:
    """What becomes of state with a reset: ``not_rewound`` stays as it is, ``cleared`` is (or was) deleted.

    Both are rows by table. ``missing`` are tables that are not found, ``refusals`` forbid the reset.
    """

    not_rewound: Mapping[str, int] = field(default_factory=dict)
    cleared: Mapping[str, int] = field(default_factory=dict)
    missing: Sequence[str] = ()
    refusals: Sequence[str] = ()

    def row(self) -> Row:
        """For programs, beside each partition: ``table=rows``."""
        return {"not_rewound": tables_and_rows(self.not_rewound), "cleared": tables_and_rows(self.cleared)}

    def warnings(self) -> Iterator[str]:
        """What is to be known before it is done, in sentences; none where no state is kept."""
        from kafka_stream.admin.state.kept import in_words

        if self.cleared:
            yield f"state is cleared in the same transaction: {in_words(self.cleared)}"
        if self.not_rewound:
            yield f"{_not_rewound(self.not_rewound)}; --with-state-reset clears it in the same transaction"
        if self.missing:
            yield f"state is not found: {', '.join(self.missing)}; was it dropped, or is it in another schema?"


def state_in_reset(target: Target, reset: Reset, plan: ResetPlan, *, clears: bool, clears_shared: bool) -> StateInReset:
    """What a reset would do with the stream's state.

    Raises:
        ConfigurationError: state is to be cleared, and none is kept through such a store.
    """
    from kafka_stream.admin.state.kept import keeping_state, kept_state, missing_tables, table_rows
    from kafka_stream.admin.state.resetting import plan_state_reset
    from kafka_stream.errors import ConfigurationError

    if clears:
        found = plan_state_reset(keeping_state(target.store), reset, target.sinks, clears_shared=clears_shared)
        return StateInReset(cleared=found.rows, missing=missing_tables(found.kept), refusals=found.refusals)
    if clears_shared:
        raise ConfigurationError("--clear-shared-state goes with --with-state-reset")
    if not any(p.from_offset is not None and p.to_offset not in (None, p.from_offset) for p in plan.partitions):
        return StateInReset()
    kept = kept_state(target.store, target.stream)
    return StateInReset(not_rewound=table_rows(kept), missing=missing_tables(kept))


def warn_of_state(target: Target, output: Output, *, moved: str) -> None:
    """Say, where state is kept, that it is not ``moved`` with the offsets: in the plan, or beside programs' rows."""
    from kafka_stream.admin.state.kept import in_words, kept_state, table_rows

    rows = table_rows(kept_state(target.store, target.stream))
    if not rows:
        return
    said = _not_rewound(rows) if moved == "rewound" else f"state is not {moved}: {in_words(rows)}"
    say_warning(said, output)


def say_warning(sentence: str, output: Output) -> None:
    """To people: below a table, or on stderr beside what programs read."""
    if output is Output.TABLE:
        sys.stdout.write(f"! {sentence}\n")
    else:
        sys.stderr.write(f"warning: {sentence}\n")


def _not_rewound(rows: Mapping[str, int]) -> str:
    from kafka_stream.admin.state.kept import in_words

    return f"state is not rewound: {in_words(rows)}; what is read again counts twice there, what is skipped not at all"


__all__ = ["StateInReset", "say_warning", "state_in_reset", "warn_of_state"]
