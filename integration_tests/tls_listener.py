"""A TLS listener that is no broker, and certificates for it: enough for what a client says of a handshake."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    path: Path
    key: Path


class Authority:
    """A certificate authority of a test's own. It needs the ``openssl`` command."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.certificate = directory / "ca.pem"
        self._key = directory / "ca.key"
        subject = ("-subj", f"/CN={directory.name}", "-days", "2")
        _openssl("req", "-x509", *_NEW_KEY, "-keyout", str(self._key), "-out", str(self.certificate), *subject)

    def issue(
        self, name: str, subject: str = "IP:127.0.0.1", days: int = 2, *, password: str | None = None
    ) -> Certificate:
        """A certificate for a subject, such as ``DNS:host``; expired with ``days=-1``; its key under a password."""
        path, key, request = (self._directory / f"{name}.{kind}" for kind in ("pem", "key", "csr"))
        extensions = self._directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={subject}")
        new_key = _NEW_KEY if password is None else (*_NEW_KEY[:2], "-passout", f"pass:{password}")
        _openssl("req", *new_key, "-keyout", str(key), "-out", str(request), "-subj", f"/CN={name}")
        signed_by = ("-CA", str(self.certificate), "-CAkey", str(self._key), "-CAcreateserial")
        files = ("-in", str(request), "-out", str(path), "-extfile", str(extensions))
        _openssl("x509", "-req", *files, *signed_by, "-days", str(days))
        return Certificate(path, key)


_NEW_KEY = ("-newkey", "rsa:2048", "-nodes")


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"`openssl {arguments[0]}` failed: {done.stderr[-1000:]}")


class TlsListener:
    """Ends each connection's handshake, and then says nothing. A context manager; ``address`` is its own."""

    def __init__(self, certificate: Certificate) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate.path, certificate.key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, name="tls-listener", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), name="tls-connection", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(60)
            with self._context.wrap_socket(connection, server_side=True) as encrypted:
                while encrypted.recv(1 << 12):
                    pass


__all__ = ["Authority", "Certificate", "TlsListener"]
