"""Executors by text, for settings and the command line: ``processes:4``, ``dask://host:8786``, ``spark``."""

from __future__ import annotations

import re
from typing import Any

from kafka_stream.errors import ConfigurationError
from kafka_stream.protocols import Executor


def executor_of(given: Any) -> Executor:
    """The executor that a text names; one that is given already stays as it is.

    Raises:
        ConfigurationError: nothing is called so, or what it needs is not installed.
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
        from kafka_stream.executors.spark import SparkExecutor

        return SparkExecutor.of_this_process()
    raise ConfigurationError(
        f"executor: {given!r} is none; give 'processes:4' (so many processes of this machine), 'dask://host:8786', "
        "'dask' (a cluster on this machine) or 'spark' (the session that there is, or that spark-submit says)"
    )


__all__ = ["executor_of"]
