"""Files under http(s) addresses. Nothing that the server says is believed before it was counted."""

from __future__ import annotations

import netrc
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from pixelmill.errors import SourceError
from pixelmill.remote.files import Status, tag_of

if TYPE_CHECKING:
    import httpx

AT_ONCE: Final = 64
"""Connections at once, to all hosts."""
_CONNECT_SECONDS: Final = 15.0
_SILENT_SECONDS: Final = 30.0
"""A server that says nothing for so long has stalled."""
_TIMES: Final = 32
"""A server that failed so often, one time after the other, is given 5 seconds and asked once, until it answers again: a
list of many files on a server that is down must not hold a night up."""
_IMPATIENT_SECONDS: Final = 5.0
_PATIENCE: Final = 60.0
_LEAST_RATE: Final = 20_000.0
"""After 60 seconds, a transfer of fewer bytes a second than this is given up: it would hold its place for hours."""
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
        self._failures = Counter[tuple[str, str]]()

    def is_down(self, address: str) -> bool:
        """Whether the server of an address has failed many times, and since then never answered."""
        return any(self._failures[method, _host(address)] >= _TIMES for method in ("HEAD", "GET"))

    def status(self, address: str) -> Status:
        with self._asked("HEAD", address) as answer:
            if answer.status_code not in (400, 403, 405, 501):
                _check(answer)
                return _status(answer)
        with self._asked("GET", address) as answer:  # some servers, and links signed for GET, know no HEAD
            _check(answer)
            return _status(answer)

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
        import httpx

        host = method, _host(address)
        usual = httpx.Timeout(_SILENT_SECONDS, connect=_CONNECT_SECONDS, pool=None)
        timeout = httpx.Timeout(_IMPATIENT_SECONDS, pool=None) if self.is_down(address) else usual
        try:
            with self._client.stream(method, address, headers=headers, timeout=timeout) as answer:
                yield answer
        except (FileNotFoundError, PermissionError):
            self._failures.pop(host, None)
            raise
        except httpx.TimeoutException as error:
            self._failures[host] += 1
            raise TimeoutError(f"the server stalled ({type(error).__name__})") from error
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            self._failures[host] += 1
            raise OSError(str(error) or type(error).__name__) from error
        except OSError:
            self._failures[host] += 1
            raise
        self._failures.pop(host, None)


def _host(address: str) -> str:
    return address.split("/", 3)[2]


def netrc_login() -> httpx.Auth | None:
    """Users and passwords by host, from ~/.netrc or the file that NETRC names: no other place keeps them unseen."""
    import httpx

    try:
        return httpx.NetRCAuth(os.environ.get("NETRC"))
    except (OSError, netrc.NetrcParseError):
        return None


def _check(answer: httpx.Response) -> None:
    code = answer.status_code
    if code in (200, 206):
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
