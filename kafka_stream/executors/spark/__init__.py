"""``prepare`` on a Spark cluster: a batch is a DataFrame that reads exactly its ranges."""

from __future__ import annotations

from kafka_stream.executors.spark.executor import SparkExecutor

__all__ = ["SparkExecutor"]
