"""What every part of the store works with: the brokers, groups, and producers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from kafka_stream.errors import StoreUnavailable
from kafka_stream.offset_stores.kafka.brokers import Brokers
from kafka_stream.offset_stores.kafka.group import Found, Group
from kafka_stream.offset_stores.kafka.offset_requests import OffsetRequests
from kafka_stream.offset_stores.kafka.producer import TransactionalProducer
from kafka_stream.offset_stores.kafka.requests import Waits
from kafka_stream.offset_stores.kafka.settings import is_timeout_chosen, producer_settings


class Access:
    """The clients of one store. Building it connects to nothing.

    ``member_of`` is the group whose members' sessions say how long a transaction may last, unless settings do.
    """

    def __init__(
        self, config: Mapping[str, Any], where: str, now: Callable[[], datetime], member_of: str | None = None
    ) -> None:
        self.where = where
        self.now = now
        self.waits = Waits()
        self.brokers = Brokers(config, where, self.waits)
        self._config = config
        self._asks_for_session_of = None if is_timeout_chosen(config) else member_of
        self._producer_settings: Mapping[str, Any] | None = None
        self.adopting: dict[str, int] = {}
        """How many partitions each topic had whose offsets a live plain group keeps; who takes one over adopts it."""
        self._offset_requests = OffsetRequests()
        self._groups: dict[str, Group] = {}

    def group(self, group_id: str) -> Group:
        """A group from outside, made once."""
        if group_id not in self._groups:
            self._groups[group_id] = Group(self.brokers, group_id)
        return self._groups[group_id]

    def stored(self, stream: str) -> Found:
        """All that a stream's group has committed, for those who look: an owner that hangs is waited for a little."""
        with self.looking_at(stream) as group:
            every = group.all_partitions()
            try:
                return group.stable(every)  # what was committed a moment ago, too
            except StoreUnavailable:
                return group.committed(every)

    @contextmanager
    def looking_at(self, group_id: str) -> Iterator[Group]:
        """A group of which nothing stays open if it was not open before: there may be many."""
        if group_id in self._groups:
            yield self._groups[group_id]
            return
        group = Group(self.brokers, group_id)
        try:
            yield group
        finally:
            group.close()

    def producer(self, transactional_id: str) -> TransactionalProducer:
        """A producer that has taken this id over, and ended what older ones had begun."""
        settings = self._settings_of_producers()
        return TransactionalProducer(settings, transactional_id, self.where, self.waits, self._offset_requests)

    def _settings_of_producers(self) -> Mapping[str, Any]:
        if self._producer_settings is None:
            group_id = self._asks_for_session_of
            session_timeout_ms = None if group_id is None else self.brokers.session_timeout_ms(group_id)
            self._producer_settings = producer_settings(self._config, session_timeout_ms)
        return self._producer_settings

    def close(self) -> None:
        """Give the connections back."""
        for group in self._groups.values():
            group.close()
        self._groups.clear()
        self.brokers.close()


__all__ = ["Access"]
