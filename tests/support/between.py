"""Something between a client and a server of HTTP, as a proxy is: it hands on what it is asked, or answers by itself."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

LOST = 0
"""In place of a status: the connection breaks."""


@dataclass(slots=True)
class Asked:
    """A request; what is changed of it is handed on so."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


Answer = Callable[[Asked], tuple[int, bytes] | tuple[int, bytes, dict[str, str]] | None]


@contextmanager
def between(port: int, answer: Answer) -> Iterator[int]:
    """The port at which `answer` answers with a status, a body and headers; where it gives None, the server does."""

    class Between(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            asked = Asked(self.command, self.path, self.headers, self.rfile.read(length))
            status, body, *more = answer(asked) or _handed_on(port, asked)
            if status == LOST:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(more[0] if more else {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the names that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Between)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handed_on(port: int, asked: Asked) -> tuple[int, bytes]:
    kept = ("Content-Type", "api-key")
    headers = {name: asked.headers[name] for name in kept if name in asked.headers}
    to = f"http://127.0.0.1:{port}{asked.path}"
    found = httpx.request(asked.method, to, content=asked.body, headers=headers, timeout=60)
    return found.status_code, found.content
