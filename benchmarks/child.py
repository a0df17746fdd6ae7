"""One contender in a process of its own: ``python -m benchmarks.child MODULE:FUNCTION TASK``."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys

from benchmarks.measurement import Outcome, Task


def main(function: str, task: str) -> None:
    """Run it; the last line printed is its outcome."""
    module, _, name = function.partition(":")
    outcome: Outcome = getattr(importlib.import_module(module), name)(Task(**json.loads(task)))
    print(json.dumps(dataclasses.asdict(outcome)))


if __name__ == "__main__":
    main(*sys.argv[1:])
