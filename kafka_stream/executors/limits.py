"""What every executor's limits have to be."""

from __future__ import annotations

import math

from kafka_stream.errors import ConfigurationError


def check_limits(executor: str, task_timeout_s: float, max_result_bytes: int) -> None:
    """Raise ``ConfigurationError`` for one that is none; ``executor`` is the class's name."""
    if not task_timeout_s > 0 or math.isinf(task_timeout_s):
        raise ConfigurationError(f"{executor} has task_timeout_s={task_timeout_s!r}; give a number of seconds above 0")
    if max_result_bytes < 1:
        raise ConfigurationError(f"{executor} has max_result_bytes={max_result_bytes!r}; give 1 or more")


__all__ = ["check_limits"]
