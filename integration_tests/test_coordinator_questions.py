"""Questions to a group's coordinator that nobody answers in time, from clients that live on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from integration_tests.coordinator_questions import DONE
from integration_tests.servers import KafkaServer

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 120.0


def test_a_coordinator_that_is_found_when_nobody_waits_for_it_any_more_ends_no_process(kafka: KafkaServer) -> None:
    """Librdkafka (2.16) ends it by an assertion if it has given the question up by itself (issue 4605)."""
    command = [sys.executable, "-m", "integration_tests.coordinator_questions", kafka.bootstrap_servers]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert (done.returncode, done.stdout.split("\n")[0]) == (0, DONE), done.stderr
