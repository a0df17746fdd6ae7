"""Whether a group would take offsets: they are put into a transaction, which is aborted."""

from __future__ import annotations

from collections.abc import Sequence

from kafka_stream.errors import StoreUnavailable
from kafka_stream.offset_stores.kafka.access import Access
from kafka_stream.offset_stores.kafka.administration import moved, refuse_live_group, refuse_missing
from kafka_stream.offset_stores.kafka.fencing import producer_for
from kafka_stream.offset_stores.kafka.metadata import client_offsets
from kafka_stream.offset_stores.kafka.producer import Fenced
from kafka_stream.offset_stores.kafka.transactional_ids import of_start
from kafka_stream.protocols import Change


def rehearse(access: Access, stream: str, changes: Sequence[Change]) -> None:
    """Do what ``change`` would, but for fencing owners and the commit; see ``AdministeredStore``."""
    refuse_live_group(access, stream)
    group = access.group(stream)
    every = group.partitions_of({each.topic_partition.topic for each in changes})
    refuse_missing(access, changes, every)
    new = moved(group.stable(every), changes, access.now())
    producer = producer_for(access, of_start(stream))
    producer.begin()
    try:
        producer.send_offsets(client_offsets(new), group.nobody)
    except Fenced as error:
        raise StoreUnavailable(f"{error} at {access.where}; try again") from error
    finally:
        producer.abort()
    group.stable(list(new))  # nobody waits for them any more


__all__ = ["rehearse"]
