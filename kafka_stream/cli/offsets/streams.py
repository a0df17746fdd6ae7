"""``offsets streams``: what is in a store."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kafka_stream.cli.offsets.rows import LESS_IMPORTANT_OF_STREAMS, STREAM_FIELDS, stream_for_people, stream_row
from kafka_stream.cli.offsets.target import StoreOptions, Target, connected
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.output import Output, print_rows

if TYPE_CHECKING:
    from kafka_stream.admin.describe import Observation
    from kafka_stream.protocols import AdministeredStore
    from kafka_stream.types import StoredPosition, TopicPartition


@takes(StoreOptions)
def streams(options: StoreOptions) -> None:
    """List every stream in the store: its topics, its owners, its lag, when it committed last.

    The lag is left out where no brokers are given.
    """
    from kafka_stream.admin.describe import described

    with connected(options) as target:
        store = target.administered()
        found = dict(_readable(store))
        observation = _observed(target, found)
        where = store.describe()
    now = datetime.now(UTC)
    streams = {name: described(positions, observation, now) for name, positions in found.items()}
    if options.output is not Output.TABLE:
        print_rows([stream_row(name, each) for name, each in streams.items()], options.output, fields=STREAM_FIELDS)
    elif not streams:
        is_in_kafka = store.capabilities.transaction == "kafka"  # brokers do not tell of what one may not see
        hidden = "; look whether this principal may DESCRIBE topics and groups" if is_in_kafka else ""
        sys.stdout.write(f"There are no streams in {where}{hidden}.\n")
    else:
        rows = [stream_for_people(name, each, now) for name, each in streams.items()]
        print_rows(rows, options.output, f"streams in {where}", less_important=LESS_IMPORTANT_OF_STREAMS)


def _readable(store: AdministeredStore) -> Iterator[tuple[str, Mapping[TopicPartition, StoredPosition]]]:
    """Each stream with what is stored for it; one that cannot be read is told of, and does not end the list."""
    from kafka_stream.errors import NotAuthorized, SchemaMismatch

    for name in store.streams():
        try:
            yield name, store.positions(name)
        except (NotAuthorized, SchemaMismatch) as error:
            sys.stderr.write(f"Stream {name!r} is left out: {error}\n")


def _observed(target: Target, found: Mapping[str, Mapping[TopicPartition, StoredPosition]]) -> Observation | None:
    from kafka_stream.admin.observation import observe

    partitions = {tp for positions in found.values() for tp in positions}
    return observe(target.cluster(), partitions) if target.has_brokers and partitions else None


__all__ = ["streams"]
