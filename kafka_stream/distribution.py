"""Whether ``kafka_stream``, ``offset_stores`` and ``sinks`` are the ones that were installed together.

They ship in one wheel, but ``sinks`` is a common name for a folder: a service with a folder of that name in its
working directory would import its own. Looked at without importing any of them.
"""

from __future__ import annotations

import json
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kafka_stream.errors import ConfigurationError

DISTRIBUTION = "kafka-stream"
PACKAGES = ("kafka_stream", "offset_stores", "sinks")


def check_packages() -> Path:
    """The folder that all three packages are in.

    Raises:
        ConfigurationError: one of them is missing or comes from elsewhere; the message names the path.
    """
    engine = Path(__file__).resolve().parent
    home = engine.parent
    for package in PACKAGES:
        found = location(package)
        if found is None:
            raise ConfigurationError(
                f"the package {package!r} of {DISTRIBUTION} is not on the import path; reinstall {DISTRIBUTION}"
            )
        if found.parent != home:
            raise ConfigurationError(
                f"{found} shadows the package {package!r} that {DISTRIBUTION} brings ({home / package}): rename it, "
                "or start from another directory"
            )
    installed = installed_home()
    if installed is not None and installed != home:
        raise ConfigurationError(
            f"{engine} shadows the installed {DISTRIBUTION} in {installed}: start from another directory, or "
            "install the one that you mean"
        )
    return home


def location(package: str) -> Path | None:
    """Where an import of this package would find it: its folder (or file), ``None`` if nowhere."""
    spec = PathFinder.find_spec(package)
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin).resolve() if spec.origin else None


def installed_home() -> Path | None:
    """The folder that holds the packages according to the installed metadata, editable installs included.

    ``None`` if nothing is installed (a source tree on the import path), or if the metadata does not tell.
    """
    try:
        found = distribution(DISTRIBUTION)
    except PackageNotFoundError:
        return None
    for file in found.files or ():
        if file.parts == ("kafka_stream", "__init__.py"):
            return Path(str(found.locate_file(file))).resolve().parent.parent
    return _editable_home(found)


def _editable_home(found: Distribution) -> Path | None:
    """An editable install's project folder (PEP 610): packages lie in it, or in its ``src``."""
    url = urlsplit(json.loads(found.read_text("direct_url.json") or "{}").get("url", ""))
    if url.scheme != "file":
        return None
    folder = Path(unquote(url.path))
    return next((home.resolve() for home in (folder, folder / "src") if (home / PACKAGES[0]).is_dir()), None)


__all__ = ["DISTRIBUTION", "PACKAGES", "check_packages", "installed_home", "location"]
