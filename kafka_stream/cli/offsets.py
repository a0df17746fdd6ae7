"""``kafka-stream offsets``: what a store holds, and how far behind it is."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import typer

from kafka_stream.cli.options import AppOption, KafkaOption, NameOption, StoreOption, kafka_settings
from kafka_stream.cli.output import Output, OutputOption, print_rows

if TYPE_CHECKING:
    from kafka_stream.protocols import OffsetStore
    from kafka_stream.types import StoredPosition, TopicPartition

offsets = typer.Typer(no_args_is_help=True, help="A stream's stored offsets.")
END_OFFSETS_TIMEOUT_S = 10.0


@offsets.callback()
def _offsets() -> None:
    """A stream's stored offsets."""


@offsets.command(
    epilog="Example: kafka-stream offsets describe --store sqlite:///orders.db --stream orders "
    "--kafka bootstrap.servers=localhost:9092"
)
def describe(
    app: AppOption = None,
    store: StoreOption = None,
    stream: NameOption = None,
    kafka: KafkaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show, for each partition, the stored offset, its owner, and, where Kafka is given, how far behind it is."""
    from kafka_stream.errors import KafkaStreamError

    where, name, config = _target(app, store, stream, kafka_settings(kafka))
    try:
        positions = where.positions(name)
    finally:
        where.close()
    if not positions:
        raise KafkaStreamError(f"there is no stream {name!r} in {where.describe()}; look at the name and the store")
    ends = end_offsets(config, positions) if config else {}
    rows = [described(tp, positions[tp], ends.get(tp)) for tp in sorted(positions)]
    print_rows(rows, output, title=f"{name} in {where.describe()}")


def end_offsets(config: Mapping[str, Any], partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
    """The last stable offset of each partition; those of a topic that is gone are left out, and that is said.

    Raises:
        BrokerUnavailable, NotAuthorized.
    """
    from kafka_stream.cluster import Cluster
    from kafka_stream.errors import TopicNotFound
    from kafka_stream.protocols import OffsetAt

    quiet = logging.getLogger("kafka_stream.librdkafka")
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False  # what matters comes as an exception
    cluster = Cluster(config, quiet)
    cluster.connect(END_OFFSETS_TIMEOUT_S)
    by_topic: dict[str, list[TopicPartition]] = {}
    for partition in partitions:
        by_topic.setdefault(partition.topic, []).append(partition)
    ends: dict[TopicPartition, int] = {}
    for topic, stored in by_topic.items():
        try:
            existing = cluster.topics([topic])[topic].partitions
        except TopicNotFound:
            sys.stderr.write(f"warning: topic {topic!r} does not exist on {cluster.servers}, so its lag is unknown\n")
        else:
            ends |= cluster.offsets([tp for tp in stored if tp.partition < existing], OffsetAt.LATEST)
    return ends


def described(topic_partition: TopicPartition, stored: StoredPosition, end_offset: int | None) -> dict[str, Any]:
    """One partition as a row. ``lag`` is in offsets; it is negative if the stored offset lies beyond the end."""
    owner = stored.owner
    return {
        "topic": topic_partition.topic,
        "partition": topic_partition.partition,
        "next_offset": stored.next_offset,
        "planned_until": stored.planned_until,
        "end_offset": end_offset,
        "lag": None if end_offset is None else end_offset - stored.next_offset,
        "owner": owner.id if owner else None,
        "host": owner.host if owner else None,
        "code_version": owner.code_version if owner else None,
        "epoch": stored.owner_epoch,
        "state": f"{stored.state}: {stored.state_reason}" if stored.state_reason else str(stored.state),
        "changed_at": stored.changed_at.isoformat(timespec="seconds") if stored.changed_at else None,
    }


def _target(
    app: str | None, store: str | None, stream: str | None, kafka: dict[str, str]
) -> tuple[OffsetStore, str, dict[str, Any]]:
    """Store, stream name and librdkafka's settings: those of ``--app``, with what else is given going before them."""
    from kafka_stream.cli.loading import load_stream
    from kafka_stream.errors import ConfigurationError
    from kafka_stream.plugins import store_from_url

    config: dict[str, Any] = dict(kafka)
    if app is not None:
        found = load_stream(app)
        if isinstance(found.settings.kafka, Mapping):
            config = {**found.settings.kafka_config(), **kafka}
        return (store_from_url(store) if store else found.store), stream or found.name, config
    if store is None or stream is None:
        raise ConfigurationError("say which stream: --app MODULE:STREAM, or --store URL and --stream NAME")
    return store_from_url(store), stream, config


__all__ = ["describe", "described", "end_offsets", "offsets"]
