"""Hands connections on: `python -m tests.support.relay LISTEN TO PORT…` takes them at LISTEN, to the same ports at TO."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress


async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What comes in on one side goes out on the other, until it ends."""
    with suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def serve(listen: str, to: str, ports: list[int]) -> None:
    """All ports, for ever. Says `ready` once connections are taken."""

    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        try:
            there, back = await asyncio.open_connection(to, port)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(hand_on(reader, back), hand_on(there, writer))

    for port in ports:
        await asyncio.start_server(lambda r, w, port=port: taken(r, w, port), listen, port)  # type: ignore[misc]
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], [int(port) for port in sys.argv[3:]]))
