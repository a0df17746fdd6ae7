"""The package as users have it: built, and installed by pip into an environment of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 300
_LEAKING = ("PYTHONPATH", "PYTHONHOME", "MYPYPATH", "VIRTUAL_ENV")
_PYRIGHT = {"PYRIGHT_PYTHON_GLOBAL_NODE": "0", "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
"""Its own Node, from a wheel, and no question to the index whether there is a newer one."""
_THEIRS = {
    "sinks/__init__.py": '"""A user\'s own package."""\n\nOURS = "the user\'s sinks"\n',
    "offset_stores/__init__.py": '"""A user\'s own package."""\n\nOURS = "the user\'s stores"\n',
    "kafka_streams.py": '"""A user\'s own module."""\n\nOURS = "the user\'s streams"\n',
}


def readme_example() -> str:
    """The first Python block of the README, as it stands there."""
    found = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def shop(folder: Path, example: str | None = None) -> Path:
    """A user's folder: the README's example as ``shop.py``, beside names that were once the library's."""
    for name, text in {**_THEIRS, "shop.py": example or readme_example()}.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


@dataclass(frozen=True)
class Built:
    """What ``build`` makes: both distributions, and a wheel straight from the tree beside the one from the sdist."""

    sdist: Path
    wheel: Path
    wheel_from_tree: Path

    @classmethod
    def into(cls, folder: Path) -> Built:
        """Build with what is installed here; nothing is fetched."""
        for options in (["--outdir", str(folder)], ["--wheel", "--outdir", str(folder / "tree")]):
            _run([sys.executable, "-m", "build", "--no-isolation", *options, str(ROOT)], folder)
        (sdist,), (wheel,), (from_tree,) = (folder.glob(p) for p in ("*.tar.gz", "*.whl", "tree/*.whl"))
        return cls(sdist, wheel, from_tree)


class Environment:
    """A fresh virtual environment that sees what this one has, but for kafka-stream itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _run([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder.parent)
        self.python = str(folder / "bin" / "python")
        (self._site_packages,) = (folder / "lib").glob("python*/site-packages")
        (self._site_packages / "dependencies.pth").write_text(f"{_linked_dependencies(folder.parent)}\n")

    def install(self, *what: str) -> None:
        """Install a wheel, an sdist or ``-e`` a folder, with its dependencies checked; nothing is fetched."""
        self._pip("install", "--no-index", "--no-build-isolation", *what)

    def uninstall(self, name: str) -> None:
        """What a user does who does not need it any more."""
        self._pip("uninstall", "--yes", name)

    def _pip(self, *arguments: str) -> None:
        options = ["--python", self.python, "--disable-pip-version-check", "--no-input"]
        _run([sys.executable, "-m", "pip", *options, *arguments], self.folder)

    def run(self, folder: Path, command: str, *arguments: str, status: int = 0) -> str:
        """What one of its commands prints that ends with ``status``, in a user's folder."""
        return _run([str(self.folder / "bin" / command), *arguments], folder, status).stdout

    def mypy(self, folder: Path, *files: str, cache: Path) -> list[tuple[str, int, str]]:
        """What ``mypy --strict`` finds: file, line, code."""
        options = ["--strict", "--no-pretty", "--hide-error-context", "--cache-dir", str(cache)]
        found = _checked([self.python, "-m", "mypy", *options, *files], folder)
        errors = re.findall(r"^(.+?):(\d+): error: .*\[([a-z-]+)\]$", found, re.MULTILINE)
        return [(file, int(line), code) for file, line, code in errors]

    def pyright(self, folder: Path, *files: str) -> list[tuple[str, int, str]]:
        """What pyright's strict mode finds: file, line, rule."""
        (folder / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict", "include": files}))
        options = ["--pythonpath", self.python, "--outputjson"]
        found = json.loads(_checked([sys.executable, "-m", "pyright", *options], folder))["generalDiagnostics"]
        return [(Path(it["file"]).name, it["range"]["start"]["line"] + 1, it["rule"]) for it in found]

    def files(self) -> dict[str, bytes]:
        """All that is installed, folders and commands too; of what Python compiles, the folders only."""
        places = (self._site_packages, self.folder / "bin")
        found = (entry for place in places for entry in place.rglob("*") if entry.suffix != ".pyc")
        return {str(e.relative_to(self.folder)): e.read_bytes() if e.is_file() else b"" for e in found}


def wheel_of_others(folder: Path) -> Path:
    """Another project's distribution, which owns the top-level names ``sinks`` and ``offset_stores``."""
    wheel, info = folder / "acme-1.0-py3-none-any.whl", "acme-1.0.dist-info"
    files = {name: text for name, text in _THEIRS.items() if "/" in name}
    files |= {"sinks/sql.py": "TABLE = 'acme'\n", "offset_stores/sql.py": "TABLE = 'acme'\n"}
    files |= {f"{info}/METADATA": "Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n"}
    files |= {f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    files |= {f"{info}/RECORD": "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))}
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel


def _linked_dependencies(folder: Path) -> Path:
    """A folder with links to all that is installed here, without kafka-stream and the paths that lead to it."""
    linked = folder / "dependencies"
    if not linked.exists():
        linked.mkdir()
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if not re.match(r"_?kafka_stream\b|.*\.pth$", entry.name.replace("-", " ")):
                (linked / entry.name).symlink_to(entry)
    return linked


def _run(command: list[str], folder: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = _ended(command, folder)
    assert done.returncode == status, f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def _checked(command: list[str], folder: Path) -> str:
    done = _ended(command, folder)
    assert done.returncode in (0, 1), f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def _ended(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in _LEAKING} | _PYRIGHT
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
