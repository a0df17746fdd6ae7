"""What an error of user code is about: a server that does not answer, or the records that it was given."""

from __future__ import annotations

from collections.abc import Iterator

from kafka_stream.errors import HandlerUnavailable


def why_unavailable(
    error: BaseException, transient_errors: tuple[type[BaseException], ...], where: str, ranges: str
) -> HandlerUnavailable | None:
    """The transient error that stands for one that the user has named as such; by type, along ``__cause__``."""
    for cause in _causes(error):
        if isinstance(cause, transient_errors):
            name = type(cause).__qualname__
            return HandlerUnavailable(
                f"{where} on {ranges}: {name}, which transient_errors names: {' '.join(str(cause).split())}"
            )
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__


__all__ = ["why_unavailable"]
