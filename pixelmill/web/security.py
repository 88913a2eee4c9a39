"""Who may ask the gallery, how often and how much; and the headers that tell a browser to trust nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import logging
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
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
_KEPT = "session.key"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL

_log = logging.getLogger(__name__)


class Guard:
    """Around the whole application: every answer gets HEADERS, and who may not ask gets no further.

    Without a door, only requests to a name in `hosts` are taken: a page elsewhere whose name was made to lead to this
    machine (DNS rebinding) calls it by that name. With one, a request needs its token as `Authorization: Bearer …` or
    the cookie that the door gives for it. A page of another origin can never post.
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str], door: Door | None) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._door = door

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
        if self._door is None and _hostname(headers.get("host", "")) not in self._hosts:
            names = " or ".join(sorted(self._hosts))
            return problem(421, f"Expected a request to {names}. Name any other address as `[web] url`.")
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD") and origin and urlsplit(origin).netloc != headers.get("host"):
            return problem(403, "Expected a request from the gallery's own page. It came from another site.")
        if self._door is None or is_open(scope["path"]):
            return None
        try:
            if self._door.lets_in(headers, client_of(scope)):
                return None
        except HTTPException as error:
            return problem(error.status_code, error.detail, error.headers)
        return problem(401, "Expected the gallery's token.", {"WWW-Authenticate": "Bearer"})


def is_open(path: str) -> bool:
    """Whether everybody gets what is at a path."""
    return path == "/" or path.startswith(OPEN)


class Door:
    """The token, the cookie that stands for it, and how often a client may be wrong about the token, whichever way it
    is handed in. After that not even the right one is looked at for a while. Safe to use from many threads.

    The cookie is made of the token and of a secret of this gallery, so that guessing it is no way to guess the token,
    and needs no limit: a browser that comes with the cookie of another token has not used up its tries.
    """

    def __init__(self, token: str, *, secret: bytes, tries: RateLimit) -> None:
        self._token, self._tries = token, tries
        self.session = hmac.new(secret, b"pixelmill gallery session" + token.encode(), hashlib.sha256).hexdigest()

    def lets_in(self, headers: Headers, client: str) -> bool:
        """Whether a request carries the token or the cookie. Raises the answer 429 for a client that guesses."""
        cookies = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
        if any(name == COOKIE and same(value, self.session) for name, _, value in cookies):
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and bool(given.strip()) and self.takes(given.strip(), client)

    def takes(self, given: str, client: str) -> bool:
        """Whether that is the token. Raises the answer 429 for a client that was wrong too often."""
        self._tries.check(client, spend=False)
        right = same(given, self._token)
        if not right:
            self._tries.admit(client)
            _log.warning("A wrong token from %s.", client)
        return right


def kept_secret(folder: Path) -> bytes:
    """The secret that sessions are made of, kept in `folder` so that they outlive a restart; a new one each time where
    that cannot be, or where others may read it."""
    path, made = folder / _KEPT, secrets.token_bytes(32)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileExistsError), os.fdopen(os.open(path, _NEW, 0o600), "wb") as file:
            file.write(made)
        with path.open("rb") as file:
            status, kept = os.fstat(file.fileno()), file.read(33)
    except OSError:
        return made
    private = status.st_uid == os.geteuid() and not status.st_mode & 0o077
    return kept if private and len(kept) == len(made) else made


def client_of(scope: Mapping[str, Any]) -> str:
    """Who asks: an address, of IPv6 the network of 64 bits, as whoever has one of its addresses has them all."""
    host = str((scope.get("client") or ("",))[0])
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address) or address.ipv4_mapped:
        return str(getattr(address, "ipv4_mapped", None) or address)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))


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

    def admit(self, client: str, *, spend: bool = True) -> float:
        """0 for a client that may go on, which costs it one admission if `spend`; else how many seconds to wait."""
        now = time.monotonic()
        with self._guard:
            left, since = self._left.pop(client, (float(self._per_minute), now))
            left = min(float(self._per_minute), left + (now - since) * self._per_minute / 60)
            admitted = left >= 1
            self._left[client] = (left - (admitted and spend), now)
            if len(self._left) > _CLIENTS:
                self._left.popitem(last=False)
        return 0.0 if admitted else (1 - left) * 60 / self._per_minute

    def check(self, client: str, *, spend: bool = True) -> None:
        """Raise the answer 429 for a client that asks too often."""
        wait = self.admit(client, spend=spend)
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
