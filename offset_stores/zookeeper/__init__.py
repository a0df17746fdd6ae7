"""Positions in ZooKeeper: a znode per partition, committed together with a batch's own znodes."""

from kafka_stream.offset_stores.zookeeper.store import ZooKeeperOffsetStore
from kafka_stream.offset_stores.zookeeper.transaction import ZooKeeperTransaction

__all__ = ["ZooKeeperOffsetStore", "ZooKeeperTransaction"]
