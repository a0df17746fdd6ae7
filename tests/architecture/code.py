"""The project's own files, as the architecture tests see them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHIPPED = ("kafka_stream", "offset_stores", "sinks")
WRITTEN = (*SHIPPED, "benchmarks", "docs", "examples", "integration_tests", "tests", "typings")
NOT_OURS = {"__pycache__", "build", "dist"}


def modules(*packages: str) -> list[Path]:
    """All Python files of these top-level folders."""
    found = [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    return [path for path in found if not NOT_OURS & set(path.parts)]


def texts() -> Iterator[tuple[Path, str]]:
    """Everything that is written by hand or generated into the repository, as text."""
    folders = [ROOT / name for name in (*WRITTEN, ".ci")]
    top = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    for path in sorted([*top, *(p for folder in folders if folder.is_dir() for p in folder.rglob("*") if p.is_file())]):
        if NOT_OURS & set(path.parts) or path.suffix in {".pyc", ".db"}:
            continue
        try:
            yield path, path.read_text()
        except UnicodeDecodeError:
            continue


@cache
def tree(path: Path) -> ast.Module:
    """A module's syntax tree."""
    return ast.parse(path.read_text(), str(path))


def name_of(path: Path) -> str:
    """A module's dotted name; that of a store or a sink is the one that is installed."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("kafka_stream", *parts) if parts[0] in SHIPPED[1:] else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions of a module, nested ones included."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
