"""EXIF: by Pillow, as a camera writes it; by hand, as none does; and files by hand that have it."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from PIL import Image

from tests.support.heic import box

WRITTEN: dict[str, float | int | str] = {
    "taken_at": 1_714_979_289_120,
    "taken_offset": -210,
    "camera": "Canon EOS R5",
    "lens": "RF24-105mm F4 L IS USM",
    "latitude": -33.856784,
    "longitude": 151.215296,
    "altitude": -12.5,
}
"""What `exif()` says; its clock showed the 6th of May 2024, 07:08:09.12."""

Tag = tuple[int, int, int, bytes]
"""Number, type, count and value, as they are stored."""


def exif() -> Image.Exif:
    made = Image.Exif()
    made[0x010F], made[0x0110], made[0x0132] = "Canon", "Canon EOS R5", "2025:01:01 00:00:00"
    made[0x8769] = {
        0x9003: "2024:05:06 07:08:09", 0x9291: "12", 0x9011: "-03:30", 0xA434: "RF24-105mm F4 L IS USM",
        0x9004: "2024:06:06 07:08:09", 0x927C: bytes(range(256)) * 40,
    }  # fmt: skip
    made[0x8825] = {1: "S", 2: (33.0, 51.0, 24.4224), 3: "E", 4: (151.0, 12.0, 55.0656), 5: b"\1", 6: 12.5}
    return made


def text(number: int, value: bytes) -> Tag:
    return number, 2, len(value), value


def rationals(number: int, *parts: tuple[int, int]) -> Tag:
    return number, 5, len(parts), b"".join(struct.pack("<II", *part) for part in parts)


FIRST = [text(0x010F, b"Canon\0"), text(0x0110, b"Canon EOS R5\0")]
TIMES = [
    text(0x9003, b"2024:05:06 07:08:09\0"), text(0x9011, b"-03:30\0"), text(0x9291, b"12\0"),
    text(0xA434, b"RF24-105mm F4 L IS USM\0"),
]  # fmt: skip
PLACE = [
    text(1, b"S\0"), rationals(2, (33, 1), (51, 1), (244224, 10000)),
    text(3, b"E\0"), rationals(4, (151, 1), (12, 1), (550656, 10000)), (5, 1, 1, b"\1"), rationals(6, (25, 2)),
]  # fmt: skip


def block(first: Sequence[Tag] = (), exif: Sequence[Tag] = (), gps: Sequence[Tag] = (), magic: bytes = b"II*\0") -> bytes:  # fmt: skip
    """A little-endian TIFF of three directories; values of more than four bytes lie behind them all."""
    sizes = [2 + 12 * len(tags) + 4 for tags in ([*first, None, None], exif)]
    pointers = [(0x8769, 4, 1, struct.pack("<I", 8 + sizes[0])), (0x8825, 4, 1, struct.pack("<I", 8 + sum(sizes)))]
    lists = [[*first, *pointers], exif, gps]
    at, made, values = 8 + sum(2 + 12 * len(tags) + 4 for tags in lists), b"", b""
    for tags in lists:
        made += struct.pack("<H", len(tags))
        for number, kind, count, value in tags:
            stored = value.ljust(4, b"\0")
            if len(value) > 4:
                stored, values = struct.pack("<I", at + len(values)), values + value
            made += struct.pack("<HHI", number, kind, count) + stored
        made += bytes(4)
    return magic + struct.pack("<I", 8) + made + values


def in_jpeg(jpeg: bytes, *blocks: bytes) -> bytes:
    """Behind its first segment, as many segments of EXIF."""
    at = 4 + int.from_bytes(jpeg[4:6], "big")
    apps = b"".join(b"\xff\xe1" + struct.pack(">H", 8 + len(one)) + b"Exif\0\0" + one for one in blocks)
    return jpeg[:at] + apps + jpeg[at:]


def in_psd(exif: bytes) -> bytes:
    """The head of a Photoshop document, with other resources before and behind."""

    def resource(number: int, name: bytes, body: bytes) -> bytes:
        pascal = bytes([len(name)]) + name
        padded = pascal + bytes(len(pascal) % 2)
        return b"8BIM" + struct.pack(">H", number) + padded + struct.pack(">I", len(body)) + body + bytes(len(body) % 2)

    resources = resource(1005, b"", b"\0" * 15) + resource(1058, b"abc", exif) + resource(1060, b"ab", b"<x/>")
    return b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 4, 4, 8, 3) + struct.pack(">I", 6) + bytes(6) + struct.pack(">I", len(resources)) + resources  # fmt: skip


def in_cr3(first: bytes, exif: bytes, gps: bytes) -> bytes:
    """The boxes of a CR3 that have EXIF (https://github.com/lclevy/canon_cr3)."""
    canon = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    blocks = (
        box(b"CNCV", b"CanonCR3") + box(b"CMT1", first) + box(b"CMT2", exif) + box(b"CMT3", b"") + box(b"CMT4", gps)
    )
    return box(b"ftyp", b"crx \0\0\0\1crx isom") + box(b"moov", box(b"uuid", canon + blocks) + box(b"mvhd", bytes(100)))


def in_raf(jpeg: bytes) -> bytes:
    """Fujifilm's head, with where its JPEG lies."""
    return b"FUJIFILMCCD-RAW 0201FF383501".ljust(84, b"\0") + struct.pack(">II", 148, len(jpeg)) + bytes(56) + jpeg


def in_jxl(kind: bytes, body: bytes) -> bytes:
    """A container of JPEG XL with one more box."""
    start = box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ")
    return start + box(b"jxlp", b"\0\0\0\0\xff\x0a") + box(kind, body) + box(b"jxlp", b"\x80\0\0\1")


def in_tiff(first: Sequence[Tag], exif: Sequence[Tag], gps: Sequence[Tag]) -> bytes:
    """A TIFF of 4 x 4 pixels, grey, whose strip lies behind the directories."""

    def made(strip: int) -> bytes:
        shorts = {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 277: 1, 278: 4, 279: 16}
        layout = [(tag, 3, 1, struct.pack("<H", value)) for tag, value in shorts.items()]
        return block(sorted([*first, *layout, (273, 4, 1, struct.pack("<I", strip))]), exif, gps)

    return made(len(made(0))) + bytes(range(0, 256, 16))
