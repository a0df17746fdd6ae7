"""A small issuer of tokens on 127.0.0.1, as OAUTHBEARER has them: JWTs (RFC 7519) that its RSA key has signed.

A broker believes them by the public key, which is in ``jwks.json`` (RFC 7517). Clients ask for one as OAuth's "client
credentials" have it (RFC 6749, 4.4). It needs the ``openssl`` command.
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

AUDIENCE = "kafka"
CLIENT_SECRET = "issuer-secret"
"""What a client proves itself with to the issuer; tests look for it where it must not be."""
_TIMEOUT_S = 10.0
_KEY_ID = "first"


class TokenIssuer:
    """Issues tokens for ``sub=<client id>``; a context manager.

    ``lifetime_s`` is how long a token is good for from now on, and ``is_away`` has it answer with an error instead.
    ``issued`` and ``tokens`` are what was given out so far.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._key = directory / "issuer.key"
        _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(self._key))
        modulus = _openssl("rsa", "-in", str(self._key), "-noout", "-modulus").decode().strip().partition("=")[2]
        key = {"kty": "RSA", "kid": _KEY_ID, "use": "sig", "alg": "RS256", "n": _base64(bytes.fromhex(modulus))}
        self.jwks = json.dumps({"keys": [{**key, "e": "AQAB"}]})
        self.lifetime_s = 300.0
        self.is_away = False
        self.tokens: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, name="token-issuer", daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/token"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_TIMEOUT_S)

    @property
    def issued(self) -> int:
        """How many tokens were given out."""
        return len(self.tokens)

    def token(self, subject: str, **claims: Any) -> str:
        """A signed token, whose claims may be others than those that are right."""
        now = time.time()
        head = {"alg": "RS256", "typ": "JWT", "kid": _KEY_ID}
        body = {"iss": self.url, "sub": subject, "aud": AUDIENCE, "iat": int(now), "exp": now + self.lifetime_s}
        signed = ".".join(_base64(json.dumps(part).encode()) for part in (head, {**body, **claims}))
        signature = _openssl("dgst", "-sha256", "-sign", str(self._key), given=signed.encode())
        self.tokens.append(token := f"{signed}.{_base64(signature)}")
        return token

    def answer(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """The status and the body of a client's answer."""
        if self.is_away:
            return 503, {"error": "temporarily_unavailable"}
        if form.get("client_secret") != CLIENT_SECRET:
            return 401, {"error": "invalid_client"}
        token = self.token(form["client_id"])
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime_s}


@dataclass(frozen=True)
class FromIssuer:
    """An ``oauth_cb`` that asks an issuer; it can be sent to another process."""

    url: str
    client_id: str
    client_secret: str = field(default=CLIENT_SECRET, repr=False)

    def __call__(self, config: str) -> tuple[str, float]:
        form = {"grant_type": "client_credentials", "client_id": self.client_id, "client_secret": self.client_secret}
        asked = urllib.request.Request(self.url, urllib.parse.urlencode(form).encode())
        try:
            with urllib.request.urlopen(asked, timeout=_TIMEOUT_S) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            error.close()  # it is a response, too, and is kept as what the client failed of
            raise
        return answer["access_token"], time.time() + answer["expires_in"]


def _handler_of(issuer: TokenIssuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            form = dict(urllib.parse.parse_qsl(body))
            if (basic := self.headers.get("Authorization", "")).startswith("Basic "):
                name, _, secret = base64.b64decode(basic.removeprefix("Basic ")).decode().partition(":")
                form |= {"client_id": urllib.parse.unquote(name), "client_secret": urllib.parse.unquote(secret)}
            status, answer = issuer.answer(form)
            content = json.dumps(answer).encode()
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _openssl(*arguments: str, given: bytes | None = None) -> bytes:
    done = subprocess.run(["openssl", *arguments], input=given, capture_output=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"`openssl {arguments[0]}` failed: {done.stderr.decode()[-1000:]}")
    return done.stdout


__all__ = ["AUDIENCE", "CLIENT_SECRET", "FromIssuer", "TokenIssuer"]
