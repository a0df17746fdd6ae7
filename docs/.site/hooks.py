"""What `make docs` does to the pages: the README is the first, decisions are listed, and no link is dead."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")

_CODE_IN_TABLE = re.compile(r"`[^`\n]*\\\|[^`\n]*`")
"""GitHub wants a bar escaped there, and this renderer shows what escapes it."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The decisions, which the navigation does not name one by one."""
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    nav: list[Any] = config.nav or []
    nav.append({"Decisions": [f"decisions/{page.name}" for page in pages]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The README, as the first page."""
    text = (ROOT / "README.md").read_text("utf-8").replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """What is in the repository and no page of the site is named, without a link."""
    here = ROOT if page.file.src_uri == "index.md" else (ROOT / "docs" / page.file.src_uri).parent

    def link(found: re.Match[str]) -> str:
        target = found["target"]
        if "://" in target or target.startswith("mailto:"):
            return found[0]
        place = (here / target).resolve()
        is_page = place.is_relative_to(ROOT / "docs") or (here == ROOT and (ROOT / "docs" / target).exists())
        if (is_page and not place.is_dir()) or not place.exists():  # of what does not exist the build complains
            return found[0]
        text, path = found["text"], place.relative_to(ROOT).as_posix()
        return text if path.rstrip("/") in text else f"{text} (`{path}`)"

    return _LINK.sub(link, _CODE_IN_TABLE.sub(lambda code: code[0].replace("\\|", "|"), markdown))
