"""Pictures from an enemy, each decoded under a limit of address space; prints name, outcome, words and seconds."""

from __future__ import annotations

import io
import json
import random
import resource
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pillow_heif
import pillow_jxl  # noqa: F401 - registers its plugin
from PIL import Image

from pixelmill.errors import ImageRejected
from pixelmill.images.decode import DecodeOptions
from pixelmill.images.sandbox import decode_in_sandbox

MEMORY = 700 << 20
"""Bytes of address space beside what the idle program has; its decoders, which inherit the limit, have the same in all."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "HEIF", "JXL")


def files() -> Iterator[tuple[str, bytes]]:
    """Hostile files by name."""
    pillow_heif.register_heif_opener()
    noise = Image.frombytes("RGB", (90, 70), random.Random(1).randbytes(90 * 70 * 3))
    for format in FORMATS:
        buffer = io.BytesIO()
        noise.save(buffer, format)
        data = buffer.getvalue()
        yield f"cut {format.lower()}", data[: len(data) // 2]
        for seed in range(6):
            yield f"flipped {format.lower()} {seed}", flipped(data, seed)
    rows = zlib.compress(b"\0" * (13000 * (13000 // 8 + 1)), 9)
    yield "bomb", png(13000, 13000, 1, 0, (b"IDAT", rows))
    yield "strip", png(1, 60000, 8, 0, (b"IDAT", zlib.compress(b"\0" * 120000)))
    packed = zlib.compress(b"\0" * 300_000_000, 9)
    picture = (b"IDAT", zlib.compress(b"\0" * (1 + 30) * 10))
    yield "icc bomb", png(10, 10, 8, 2, (b"iCCP", b"x\0\0" + packed), picture)
    yield "text bomb", png(10, 10, 8, 2, (b"zTXt", b"x\0\0" + packed), picture)
    yield "gif bomb", b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\xf0\0\0" + b"\0" * 6 + b","
    yield "bmp bomb", b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 30000, 30000, 1, 24, 0, 0, 0, 0, 0, 0)
    yield "html", b"<!DOCTYPE html><html><body>403</body></html>"
    yield "eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(touch canary) system\n"
    yield "empty", b""


def flipped(data: bytes, seed: int) -> bytes:
    """`data` with a few bits of it changed."""
    choose, changed = random.Random(seed), bytearray(data)
    for _ in range(8):
        changed[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
    return bytes(changed)


def png(width: int, height: int, bits: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of these chunks."""
    head = (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    every = (head, *chunks, (b"IEND", b""))
    parts = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in every]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def main() -> None:
    """Decode all of them and print what came out."""
    every = list(files())
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    for name, data in every:
        start = time.monotonic()
        try:
            decode_in_sandbox(data, DecodeOptions(max_seconds=20), shortest=224, wanted=[])
            kind, words = "picture", ""
        except ImageRejected as error:
            kind, words = "ImageRejected", error.reason
        print(json.dumps([name, kind, words, time.monotonic() - start]), flush=True)


if __name__ == "__main__":
    main()
