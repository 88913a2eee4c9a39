"""EXIF: by Pillow, as a camera writes it, and by hand, as none does."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from PIL import Image

WRITTEN: dict[str, float | int | str] = {
    "taken_at": 1_714_979_289_120,
    "taken_offset": -210,
    "camera": "Canon EOS R5",
    "lens": "RF24-105mm F4 L IS USM",
    "latitude": -33.856784,
    "longitude": 151.215296,
    "altitude": -12.5,
}
"""What is made of `exif()`, whose clock showed the 6th of May 2024, 07:08:09.12."""


def exif() -> Image.Exif:
    made = Image.Exif()
    made[0x010F], made[0x0110], made[0x0132] = "Canon", "Canon EOS R5", "2025:01:01 00:00:00"
    made.get_ifd(0x8769).update(
        {
            0x9003: "2024:05:06 07:08:09", 0x9291: "12", 0x9011: "-03:30", 0xA434: "RF24-105mm F4 L IS USM",
            0x9004: "2024:06:06 07:08:09", 0x927C: bytes(range(256)) * 40,
        }
    )  # fmt: skip
    made.get_ifd(0x8825).update(
        {1: "S", 2: (33.0, 51.0, 24.4224), 3: "E", 4: (151.0, 12.0, 55.0656), 5: b"\1", 6: 12.5}
    )
    return made


Tag = tuple[int, int, int, bytes]
"""A number, a type, a count and a value, or its offset, as they are stored."""


def text(number: int, value: bytes) -> tuple[int, int, int, bytes]:
    return number, 2, len(value), value


def block(*directories: Sequence[Tag], order: str = "<", head: bytes = b"") -> bytes:
    """A TIFF of directories, one behind the other, the first with pointers to the next two (EXIF and GPS); values of
    more than four bytes lie behind them all."""
    first, *others = [list(one) for one in directories] or [[]]
    pointers = [(number, 4, 1, b"") for number, _ in zip((0x8769, 0x8825), others, strict=False)]
    lists: list[list[Any]] = [first + pointers, *others]
    starts, at = [], 8
    for one in lists:
        starts.append(at)
        at += 2 + 12 * len(one) + 4
    made, values = b"", b""
    for one in lists:
        made += struct.pack(order + "H", len(one))
        for number, kind, count, value in one:
            stored = value
            if number in (0x8769, 0x8825) and not value:
                stored = struct.pack(order + "I", starts[1 if number == 0x8769 else 2])
            elif len(value) > 4:
                stored, values = struct.pack(order + "I", at + len(values)), values + value
            made += struct.pack(order + "HHI", number, kind, count) + stored.ljust(4, b"\0")
        made += bytes(4)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return (head or magic) + struct.pack(order + "I", 8) + made + values
