"""HEIC files box by box (ISO/IEC 23008-12): tiles as phones write them, turned, mirrored, with colours of their own. The code of each tile is by pillow-heif."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Any

import pillow_heif
from PIL import Image

from pixelmill.images.jpeg2000 import boxes


def coded(image: Image.Image, **how: Any) -> bytes:
    """A file of one picture by pillow-heif."""
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, **{"quality": 90, **how})
    return file.getvalue()


def several(images: Sequence[Image.Image], main: int) -> bytes:
    """A file of several pictures by pillow-heif."""
    file = io.BytesIO()
    burst = pillow_heif.from_pillow(images[0])
    for image in images[1:]:
        burst.add_from_pillow(image)
    burst.save(file, quality=90, primary_index=main)
    return file.getvalue()


def box(kind: bytes, body: bytes, version: int | None = None) -> bytes:
    head = b"" if version is None else bytes([version, 0, 0, 0])
    return struct.pack(">I4s", 8 + len(head) + len(body), kind) + head + body


def irot(quarters: int) -> bytes:
    """Turned so many quarters against the clock (6.5.10)."""
    return box(b"irot", bytes([quarters]))


def imir(axis: int) -> bytes:
    """Mirrored: 0, top and bottom exchanged; 1, left and right (6.5.12)."""
    return box(b"imir", bytes([axis]))


def nclx(primaries: int, transfer: int, matrix: int = 6) -> bytes:
    return box(b"colr", b"nclx" + struct.pack(">HHHB", primaries, transfer, matrix, 128))


def icc(profile: bytes) -> bytes:
    return box(b"colr", b"prof" + profile)


def grid(
    image: Image.Image, tile: int, *properties: bytes, shown: tuple[int, int] | None = None, exif: bytes = b"",
    brand: bytes = b"heic",
) -> bytes:  # fmt: skip
    """A picture in tiles of a square edge; `shown` is the size that is claimed."""
    width, height = image.size
    columns, rows = -(-width // tile), -(-height // tile)
    places = [(column * tile, row * tile) for row in range(rows) for column in range(columns)]
    tiles = [coded(image.crop((x, y, x + tile, y + tile))) for x, y in places]
    size = shown or image.size
    spatial = [box(b"ispe", struct.pack(">II", tile, tile), 0), box(b"ispe", struct.pack(">II", *size), 0)]
    head = struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, *size)
    return _file(tiles, head, [_hvcc(tiles[0]), *spatial, *properties], exif, brand)


def _file(tiles: Sequence[bytes], head: bytes, properties: Sequence[bytes], exif: bytes, brand: bytes) -> bytes:
    """Items 1 to n are the tiles, n + 1 is the picture, n + 2 its EXIF."""
    bodies = [_code(tile) for tile in tiles] + [head] + ([b"\0\0\0\0" + exif] if exif else [])
    kinds = [b"hvc1"] * len(tiles) + [b"grid"] + ([b"Exif"] if exif else [])
    infos = b"".join(box(b"infe", struct.pack(">HH4s", i, 0, kind) + b"\0", 2) for i, kind in enumerate(kinds, 1))
    last = len(tiles) + 1
    refs = box(b"dimg", struct.pack(f">HH{len(tiles)}H", last, len(tiles), *range(1, last)))
    if exif:
        refs += box(b"cdsc", struct.pack(">HHH", last + 1, 1, last))
    of_tile, of_picture = [0x81, 2], [3, *(0x80 | i for i in range(4, len(properties) + 1))]
    links = b"".join(struct.pack(">HB", i, 2) + bytes(of_tile) for i in range(1, last))
    links += struct.pack(">HB", last, len(of_picture)) + bytes(of_picture)
    told = box(b"iprp", box(b"ipco", b"".join(properties)) + box(b"ipma", struct.pack(">I", last) + links, 0))
    start = box(b"ftyp", brand + bytes(4) + b"mif1" + brand)

    def meta(at: int) -> bytes:
        places = b""
        for i, body in enumerate(bodies, 1):
            places += struct.pack(">HHHII", i, 0, 1, at, len(body))
            at += len(body)
        return box(
            b"meta",
            box(b"hdlr", bytes(4) + b"pict" + bytes(13), 0)
            + box(b"pitm", struct.pack(">H", last), 0)
            + box(b"iloc", b"\x44\0" + struct.pack(">H", len(bodies)) + places, 0)
            + box(b"iinf", struct.pack(">H", len(bodies)) + infos, 0)
            + box(b"iref", refs, 0)
            + told,
            0,
        )

    at = len(start) + len(meta(0)) + 8
    return start + meta(at) + box(b"mdat", b"".join(bodies))


def _hvcc(file: bytes) -> bytes:
    at = file.index(b"hvcC") - 4
    return file[at : at + int.from_bytes(file[at : at + 4], "big")]


def _code(file: bytes) -> bytes:
    return next(body for kind, body in boxes(file) if kind == b"mdat")
