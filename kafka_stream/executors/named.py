"""Executors by text, for settings and the command line: ``processes:4``, ``dask://host:8786``."""

from __future__ import annotations

import re
from typing import Any

from kafka_stream.errors import ConfigurationError
from kafka_stream.protocols import Executor


def executor_of(given: Any) -> Executor:
    """The executor that a text names; one that is given already stays as it is.

    Raises:
        ConfigurationError: nothing is called so, or it cannot be made of a text.
    """
    if not isinstance(given, str):
        executor: Executor = given
        return executor
    if found := re.fullmatch(r"processes(?::(\d+))?", given):
        from kafka_stream.executors.processes import ProcessExecutor

        return ProcessExecutor(workers=int(found[1]) if found[1] else None)
    if found := re.fullmatch(r"dask(?:://([^/\s]+))?", given):
        from kafka_stream.executors.dask import DaskExecutor

        return DaskExecutor(f"tcp://{found[1]}" if found[1] else None)
    if given == "spark":
        raise ConfigurationError(
            "executor: 'spark' needs a SparkSession: give executor=SparkExecutor(spark) where the stream is built"
        )
    raise ConfigurationError(
        f"executor: {given!r} is none; give 'processes:4' (so many processes of this machine), 'dask://host:8786' or "
        "'dask' (a cluster on this machine)"
    )


__all__ = ["executor_of"]
