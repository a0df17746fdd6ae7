"""``offsets streams``: what is in a store."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kafka_stream.cli.offsets.rows import stream_for_people, stream_row
from kafka_stream.cli.offsets.target import StoreOptions, Target, connected
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.output import Output, print_rows

if TYPE_CHECKING:
    from kafka_stream.admin.describe import Observation
    from kafka_stream.types import StoredPosition, TopicPartition


@takes(StoreOptions)
def streams(options: StoreOptions) -> None:
    """List every stream in the store: its topics, its owners, its lag, when it committed last.

    The lag is left out where no brokers are given.
    """
    from kafka_stream.admin.describe import described

    with connected(options) as target:
        store = target.administered()
        found = {name: store.positions(name) for name in store.streams()}
        observation = _observed(target, found)
        where = store.describe()
    now = datetime.now(UTC)
    row = stream_for_people if options.output is Output.TABLE else stream_row
    rows = [row(name, described(positions, observation, now)) for name, positions in found.items()]
    if options.output is Output.TABLE and not rows:
        sys.stdout.write(f"There are no streams in {where}.\n")
    else:
        print_rows(rows, options.output, f"streams in {where}")


def _observed(target: Target, found: Mapping[str, Mapping[TopicPartition, StoredPosition]]) -> Observation | None:
    from kafka_stream.admin.observation import observe

    partitions = {tp for positions in found.values() for tp in positions}
    return observe(target.cluster(), partitions) if target.has_brokers and partitions else None


__all__ = ["streams"]
