"""Three brokers with a proxy in every link: between any two of them, and between each and its clients."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

from integration_tests.engine import DockerEngine
from integration_tests.kafka_cluster import NODES, ClusterPorts, KafkaCluster, running_cluster
from integration_tests.proxy import TcpProxy


class Links:
    """The links of one cluster. A broker knows each other one by an address that only it has, and so by a proxy.

    Clients that begin at ``bootstrap_servers`` go through the links, too; those of ``ClusterPorts.bootstrap_servers``
    do not.
    """

    def __init__(self, stack: contextlib.ExitStack) -> None:
        ports = ClusterPorts()
        self._between = {
            (a, b): [
                stack.enter_context(TcpProxy("127.0.0.1", port[b], _address(a, b), port[b]))
                for port in (ports.between, ports.controller)
            ]
            for a, b in permutations(NODES, 2)
        }
        self._to_clients = {
            node: stack.enter_context(TcpProxy("127.0.0.1", port)) for node, port in ports.linked.items()
        }
        link = {node: proxy.port for node, proxy in self._to_clients.items()}
        self.ports = replace(ports, link=link)

    @property
    def bootstrap_servers(self) -> str:
        """All brokers' addresses, each behind its link."""
        return ",".join(f"127.0.0.1:{proxy.port}" for proxy in self._to_clients.values())

    def variables(self) -> dict[str, str]:
        """What docker-compose.cluster.yml reads."""
        return {f"LINK_{a}_{b}": _address(a, b) for a, b in self._between}

    def cut(self, a: int, b: int) -> None:
        """Nothing that one of two brokers sends comes to the other, until ``heal``; connections stay open."""
        for proxy in self._both_ways(a, b):
            proxy.pause()

    def heal(self, a: int, b: int) -> None:
        """What was held back arrives."""
        for proxy in self._both_ways(a, b):
            proxy.resume()

    def cut_from_clients(self, node: int) -> None:
        """Nothing passes between a broker and its clients, until ``heal_to_clients``."""
        self._to_clients[node].pause()

    def heal_to_clients(self, node: int) -> None:
        """What was held back arrives."""
        self._to_clients[node].resume()

    def restore(self) -> None:
        """All of them whole."""
        for a, b in self._between:
            self.heal(a, b)
        for node in NODES:
            self.heal_to_clients(node)

    def _both_ways(self, a: int, b: int) -> list[TcpProxy]:
        return self._between[a, b] + self._between[b, a]


def _address(a: int, b: int) -> str:
    """Where one broker finds another."""
    return f"127.10.{a}.{b}"


@contextlib.contextmanager
def linked_cluster(engine: DockerEngine) -> Iterator[tuple[KafkaCluster, Links]]:
    """A cluster, and the links between its brokers, for as long as the block lasts."""
    with contextlib.ExitStack() as stack:
        links = Links(stack)
        cluster = stack.enter_context(running_cluster(engine, links.ports, **links.variables()))
        yield cluster, links
