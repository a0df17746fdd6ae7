"""Where `prepare` runs beside the stream's own process: workers that read their ranges from Kafka, and compute."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kafka_stream.executors.dask import DaskExecutor
    from kafka_stream.executors.processes import ProcessExecutor
    from kafka_stream.executors.spark import SparkExecutor

_MODULES = {"DaskExecutor": "dask", "ProcessExecutor": "processes", "SparkExecutor": "spark"}


def __getattr__(name: str) -> Any:
    """An executor is imported when it is asked for: who has none pays for none."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


__all__ = ["DaskExecutor", "ProcessExecutor", "SparkExecutor"]
