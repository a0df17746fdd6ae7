"""PgBouncer in front of a test's database, pooling by transaction: no session of a client is one of the server."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import make_url

from integration_tests import images
from integration_tests.engine import wait_until
from integration_tests.servers import PostgresDatabase, free_port

_PROGRAM = Path("/usr/sbin/pgbouncer")
_START_S = 30.0


@contextlib.contextmanager
def pgbouncer(database: PostgresDatabase, folder: Path) -> Iterator[str]:
    """The database's URL through it."""
    url = make_url(database.url)
    port = free_port()
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"""
[databases]
{url.database} = host={url.host} port={url.port} dbname={url.database} user={url.username} password={url.password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 10
{"user = nobody" if os.geteuid() == 0 else ""}
"""
    )
    images.install_program(_PROGRAM, "pgbouncer", folder / "apt.log")
    with (folder / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen([str(_PROGRAM), str(settings)], stdout=log, stderr=log)
        try:
            if not wait_until(lambda: process.poll() is not None or _answers(port), _START_S) or not _answers(port):
                raise TimeoutError(f"PgBouncer does not answer:\n{images.tail(folder / 'pgbouncer.log')}")
            # What it gives its clients to prepare would be another session's the next time.
            through = url.set(host="127.0.0.1", port=port).update_query_dict({"prepare_threshold": "none"})
            yield through.render_as_string(hide_password=False)
        finally:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
