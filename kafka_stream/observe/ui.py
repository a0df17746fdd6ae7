"""The page for all streams of a store, as an ASGI application that is read-only and asks for a token, if it has one."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import parse_qs

from kafka_stream.errors import ConfigurationError, MissingExtra

try:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
    from starlette.routing import Route

    from kafka_stream.observe.page.front import answering
    from kafka_stream.observe.page.looking import StoreLooks
    from kafka_stream.observe.page.model import PageView
    from kafka_stream.observe.page.render import HEADERS, login
except ImportError as error:
    raise MissingExtra("the page needs starlette and others: pip install 'kafka-stream[http]'") from error

SHORTEST_TOKEN = 16
_COOKIE = "kafka-stream-ui"
_LONGEST_FORM = 4_096
_HERE = frozenset({"localhost", "127.0.0.1", "[::1]"})


def ui(looks: StoreLooks, title: str, token: str | None = None) -> Starlette:
    """What ``looks`` know at ``/``. With a token, for who gives it: as a bearer's, or once, in a form.

    Without one only a browser of this machine is answered that asks for it by a name of this machine, so that no site
    can have the page read to it under a name of its own.
    """
    page = answering(lambda: PageView(title, datetime.now(UTC), looks.views(), looks.notes()))
    if token is None:
        return Starlette(routes=[Route("/", _for_this_machine(page))])
    lock = _Lock(token)
    return Starlette(routes=[Route("/", lock.guarding(page)), Route("/login", lock.log_in, methods=["POST"])])


def refuse_to_be_open(address: str, token: str | None) -> None:
    """Whoever can reach an address that is not this machine's alone has to know a token.

    Raises:
        ConfigurationError: there is none, or one that can be guessed.
    """
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise ConfigurationError(f"--token: it has {len(token)} characters, and {SHORTEST_TOKEN} are the fewest")
    if token is None and not _is_this_machine(address.rpartition(":")[0]):
        raise ConfigurationError(
            f"--http: {address} can be reached by others: set KAFKA_STREAM_UI_TOKEN, or listen on 127.0.0.1"
        )


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _for_this_machine(page: Callable[[Request], Response]) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        host = request.headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name.lower() not in _HERE:
            return PlainTextResponse("ask for it as localhost or 127.0.0.1, or set KAFKA_STREAM_UI_TOKEN\n", 421)
        return page(request)

    return answer


class _Lock:
    """Whoever has the token comes in; the cookie is made of it, and does not hold it."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._cookie = hmac.new(self._token, b"kafka-stream ui", "sha256").hexdigest()

    def guarding(self, page: Callable[[Request], Response]) -> Callable[[Request], Response]:
        """The page, or the form."""

        def answer(request: Request) -> Response:
            if self._lets_in(request):
                return page(request)
            return _form(refused=False)

        return answer

    async def log_in(self, request: Request) -> Response:
        """Take the form."""
        form = b""
        async for piece in request.stream():
            form += piece
            if len(form) > _LONGEST_FORM:
                return _form(refused=True)
        given = parse_qs(form.decode("utf-8", "replace")).get("token", [""])[0]
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self._token):
            return _form(refused=True)
        response = RedirectResponse("./", 303)
        secure = request.url.scheme == "https"
        response.set_cookie(_COOKIE, self._cookie, httponly=True, samesite="strict", secure=secure)
        return response

    def _lets_in(self, request: Request) -> bool:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode("utf-8", "replace"), self._token):
            return True
        return hmac.compare_digest(request.cookies.get(_COOKIE, "").encode("utf-8", "replace"), self._cookie.encode())


def _form(*, refused: bool) -> Response:
    return HTMLResponse(login(refused=refused), 401, headers={**HEADERS, "WWW-Authenticate": "Bearer"})


__all__ = ["SHORTEST_TOKEN", "refuse_to_be_open", "ui"]
