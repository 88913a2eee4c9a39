"""Photoshop documents, icons and Targas byte by byte, as their descriptions say."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import imagecodecs
import numpy as np

Array = np.ndarray[Any, Any]
BITMAP, GREY, INDEXED, RGB, CMYK, LAB = 0, 1, 2, 3, 4, 9


def psd(
    planes: Sequence[Array], mode: int, *, depth: int = 8, packed: bool = False, palette: bytes = b"", alpha: bool = False,
    resources: dict[int, bytes] | None = None, big: bool = False, size: tuple[int, int] | None = None,
) -> bytes:  # fmt: skip
    """A document without layers of these channels, each (height, width); of 1 bit, rows of bytes. `size` is claimed."""
    height, width = planes[0].shape
    width, height = size or (width * (8 if depth == 1 else 1), height)
    head = struct.pack(">4sH6xHIIHH", b"8BPS", 2 if big else 1, len(planes), height, width, depth, mode)
    told = b"".join(
        b"8BIM" + struct.pack(">HHI", number, 0, len(body)) + body + bytes(len(body) % 2)
        for number, body in (resources or {}).items()
    )
    word = ">Q" if big else ">I"
    layers = struct.pack(word, 2) + struct.pack(">h", -1) if alpha else b""
    between = struct.pack(">I", len(palette)) + palette + struct.pack(">I", len(told)) + told
    between += struct.pack(word, len(layers)) + layers
    kind = {1: ">u1", 8: ">u1", 16: ">u2", 32: ">f4"}[depth]
    rows = [row.astype(kind).tobytes() for plane in planes for row in plane]
    if not packed:
        return head + between + b"\0\0" + b"".join(rows)
    short = [bytes(imagecodecs.packbits_encode(row)) for row in rows]
    lengths = b"".join(struct.pack(">I" if big else ">H", len(row)) for row in short)
    return head + between + b"\0\1" + lengths + b"".join(short)


def icon(pictures: Sequence[tuple[tuple[int, int], bytes]]) -> bytes:
    """An icon of PNGs and bitmaps, each with the size that the list claims."""
    at, entries, bodies = 6 + 16 * len(pictures), b"", b""
    for (width, height), body in pictures:
        entries += struct.pack("<BBBBHHII", width % 256, height % 256, 0, 0, 1, 32, len(body), at + len(bodies))
        bodies += body
    return struct.pack("<HHH", 0, 1, len(pictures)) + entries + bodies


def icon_bitmap(rgba: Array) -> bytes:
    """A bitmap of 32 bits with its mask, which is empty."""
    height, width, _ = rgba.shape
    head = struct.pack("<IiiHHIIiiII", 40, width, 2 * height, 1, 32, 0, 0, 0, 0, 0, 0)
    return head + rgba[::-1, :, [2, 1, 0, 3]].tobytes() + bytes((width + 31) // 32 * 4 * height)
