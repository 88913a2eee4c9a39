"""A real HTTP server for images that stalls, cuts and lies; it counts what is asked of it."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.support.serving import LocalServer


@dataclass
class Faults:
    """What goes wrong with a file. `statuses` are the answers to the next requests, `cuts` the bytes after which the
    next transfers break; `length` is what HEAD says of the size; `head_status` what it answers to HEAD (0: it hangs up);
    `chunked` bodies come in pieces of which nobody says the length; `location` is where it sends one on to."""

    statuses: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    stall: float = 0.0
    length: int | None = None
    head_status: int | None = None
    chunked: bool = False
    location: str = ""
    content_type: str = ""
    etag: bool = True
    ranges: bool = True
    says_length: bool = True
    encoding: str = ""


class ImageServer(LocalServer):
    """Serves `files`, by path. `requests` holds what was asked, as ("GET", "/a.jpg")."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, Faults] = {}
        self.requests: list[tuple[str, str]] = []
        self.modified = "Thu, 26 Nov 2026 02:00:00 GMT"
        self.delay = 0.0
        self.login = ""
        self.refuse: Callable[[], tuple[int, dict[str, str]] | None] = lambda: None
        """How the next request is refused, if it is."""
        self.at_once = self.most_at_once = 0
        self.guard = threading.Lock()
        owner = self

        class Handler(_Handler):
            server_owner = owner

        super().__init__(Handler)

    def reads(self) -> list[str]:
        """The paths whose content was asked for."""
        return [path for method, path in self.requests if method == "GET"]


class _Handler(BaseHTTPRequestHandler):
    server_owner: ImageServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        """Tests read `requests`."""

    def _answer(self, *, body: bool) -> None:
        owner = self.server_owner
        with owner.guard:
            owner.requests.append((self.command, self.path))
            owner.at_once += 1
            owner.most_at_once = max(owner.most_at_once, owner.at_once)
        time.sleep(owner.delay)
        with owner.guard:  # before the answer, after which the client may ask for more
            owner.at_once -= 1
        self._told(body=body)

    def _send(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _told(self, *, body: bool) -> None:
        owner = self.server_owner
        faults = owner.faults.get(self.path, Faults())
        data = owner.files.get(self.path)
        if owner.login and self.headers.get("Authorization") != owner.login:
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if refusal := owner.refuse():
            self._send(*refusal)
            return
        if faults.location:
            self._send(302, {"Location": faults.location})
            return
        if not body and faults.head_status is not None:
            self.close_connection = True
            if faults.head_status:
                self._send(faults.head_status, {})
            return
        if data is None or faults.statuses:
            status = 404 if data is None else faults.statuses.pop(0)
            if status != 200:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if faults.ranges else None
        start = int(found[1]) if found else 0
        stop = min(int(found[2]) + 1, len(data)) if found and found[2] else len(data)
        self.send_response(206 if found else 200)
        if found:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        if faults.etag:
            self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
            self.send_header("Last-Modified", owner.modified)
        if faults.content_type:
            self.send_header("Content-Type", faults.content_type)
        if faults.encoding:
            self.send_header("Content-Encoding", faults.encoding)
        if faults.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif faults.says_length:
            length = stop - start if body or faults.length is None else faults.length
            self.send_header("Content-Length", str(length))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        if not body:
            return
        if faults.stall:
            self.wfile.write(data[start : start + 10])
            self.wfile.flush()
            time.sleep(faults.stall)
        if faults.chunked:
            for part in (data[start:stop][:50], data[start:stop][50:]):
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n" if part else b"")
            self.wfile.write(b"0\r\n\r\n")
            return
        cut = faults.cuts.pop(0) if faults.cuts else None
        self.wfile.write(data[start:stop] if cut is None else data[start : start + cut])
        self.close_connection = self.close_connection or cut is not None or not faults.says_length
