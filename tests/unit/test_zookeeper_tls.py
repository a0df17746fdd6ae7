"""TLS to an ensemble, as a URL or an argument says it: what cannot work is refused, and names are looked at."""

from __future__ import annotations

import pytest

from kafka_stream.errors import ConfigurationError
from kafka_stream.offset_stores.zookeeper import ZooKeeperOffsetStore
from kafka_stream.offset_stores.zookeeper.ensemble.access import merged_options
from kafka_stream.offset_stores.zookeeper.ensemble.address import Address


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
