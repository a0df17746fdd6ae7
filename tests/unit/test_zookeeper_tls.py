"""TLS to an ensemble, as a URL or an argument says it: what cannot work is refused, and names are looked at."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from kafka_stream.errors import ConfigurationError
from kafka_stream.offset_stores.zookeeper import ZooKeeperOffsetStore
from kafka_stream.offset_stores.zookeeper.ensemble.access import merged_options
from kafka_stream.offset_stores.zookeeper.ensemble.address import Address
from kafka_stream.offset_stores.zookeeper.ensemble.tls import why_not_let_in


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"hosts": "zookeeper://h1/a?use_ssl=pass-word"}, "neither true nor false"),
        ({"hosts": "zookeeper://h1/a?ca=/ca.pem"}, "no effect without TLS"),
        ({"hosts": "h1", "client_options": {"keyfile_password": "pass-word"}}, "no effect without TLS"),
        ({"hosts": "zookeeper://h1?use_ssl=true", "client_options": {"use_ssl": True}}, "given twice"),
        ({"hosts": "zookeeper://h1?use_ssl=1&verify_certs=0&check_hostname=1"}, "needs verify_certs"),
    ],
)
def test_tls_that_cannot_work_is_refused_when_the_store_is_built(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigurationError, match=match) as raised:
        ZooKeeperOffsetStore(**arguments)  # type: ignore[arg-type]
    assert "pass-word" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ("", {}),
        ("?use_ssl=true&ca=/ca.pem", {"use_ssl": True, "ca": "/ca.pem", "check_hostname": True}),
        ("?use_ssl=true&check_hostname=false", {"use_ssl": True, "check_hostname": False}),
        ("?use_ssl=1&verify_certs=no", {"use_ssl": True, "verify_certs": False, "check_hostname": False}),
    ],
)
def test_the_name_of_a_server_is_looked_at_unless_that_is_said(options: str, given: dict[str, object]) -> None:
    assert merged_options(None, Address.parsed(f"zookeeper://h1/a{options}")) == given


ALERT = b"\x15\x03\x03\x00\x02\x02\x28"  # RFC 8446, 6: handshake_failure


@contextmanager
def listening(answer: Callable[[bytes], bytes]) -> Iterator[str]:
    """A server that answers what a client says first, and ends the connection; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client, suppress(OSError):
                        client.sendall(answer(client.recv(1 << 16)))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda said: b"", None),
        (lambda said: b"Zookeeper version" if said == b"srvr" else b"", "does not speak TLS on this port"),
        (lambda said: ALERT if said != b"srvr" else b"", "ends the TLS handshake"),
    ],
    ids=["a handshake that breaks off", "no TLS", "an alert"],
)
def test_a_server_that_breaks_off_refuses_nobody(answer: Callable[[bytes], bytes], reason: str | None) -> None:
    with listening(answer) as address:
        found = why_not_let_in(address, {"use_ssl": True})
    assert found is None if reason is None else found is not None and found.startswith(f"{address} {reason}")
