"""Who may ask the gallery, how often and how much; and the headers that tell a browser to trust nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.exceptions import HTTPException
from starlette.datastructures import Headers, MutableHeaders

from pixelmill.web.problems import problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "pixelmill"
OPEN = ("/api/session", "/static/")
"""What is shown to everybody: the empty page, and where the token is asked for."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_CLIENTS = 10_000
_BODY_SECONDS = 60

_log = logging.getLogger(__name__)


class Guard:
    """Around the whole application: every answer gets HEADERS, and who may not ask gets no further.

    Without a token, only requests to a name in `hosts` are taken: a page elsewhere whose name was made to lead to this
    machine (DNS rebinding) calls it by that name. With one, a request needs it as `Authorization: Bearer …` or as the
    cookie that `Session` gives. A page of another origin can never post.
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str], token: str | None) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def hardened(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refused = self._refused(scope)
        try:
            await (refused or self._app)(scope, receive, hardened)
        except Exception:
            _log.exception("%s %s", scope["method"], scope["path"])
            if started:
                raise
            await problem(500, "Something went wrong here; the server's log says what.")(scope, receive, hardened)

    def _refused(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        if self._token is None and _hostname(headers.get("host", "")) not in self._hosts:
            names = " or ".join(sorted(self._hosts))
            return problem(421, f"Expected a request to {names}. Name any other address as `[web] url`.")
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD") and origin and urlsplit(origin).netloc != headers.get("host"):
            return problem(403, "Expected a request from the gallery's own page. It came from another site.")
        if self._token is not None and not is_open(scope["path"]) and not may_ask(headers, self._token):
            return problem(401, "Expected the gallery's token.", {"WWW-Authenticate": "Bearer"})
        return None


def is_open(path: str) -> bool:
    """Whether everybody gets what is at a path."""
    return path == "/" or path.startswith(OPEN)


def may_ask(headers: Headers, token: str) -> bool:
    """Whether a request carries the token, or the cookie that stands for it."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and same(given.strip(), token):
        return True
    cookies = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
    return any(name == COOKIE and same(value, session_of(token)) for name, _, value in cookies)


def session_of(token: str) -> str:
    """What the cookie holds: it follows from the token, and does not tell it."""
    return hmac.new(token.encode(), b"pixelmill gallery session", hashlib.sha256).hexdigest()


def same(given: str, expected: str) -> bool:
    """Whether two secrets are the same; how long that takes does not tell where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


class RateLimit:
    """So many admissions a minute for each client, in a burst or spread (a token bucket). Safe to use from threads."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._guard = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admit(self, client: str) -> float:
        """0 for a client that may go on, else how many seconds it should wait."""
        now = time.monotonic()
        with self._guard:
            left, since = self._left.pop(client, (float(self._per_minute), now))
            left = min(float(self._per_minute), left + (now - since) * self._per_minute / 60)
            admitted = left >= 1
            self._left[client] = (left - admitted, now)
            if len(self._left) > _CLIENTS:
                self._left.popitem(last=False)
        return 0.0 if admitted else (1 - left) * 60 / self._per_minute

    def check(self, request: Request) -> None:
        """Raise the answer 429 for a client that asks too often."""
        wait = self.admit(request.client.host if request.client else "")
        if wait:
            seconds = int(wait) + 1
            raise HTTPException(429, f"Too many at once. Try again in {seconds} s.", {"Retry-After": str(seconds)})


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request. Raises the answer 413 as soon as it is larger than `most` bytes, and 408 for one that
    takes a minute."""
    too_large = HTTPException(413, f"Expected at most {most:,} bytes.", {"Connection": "close"})
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > most:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise too_large
    except TimeoutError as error:
        raise HTTPException(408, f"Expected the whole body within {_BODY_SECONDS} s.") from error
    return bytes(body)
