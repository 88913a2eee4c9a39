"""A way to a server on which the bytes are counted that come back from it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

from tests.support.prefect_server import free_port


class Meter:
    """Takes connections at `url`, hands them on to a port of this machine, and counts the `bytes` that come back."""

    def __init__(self, port: int) -> None:
        self.bytes = 0
        self._to, self._port = port, free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    @contextmanager
    def running(self) -> Iterator[Meter]:
        """Take connections while the block runs."""
        loop = asyncio.new_event_loop()
        server = loop.run_until_complete(asyncio.start_server(self._taken, "127.0.0.1", self._port))
        thread = Thread(target=loop.run_forever)
        thread.start()
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(server.close)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        await asyncio.gather(self._hand_on(reader, back), self._hand_on(there, writer, counted=True))

    async def _hand_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool = False
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(2**16):
                self.bytes += len(data) if counted else 0
                writer.write(data)
                await writer.drain()
        writer.close()
