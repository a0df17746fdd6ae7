"""What a kind of database tells of several servers, one of which takes another's place."""

from __future__ import annotations

from typing import Protocol

from sqlalchemy import Connection, Engine


class Servers(Protocol):
    """Stateless, as a ``Database``: ``seen`` is the latest of each system, for as long as the process lives."""

    def learn(self, engine: Engine, seen: dict[str, int]) -> None:
        """Look at every server that the engine's URL names, for ``refuse_older``. Who does not answer is left out."""

    def refuse_older(self, connection: Connection, seen: dict[str, int], where: str) -> None:
        """Refuse a server in whose place another one has come that we know of; asks once for each connection.

        Raises:
            StoreSuperseded: it is one.
        """

    def unreplicated(self, connection: Connection) -> str | None:
        """Right after a commit: what the server warns of, if it may not be where it was to be. No round trip."""


class LoneServer:
    """Of a database that has one, or tells nothing of the kind."""

    def learn(self, engine: Engine, seen: dict[str, int]) -> None:
        """Nothing to learn."""

    def refuse_older(self, connection: Connection, seen: dict[str, int], where: str) -> None:
        """Nothing to refuse."""

    def unreplicated(self, connection: Connection) -> str | None:
        """Nothing is said."""
        return None


__all__ = ["LoneServer", "Servers"]
