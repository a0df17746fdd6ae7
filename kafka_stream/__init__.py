"""Exactly-once batches from Kafka: results and offsets commit in one transaction, in a store you already run."""

__version__ = "0.1.0"
