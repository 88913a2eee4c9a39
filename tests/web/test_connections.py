"""What a client may cost by doing nothing, or by doing it slowly: real sockets, a real server."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import uvicorn

from pixelmill.images.decode import DecodeOptions
from pixelmill.web import connections, gallery
from pixelmill.web.app import make_app
from pixelmill.web.connections import configured
from pixelmill.web.gallery import Gallery, Limits
from tests.web.conftest import Collection

GET = b"GET /api/store HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /api/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000\r\n\r\n{"
SOON = 1.0

Connect = Callable[..., socket.socket]


@pytest.fixture
def connect(collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Opens a socket to a gallery that waits a second for what it else waits a minute, and sends what is given."""
    for name in ("HEAD_SECONDS", "BODY_SECONDS", "STALLED_SECONDS"):
        monkeypatch.setattr(connections, name, SOON)
    made = Gallery(collection.searcher(), cache=tmp_path, options=DecodeOptions(), limits=Limits())
    server = uvicorn.Server(configured(make_app(made)))
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as opened:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()

        def connect(sent: bytes = b"", *, buffer: int = 0) -> socket.socket:
            client = opened.enter_context(socket.socket())
            if buffer:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            client.settimeout(20)
            client.connect(listening.getsockname())
            client.sendall(sent)
            return client

        yield connect
        server.should_exit = True
        opened.close()
        thread.join()


def status(client: socket.socket) -> int:
    """Of the next answer, which is read to its end; 0 if the connection ends without one."""
    head, _ = _answer(client)
    return int(head.split()[1]) if head else 0


def seconds_until_closed(client: socket.socket) -> float:
    started = time.monotonic()
    try:
        while client.recv(65_536):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - started


def test_sockets_that_say_nothing_do_not_keep_others_out(connect: Connect) -> None:
    """However many there are, as many again, and ones that have begun a head or a body: whoever asks is answered."""
    half = [b"", GET[:20], POST % b"session", POST % b"uploads"]
    held = [connect(half[i % 4]) for i in range(connections.MOST + 80)]
    assert status(connect(GET)) == 200
    assert len(held) > connections.MOST


@pytest.mark.parametrize("sent", [b"", GET[:-2], POST % b"session", POST % b"uploads", POST % b"nothing"])
def test_a_request_that_does_not_come_ends_the_connection(connect: Connect, sent: bytes) -> None:
    """Its head and its body have their time each, also where nobody reads the body."""
    assert SOON / 2 < seconds_until_closed(connect(sent)) < 8 * SOON


def test_a_byte_now_and_then_gains_no_time(connect: Connect) -> None:
    """In the head and in the body, the clock runs from their beginning."""
    for begun in (GET[:-4], POST % b"uploads"):
        client = connect(begun)
        started = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - started < 12 * SOON:
                client.sendall(b"x")
                time.sleep(SOON / 4)
        assert time.monotonic() - started < 8 * SOON


def test_a_connection_is_used_again_and_each_request_has_its_time(connect: Connect) -> None:
    """Requests that come in time are answered one after the other, for longer than one may take."""
    client = connect()
    for _ in range(4):
        time.sleep(SOON / 2)
        client.sendall(GET)
        assert status(client) == 200


@pytest.mark.slow
def test_who_takes_no_answer_is_left(connect: Connect) -> None:
    """A client that asks and does not read holds no memory for ever; one that reads slowly gets everything."""
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: identity\r\n\r\n"
    whole = len(_read_one(connect(asked)))
    idle = connect(asked * 1000, buffer=4096)
    time.sleep(3 * SOON)
    with pytest.raises(ConnectionError):
        _receive(idle, 1000 * whole)
    slow = connect(asked * 8, buffer=4096)
    assert _receive(slow, 8 * whole, pause=SOON / 20) == 8 * whole


def _receive(client: socket.socket, size: int, *, pause: float = 0) -> int:
    received = 0
    while received < size:
        found = client.recv(30_000)
        if not found:
            raise ConnectionError
        received += len(found)
        time.sleep(pause)
    return received


def _read_one(client: socket.socket) -> bytes:
    return b"\r\n\r\n".join(_answer(client))


def _answer(client: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of the next answer, as far as they come before the connection ends."""
    found = b""
    with suppress(ConnectionError):
        while more := client.recv(65_536):
            found += more
            head, end, body = found.partition(b"\r\n\r\n")
            told = re.search(rb"content-length: (\d+)", head.lower())
            length = int(told[1]) if told else 0
            if end and len(body) >= length:
                break
    head, _, body = found.partition(b"\r\n\r\n")
    return head, body


def test_only_so_many_uploads_are_in_memory_at_once(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is asked to come back, and is let in when one of them has ended."""
    monkeypatch.setattr(connections, "BODY_SECONDS", 4 * SOON)
    held = [connect(POST % b"uploads") for _ in range(gallery._AT_ONCE)]
    time.sleep(SOON / 2)
    assert status(connect(POST % b"uploads")) == 503
    held[0].close()
    time.sleep(SOON / 2)
    assert status(connect(POST % b"uploads" + b"x" * 2999)) == 422
