"""A Chromium without a window, driven by its own protocol over a pipe."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

ANSWERS_S = 60.0


class BrowserError(Exception):
    """The browser has refused something, or ended."""


@dataclass
class Shown:
    """What came of opening a page: what was asked for, and what the browser complained of."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


class Chromium:
    """One browser with one tab; it ends with the ``with`` block."""

    def __init__(self, program: Path, profile: Path) -> None:
        low_in, self._out = os.pipe()
        self._in, low_out = os.pipe()
        # Where none is one of the two that the browser takes, the shell can move them there in any order.
        theirs_in, theirs_out = (fcntl.fcntl(low, fcntl.F_DUPFD, 10) for low in (low_in, low_out))
        options = [
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"),
            *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
            *("--force-color-profile=srgb", "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"),
        ]
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}', str(program), *options],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in (low_in, low_out, theirs_in, theirs_out):
            os.close(number)
        self._read = bytearray()
        self._asked = 0
        self._session: str | None = None
        self._events: list[Mapping[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol, and its answer."""
        self._asked += 1
        message = {"id": self._asked, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") != self._asked:
                self._events.append(found)
            elif "error" in found:
                raise BrowserError(f"{method}: {found['error']}")
            else:
                result: dict[str, Any] = found["result"]
                return result

    def _next(self) -> Mapping[str, Any]:
        while b"\0" not in self._read:
            if not select.select([self._in], [], [], ANSWERS_S)[0]:
                raise BrowserError(f"the browser has said nothing for {ANSWERS_S:g} s")
            part = os.read(self._in, 1 << 20)
            if not part:
                raise BrowserError("the browser has ended")
            self._read += part
        message, _, rest = bytes(self._read).partition(b"\0")
        self._read = bytearray(rest)
        found: Mapping[str, Any] = json.loads(message)
        return found

    def looks(self, width: int, *, dark: bool = False, height: int = 900, scripts: bool = False) -> None:
        """How wide its window is, and what its user prefers; pages run no scripts unless they may."""
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Emulation.setScriptExecutionDisabled", value=not scripts)

    def open(self, url: str) -> Shown:
        """Go there, and wait until everything is there."""
        self._events.clear()
        found = self.ask("Page.navigate", url=url)
        if "errorText" in found:
            raise BrowserError(f"{url}: {found['errorText']}")
        return self.until_loaded()

    def until_loaded(self) -> Shown:
        """Wait for the next page to be there, which may load itself."""
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._events.append(self._next())
        shown = Shown()
        for event in self._events:
            if event["method"] == "Network.requestWillBeSent":
                shown.requests.append(event["params"]["request"]["url"])
            elif event["method"] == "Log.entryAdded":
                shown.complaints.append(event["params"]["entry"]["text"])
        self._events.clear()
        return shown

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise BrowserError(found["exceptionDetails"].get("exception", {}).get("description", "it failed"))
        return found["result"].get("value")

    def screenshot(self, file: Path) -> None:
        """The whole page, also what is below the window's end."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        kind = file.suffix.removeprefix(".")
        quality = {} if kind == "png" else {"quality": 60}
        found = self.ask("Page.captureScreenshot", format=kind, clip=clip, captureBeyondViewport=True, **quality)
        file.write_bytes(base64.b64decode(found["data"]))


__all__ = ["BrowserError", "Chromium", "Shown"]
