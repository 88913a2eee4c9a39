"""A real HTTP server for weights: ranges, redirects, cut-offs, stalls, wrong bytes; it counts what is asked of it."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote

from tests.support.serving import LocalServer


@dataclass
class Behaviour:
    """What the server does wrong. `cut_after` holds one number of bytes for each of the next transfers."""

    cut_after: list[int] = field(default_factory=list)
    stall: float = 0.0
    status: int = 0
    corrupt: bool = False
    ranges: bool = True
    etag: bool = True
    delay: float = 0.0


@dataclass
class Request:
    """One request as it came in."""

    path: str
    range: str
    authorization: str


class WeightsServer(LocalServer):
    """Serves `folder`. Paths with `/resolve/` redirect to `/cdn/…` and say X-Linked-Etag, as Hugging Face does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.behaviour = Behaviour()
        self.requests: list[Request] = []
        self.linked_etag: str | None = None
        self.redirect_to = ""
        owner = self

        class Handler(_Handler):
            server_owner = owner

        super().__init__(Handler)

    @property
    def transfers(self) -> int:
        """How often file content was asked for (redirects do not count)."""
        return sum(1 for r in self.requests if r.path.startswith("/cdn") or "/resolve/" not in r.path)


class _Handler(BaseHTTPRequestHandler):
    server_owner: WeightsServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        owner = self.server_owner
        owner.requests.append(Request(self.path, self.headers.get("Range", ""), self.headers.get("Authorization", "")))
        time.sleep(owner.behaviour.delay)
        file = owner.folder / unquote(self.path.removeprefix("/cdn")).lstrip("/")
        if owner.behaviour.status:
            self._empty(owner.behaviour.status)
        elif not file.is_file():
            self._empty(404)
        elif "/resolve/" in self.path and not self.path.startswith("/cdn"):
            digest = owner.linked_etag or hashlib.sha256(file.read_bytes()).hexdigest()
            self._empty(302, {"Location": f"{owner.redirect_to}/cdn{self.path}", "X-Linked-Etag": f'"{digest}"'})
        else:
            self._content(file.read_bytes())

    def _empty(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _content(self, body: bytes) -> None:
        behaviour = self.server_owner.behaviour
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        start = self._start(body, etag)
        if start is None:
            self._empty(416, {"Content-Range": f"bytes */{len(body)}"})
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if behaviour.etag:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if behaviour.corrupt:
            body = body[:-1] + bytes([body[-1] ^ 0xFF])
        piece = body[start:]
        if behaviour.cut_after:
            piece = piece[: behaviour.cut_after.pop(0)]
            self.close_connection = True
        self.wfile.write(piece)
        self.wfile.flush()
        if behaviour.stall:
            time.sleep(behaviour.stall)

    def _start(self, body: bytes, etag: str) -> int | None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not asked or not self.server_owner.behaviour.ranges or self.headers.get("If-Range", etag) != etag:
            return 0
        return int(asked[1]) if int(asked[1]) < len(body) else None
