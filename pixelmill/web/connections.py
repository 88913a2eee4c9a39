"""How long a client may keep a connection waiting: what a socket costs ends by the clock, and gives way to others."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST: Final = 256
"""Connections at once. When there are as many, the one that waits for its client longest is closed for a new one."""
HEAD_SECONDS: Final = 10.0
"""From the connection, or the last answer, to the end of a request's head."""
BODY_SECONDS: Final = 70.0
"""From there to the end of its body; `security.read_body` answers before."""
STALLED_SECONDS: Final = 30.0
"""How long a client may take nothing of an answer."""

_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def configured(app: FastAPI) -> uvicorn.Config:
    """How uvicorn serves the gallery."""
    return uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, proxy_headers=False, http=TimedProtocol,
        ws="none", limit_concurrency=2 * MOST,
    )  # fmt: skip


class TimedProtocol(H11Protocol):
    """HTTP/1.1 for uvicorn, which by itself gives a client all the time in the world for head and body, and refuses
    everybody once 256 sockets are open, whatever they do.

    A connection waits for its client while a head or a body is to come, or an answer is not taken. While it works for
    one, nothing here ends it.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._awaited = ""
        self._since = self.loop.time()
        self._late: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    @property
    def waits(self) -> bool:
        """Whether its client has something to do."""
        return bool(self._awaited or self._stalled)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._await("")
        self._written()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        self._await("")  # the head of another request has a time of its own
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._since = self.loop.time()
        self._look_again(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._written()
        super().resume_writing()

    def _watch(self) -> None:
        """Set the clock for what the client has to send next, unless it runs already."""
        if self.transport.is_closing():
            self._await("")
        elif self.conn.their_state is h11.SEND_BODY:
            self._await("body", BODY_SECONDS)
        elif self.conn.their_state is h11.IDLE:
            self._await("head", HEAD_SECONDS)
        else:
            self._await("")

    def _await(self, what: str, seconds: float = 0) -> None:
        if what == self._awaited:
            return
        if self._late:
            self._late.cancel()
        self._awaited, self._since = what, self.loop.time()
        self._late = self.loop.call_later(seconds, self._too_late) if what else None

    def _too_late(self) -> None:
        if self._awaited == "head" and self.conn.trailing_data[0]:
            self.transport.write(_TIMEOUT)
            self.transport.close()
        else:
            self.transport.abort()

    def _look_again(self, unsent: int) -> None:
        """Leave a client that has taken nothing of `unsent` bytes when the time is over."""

        def look() -> None:
            left = self.transport.get_write_buffer_size()
            if left < unsent:
                self._look_again(left)
            else:
                self.transport.abort()

        self._stalled = self.loop.call_later(STALLED_SECONDS, look)

    def _written(self) -> None:
        if self._stalled:
            self._stalled.cancel()
        self._stalled = None

    def _make_room(self) -> None:
        """So that whoever comes is served, however many sockets somebody holds open."""
        if len(self.connections) >= MOST:
            others = (one for one in self.connections if isinstance(one, TimedProtocol) and one is not self)
            longest = min((one for one in others if one.waits), key=lambda one: one._since, default=None)
            if longest:
                self.connections.discard(longest)
                longest.transport.abort()
