"""What each fault of the schedule does."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from integration_tests.kafka_cluster import KafkaCluster
from integration_tests.servers import PrivateKafka
from integration_tests.soak.crew import DOOMED_S, Slot
from integration_tests.soak.judgement import Move
from integration_tests.soak.schedule import FEWEST_MEMBERS, MOST_MEMBERS, PARTITIONS, Event, Fault
from kafka_stream.admin.reset import Reset, execute_reset, prepare_reset
from kafka_stream.admin.reset_plan import ShiftBy
from kafka_stream.admin.targets import Selection
from kafka_stream.errors import CommandRefused, KafkaStreamError
from kafka_stream.source.cluster import Cluster

if TYPE_CHECKING:
    from integration_tests.soak.run import Soak

AT_WORK_S = 30.0
"""So long a fault waits for its member to be at work; then it comes all the same."""
GONE_S = 1.0
_BROKER_S = 240.0


class Actions:
    """Does to one soak what its schedule says."""

    def __init__(self, soak: Soak) -> None:
        self._soak = soak
        self._partitions = PARTITIONS
        self._cluster: Cluster | None = None
        self.moves: list[Move] = []
        self._kinds: Mapping[Fault, Callable[[Event], None]] = {
            Fault.KILLED: self._kill,
            Fault.KILLED_AT_START: self._kill_at_start,
            Fault.KILLED_AT_PHASE: self._kill_at_phase,
            Fault.FROZEN: self._freeze,
            Fault.CUT_BEFORE_COMMIT: self._cut_commit,
            Fault.CUT_AFTER_COMMIT: self._cut_commit,
            Fault.CUT: self._cut,
            Fault.STORE_AWAY: self._store_away,
            Fault.SESSIONS_EXPIRED: self._store_away,
            Fault.BROKER_KILLED: self._break_broker,
            Fault.BROKER_PAUSED: self._break_broker,
            Fault.JOINED: self._join,
            Fault.LEFT: self._leave,
            Fault.RESHARDED: self._reshard,
            Fault.PARTITION_ADDED: self._add_partition,
            Fault.RESET: self._reset,
        }

    def do(self, event: Event) -> None:
        """One fault; returns when it is done, which is not when it is over."""
        self._kinds[event.fault](event)

    def _slots(self, event: Event) -> list[Slot]:
        slots = self._soak.crew.slots
        return [slots[number % len(slots)] for number in event.members[: len(slots)]]

    def _at_work(self, event: Event) -> Slot:
        """Its first member, once that is at work."""
        (slot, *_) = self._slots(event)
        self._soak.wait(slot.is_at_work, AT_WORK_S)
        return slot

    def _kill(self, event: Event) -> None:
        self._at_work(event)
        for slot in self._slots(event):
            self._soak.crew.kill(slot, event.fault)

    def _kill_at_start(self, event: Event) -> None:
        slot = self._at_work(event)
        before = slot.member
        self._soak.crew.kill(slot, event.fault)
        self._soak.wait(lambda: slot.member is not before, DOOMED_S)
        self._soak.wait(lambda: False, event.lasts_s)
        self._soak.crew.kill(slot, event.fault)

    def _kill_at_phase(self, event: Event) -> None:
        slot = self._at_work(event)
        self._soak.crew.begin(slot, event.fault)
        slot.member.doom("kill", event.phase, event.nth)

    def _freeze(self, event: Event) -> None:
        slot = self._at_work(event)
        member = slot.member
        member.doom("freeze", event.phase, event.nth)

        def is_frozen() -> bool:
            with contextlib.suppress(FileNotFoundError):
                return slot.member is member and member.service.is_running() and member.service.is_stopped()
            return False

        if self._soak.wait(is_frozen, DOOMED_S):
            self._soak.crew.freeze(slot, event.fault)
        else:
            self._soak.say("      it has not come to that point")

    def _cut_commit(self, event: Event) -> None:
        place = self._soak.place
        (place.cut_before_commit if event.fault is Fault.CUT_BEFORE_COMMIT else place.cut_after_commit)()
        with self._soak.fault(event.fault):
            if not self._soak.wait(place.was_cut, DOOMED_S):
                self._soak.say("      nothing was committed")
            if self._soak.setting.store == "kafka":  # the proxy is away since
                self._soak.wait(lambda: False, GONE_S)
                place.come_back()

    def _cut(self, event: Event) -> None:
        with self._soak.fault(event.fault):
            self._soak.place.cut()

    def _store_away(self, event: Event) -> None:
        with self._soak.fault(event.fault):
            self._soak.place.go_away()
            self._soak.wait(lambda: False, event.lasts_s)
            self._soak.place.come_back()

    def _break_broker(self, event: Event) -> None:
        kafka = self._soak.kafka
        with self._soak.fault(event.fault):
            if isinstance(kafka, KafkaCluster):
                node = self._with_role(kafka, event)
                self._soak.say(f"      broker {node}, the {event.role}")
                self._one_of_three(kafka, node, event)
            else:
                assert isinstance(kafka, PrivateKafka)
                self._the_only(kafka, event)

    def _with_role(self, kafka: KafkaCluster, event: Event) -> int:
        if event.role == "coordinator":
            return kafka.coordinator_of(self._soak.stream)
        if event.role == "transaction coordinator":
            return kafka.transaction_coordinator_of(self._soak.producers_id)
        return kafka.leader_of(self._soak.topic, event.partition)

    def _one_of_three(self, kafka: KafkaCluster, node: int, event: Event) -> None:
        is_killed = event.fault is Fault.BROKER_KILLED
        (kafka.kill if is_killed else kafka.pause)(node)
        self._soak.wait(lambda: False, event.lasts_s)
        (kafka.start if is_killed else kafka.unpause)(node)
        self._beside(kafka.wait_until_up)

    def _the_only(self, kafka: PrivateKafka, event: Event) -> None:
        is_killed = event.fault is Fault.BROKER_KILLED
        (kafka.kill if is_killed else kafka.pause)()
        self._soak.wait(lambda: False, event.lasts_s)
        if is_killed:
            self._beside(lambda: self._started(kafka))
        else:
            kafka.unpause()
            self._beside(kafka.wait_until_up)

    @staticmethod
    def _started(kafka: PrivateKafka) -> None:
        """A broker that shares its processors with all that wait for it may take longer than a test gives it."""
        deadline = time.monotonic() + _BROKER_S
        while True:
            try:
                return kafka.start()
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise

    def _beside(self, work: Callable[[], None]) -> None:
        """On a thread, while the members are looked after."""
        failed: list[BaseException] = []

        def run() -> None:
            try:
                work()
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        if not self._soak.wait(lambda: not thread.is_alive(), 2 * _BROKER_S):
            raise TimeoutError(f"a broker has not come up within {2 * _BROKER_S:g} s")
        if failed:
            raise failed[0]

    def _join(self, event: Event) -> None:
        if len(self._soak.crew.slots) < MOST_MEMBERS:
            with self._soak.fault(event.fault):
                self._soak.crew.add()

    def _leave(self, event: Event) -> None:
        if len(self._soak.crew.slots) > FEWEST_MEMBERS:
            with self._soak.fault(event.fault):
                self._soak.crew.dismiss(self._at_work(event))

    def _reshard(self, event: Event) -> None:
        crew = self._soak.crew
        self._soak.wait(lambda: not crew.frozen, 2 * AT_WORK_S)
        with self._soak.fault(event.fault):
            for slot in list(crew.slots):
                crew.dismiss(slot)
            self._soak.wait(lambda: not crew.leaving, 2 * AT_WORK_S)
            crew.man(event.shards)

    def _add_partition(self, event: Event) -> None:
        self._partitions += 1
        with self._soak.fault(event.fault):
            self._soak.kafka.add_partitions(self._soak.topic, self._partitions)

    def _reset(self, event: Event) -> None:
        soak = self._soak
        soak.wait(lambda: not soak.crew.frozen, 2 * AT_WORK_S)  # one who is may hold what is to be moved
        selected = [Selection(soak.topic, (event.partition,))]
        with soak.fault(event.fault):
            try:
                prepared = prepare_reset(soak.store, soak.stream, self._brokers(), ShiftBy(-event.back), selected)
            except KafkaStreamError as error:
                soak.say(f"      not done: {error}")
            else:
                self._execute(prepared)

    def _execute(self, reset: Reset) -> None:
        soak = self._soak
        try:
            done = execute_reset(soak.store, reset)
        except CommandRefused as error:
            soak.say(f"      refused: {error}")
        except KafkaStreamError as error:
            soak.crew.find(f"a reset failed ({type(error).__name__}: {error}), so what is expected is not known")
        else:
            for it in done.partitions:
                assert it.from_offset is not None
                assert it.to_offset is not None
                self.moves.append(Move(it.topic_partition.partition, it.from_offset, it.to_offset))

    def _brokers(self) -> Cluster:
        if self._cluster is None:
            config = {"bootstrap.servers": self._soak.kafka.bootstrap_servers, "log_level": 0}
            self._cluster = Cluster(config, logging.getLogger("soak"))
            self._cluster.connect(AT_WORK_S)
        return self._cluster


__all__ = ["Actions"]
