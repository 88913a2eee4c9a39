"""EXIF in ISO base media files (ISO/IEC 14496-12), as AVIF, HEIC and Canon's CR3 are, and in JPEG XL, whose boxes are
the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pixelmill.images.exif import Directory

_CANON: Final = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_CANON_BLOCKS: Final[dict[bytes, Directory]] = {b"CMT1": "first", b"CMT2": "Exif", b"CMT4": "GPS"}
_FULL: Final = 4
"""Bytes of a version and of flags that come first in some boxes."""

_EXIF: Final = int.from_bytes(b"Exif", "big")
_MOST_BOXES: Final = 1 << 16
_MOST_UNPACKED: Final = 1 << 20
_NOTHING: Final = memoryview(b"")


def boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The kinds of boxes and what they hold, of which nothing is copied."""
    at = 0
    for _ in range(_MOST_BOXES):
        if at + 8 > len(data):
            return
        size, start = int.from_bytes(data[at : at + 4], "big"), at + 8
        if size == 1:
            size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
        end = at + size if size else len(data)
        if end < start:
            return
        yield bytes(data[at + 4 : at + 8]), data[start:end]
        at = end


def box_in(data: memoryview, kind: bytes) -> memoryview:
    """What the first box of a kind holds; nothing if there is none."""
    return next((body for box, body in boxes(data) if box == kind), _NOTHING)


def canon_blocks(data: memoryview) -> Iterator[tuple[memoryview, Directory]]:
    """The directories of a CR3, each a TIFF of its own."""
    for box, body in boxes(box_in(data, b"moov")):
        if box == b"uuid" and bytes(body[: len(_CANON)]) == _CANON:
            for kind, block in boxes(body[len(_CANON) :]):
                if kind in _CANON_BLOCKS:
                    yield block, _CANON_BLOCKS[kind]


def jpeg_xl_blocks(data: memoryview) -> Iterator[memoryview]:
    """Boxes of EXIF, and those that are compressed, as cjxl leaves them (ISO/IEC 18181-2, section 9)."""
    for box, body in boxes(data):
        if box == b"Exif":
            yield _behind_offset(body)
        elif box == b"brob" and bytes(body[:4]) == b"Exif":
            import brotli

            unpacked = brotli.Decompressor().process(bytes(body[4:]), output_buffer_limit=_MOST_UNPACKED)
            yield _behind_offset(memoryview(unpacked))


def exif_items(data: memoryview) -> Iterator[memoryview]:
    """The items of EXIF (ISO/IEC 23008-12, annex A), each looked for among all."""
    meta = box_in(data, b"meta")[_FULL:]
    for number in _exif_numbers(box_in(meta, b"iinf")):
        in_meta, start, length = _located(box_in(meta, b"iloc"), number)
        source = box_in(meta, b"idat") if in_meta else data
        yield _behind_offset(source[start : start + length] if length else source[start:])


def _behind_offset(body: memoryview) -> memoryview:
    """Four bytes say how far behind them EXIF begins; pillow-jxl-plugin leaves them out."""
    start = 4 + int.from_bytes(body[:4], "big")
    return body[start:] if start < len(body) else body


def _exif_numbers(names: memoryview) -> Iterator[int]:
    """Of the items whose type is EXIF (section 8.11.6)."""
    for _, entry in boxes(names[_FULL + (4 if _version(names) else 2) :]):
        reader = _Reader(entry[_FULL:])
        number = reader.integer(4 if _version(entry) >= 3 else 2)
        reader.integer(2)
        if reader.integer(4) == _EXIF:
            yield number


def _located(locations: memoryview, wanted: int) -> tuple[bool, int, int]:
    """Whether an item lies in the box `idat`, and where its first extent does (section 8.11.3)."""
    reader, version = _Reader(locations[_FULL:]), _version(locations)
    sizes = reader.integer(2)
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    index *= version > 0
    for _ in range(reader.integer(4 if version >= 2 else 2)):
        number = reader.integer(4 if version >= 2 else 2)
        method = reader.integer(2) if version else 0
        reader.integer(2)
        start, extents = reader.integer(base), reader.integer(2)
        if number == wanted and extents:
            reader.integer(index)
            return method & 15 == 1, start + reader.integer(offset), reader.integer(length)
        reader.skip(extents * (index + offset + length))
    raise EOFError(f"item {wanted} is nowhere")


def _version(box: memoryview) -> int:
    return box[0] if box else 0


class _Reader:
    """Integers, one behind the other. Raises EOFError behind the last."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def integer(self, size: int) -> int:
        self.skip(size)
        return int.from_bytes(self._data[self._at - size : self._at], "big")

    def skip(self, size: int) -> None:
        self._at += size
        if self._at > len(self._data):
            raise EOFError("it is cut off")
