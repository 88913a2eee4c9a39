"""Files under http(s) addresses. Nothing that the server says is believed before it was counted."""

from __future__ import annotations

import netrc
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from pixelmill.errors import SourceError
from pixelmill.sources.files import Status, tag_of
from pixelmill.sources.limits import HostLimit, is_refusal, wanted_wait

if TYPE_CHECKING:
    import httpx

AT_ONCE: Final = 64
"""Connections at once, to all hosts."""
_CONNECT_SECONDS: Final = 15.0
_SILENT_SECONDS: Final = 30.0
"""A server that says nothing for so long has stalled."""
_IMPATIENT_SECONDS: Final = 5.0
"""So long a server is given that is down."""
_PATIENCE: Final = 60.0
_LEAST_RATE: Final = 20_000.0
"""After 60 seconds, a transfer of fewer bytes a second than this is given up: it would hold its place for hours."""
_GOOD: Final = frozenset({200, 206})
_MAY_PASS: Final = frozenset({408, 502, 503, 504})
"""Answers of a server that is out of order; to HEAD, any other that is not good says nothing of GET."""
_REFUSALS: Final = frozenset({429, 503})
_HEADERS: Final = {"User-Agent": "pixelmill", "Accept-Encoding": "identity"}

_guard = threading.Lock()
_clients: dict[int, HttpFiles] = {}


def http_files() -> HttpFiles:
    """The files of this process, which share their connections."""
    with _guard:
        if os.getpid() not in _clients:
            _clients.clear()  # those of a parent are not a child's
            _clients[os.getpid()] = HttpFiles()
        return _clients[os.getpid()]


class _Dropped(OSError):
    """A server that ended a connection before its answer, or in the middle of it."""


class HttpFiles:
    """Files under http(s) addresses; see `files.Files`."""

    def __init__(self) -> None:
        import httpx

        try:
            self._client = httpx.Client(
                follow_redirects=True,
                limits=httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE),
                auth=netrc_login(),
                headers=_HEADERS,
            )
        except (ValueError, ImportError) as error:
            raise SourceError(
                f"Expected proxies that can be used, in HTTP_PROXY, HTTPS_PROXY and ALL_PROXY. {error}"
            ) from error
        self._guard = threading.Lock()
        self._limits: dict[str, HostLimit] = {}

    def is_down(self, address: str) -> bool:
        """Whether the server of an address has failed many times, and since then never answered."""
        limit = self._limit(address)
        return limit.is_down("HEAD") or limit.is_down("GET")

    def status(self, address: str) -> Status:
        with suppress(_Dropped), self._asked("HEAD", address) as answer:
            if answer.status_code in _GOOD or answer.status_code in _MAY_PASS:
                _check(answer)
                return _status(answer)
        with self._asked("GET", address) as answer:  # some servers, and links signed for GET, know no HEAD, or deny all
            _check(answer)
            return _status(answer)

    def length(self, address: str) -> int:
        """The size of a file in bytes, as the answer to a question for a part of it says; 0 where it does not. The
        length in an answer to HEAD may be that of something else."""
        with self._asked("GET", address, {"Range": "bytes=0-0"}) as answer:
            _check(answer)
            found = re.fullmatch(r"bytes 0-0/(\d{1,18})", answer.headers.get("Content-Range", ""))
            return int(found[1]) if found else 0

    def read(self, address: str, start: int = 0, stop: int | None = None, *, most: int) -> bytes:
        part = start > 0 or stop is not None
        wanted = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"} if part else {}
        with self._asked("GET", address, wanted) as answer:
            _check(answer)
            if part:
                _check_part(answer, start)
            return _received(answer, most if stop is None else min(most, stop - start - 1))

    @contextmanager
    def _asked(self, method: str, address: str, headers: dict[str, str] | None = None) -> Iterator[httpx.Response]:
        """An answer to a question, put when the server lets itself be asked, and again when it wants that."""
        limit = self._limit(address)
        while True:
            with limit.turn(method), self._answer(limit, method, address, headers) as answer:
                wait = wanted_wait(answer.headers)
                if not is_refusal(answer.status_code, wait):
                    yield answer
                    return
                limit.refused(wait)

    @contextmanager
    def _answer(
        self, limit: HostLimit, method: str, address: str, headers: dict[str, str] | None
    ) -> Iterator[httpx.Response]:
        import httpx

        usual = httpx.Timeout(_SILENT_SECONDS, connect=_CONNECT_SECONDS, pool=None)
        timeout = httpx.Timeout(_IMPATIENT_SECONDS, pool=None) if limit.is_down(method) else usual
        try:
            with self._client.stream(method, address, headers=headers, timeout=timeout) as answer:
                yield answer
        except (FileNotFoundError, PermissionError):
            limit.answered(method)
            raise
        except httpx.TimeoutException as error:
            limit.failed(method)
            raise TimeoutError(f"the server stalled ({type(error).__name__})") from error
        except httpx.RemoteProtocolError as error:
            limit.failed(method)
            raise _Dropped(str(error)) from error
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            limit.failed(method)
            raise OSError(str(error) or type(error).__name__) from error
        except OSError:
            limit.failed(method)
            raise
        if answer.status_code not in _REFUSALS:
            limit.answered(method)

    def _limit(self, address: str) -> HostLimit:
        host = address.split("/", 3)[2]
        with self._guard:
            return self._limits.setdefault(host, HostLimit(AT_ONCE))


def netrc_login() -> httpx.Auth | None:
    """Users and passwords by host, from ~/.netrc or the file that NETRC names: no other place keeps them unseen."""
    import httpx

    try:
        return httpx.NetRCAuth(os.environ.get("NETRC"))
    except (OSError, netrc.NetrcParseError):
        return None


def _check(answer: httpx.Response) -> None:
    code = answer.status_code
    if code in _GOOD:
        return
    said = f"the server answered {code}"
    if code in (404, 410):
        raise FileNotFoundError(f"{said}, it has no such file")
    if code in (401, 403):
        raise PermissionError(f"{said}, it wants a login: put it into ~/.netrc")
    raise OSError(said)


def _check_part(answer: httpx.Response, start: int) -> None:
    found = re.match(r"bytes (\d{1,18})-", answer.headers.get("Content-Range", ""))
    if answer.status_code != 206 or not found or int(found[1]) != start:
        raise OSError(
            "the server does not give parts of a file (RFC 9110, 14), as reading archives takes; download it and name "
            "the copy"
        )


def _status(answer: httpx.Response) -> Status:
    encoded = "Content-Encoding" in answer.headers  # then the length is that of something else
    length = "0" if encoded else answer.headers.get("Content-Length", "0")
    etag = answer.headers.get("ETag", "")
    size = int(length) if length.isdecimal() and len(length) < 19 else 0  # as many digits as SQLite keeps
    return Status(size, _modified(answer), tag_of(etag))


def _modified(answer: httpx.Response) -> int:
    try:
        seconds = int(parsedate_to_datetime(answer.headers["Last-Modified"]).timestamp())
    except (KeyError, ValueError, OverflowError):
        return 0
    return seconds * 10**9 if 0 <= seconds < 2**33 else 0


def _received(answer: httpx.Response, most: int) -> bytes:
    """The body, of at most one byte more than `most`. httpx itself refuses one that ends before its length."""
    pieces, size, start = list[bytes](), 0, time.monotonic()
    for piece in answer.iter_bytes():
        pieces.append(piece)
        size += len(piece)
        if size > most:
            break
        spent = time.monotonic() - start
        if spent > _PATIENCE and size < spent * _LEAST_RATE:
            raise TimeoutError(f"only {size:,} bytes came in {spent:.0f} s")
    return b"".join(pieces)[: most + 1]
