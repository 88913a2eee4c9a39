"""Where each format keeps EXIF."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final

from pixelmill.images import bmff, jpeg, png, raw
from pixelmill.images.exif import Directory, Exif

Blocks = Iterator[tuple[memoryview, Directory]]
"""Of EXIF, each with the directory that it begins with."""

_MOST_BLOCKS: Final = 4
"""CR3 has three, others one."""

_MOST_CHUNKS: Final = 1 << 16
_MARK: Final = b"Exif\0\0"
_APP1: Final = 0xE1
_START_OF_SCAN: Final = 0xDA
_PROFILES: Final = (b"Raw profile type exif", b"Raw profile type APP1")
_MOST_UNPACKED: Final = 1 << 20
_JP2_EXIF: Final = b"JpgTiffExif->JP2"
_FUJI: Final = b"FUJIFILMCCD-RAW"
_FUJI_JPEG: Final = 84
_PSD_EXIF: Final = 1058


def exif_of(kind: str, data: bytes) -> Exif:
    """What the EXIF of a file of that kind says; of several the first counts. Whatever is wrong with it is told in
    `broken`, and costs itself."""
    exif = Exif()
    if find := _FINDERS.get(kind):
        try:
            for block, directory in islice(find(data), _MOST_BLOCKS):
                for _ in range(2):  # some writers put it there twice
                    block = block[len(_MARK) :] if _starts(block, _MARK) else block
                exif.add(block, directory)
        except MemoryError:
            raise
        except Exception as error:  # lengths and offsets that lead nowhere, and what others raise at them
            exif.broken.append(f"EXIF was not found: {error or type(error).__name__}")
    return exif


def _starts(view: memoryview, start: bytes) -> bool:
    return bytes(view[: len(start)]) == start


def _jpeg(data: bytes) -> Blocks:
    for segment in jpeg.segments(data):
        if segment.marker == _START_OF_SCAN:
            return
        if segment.marker == _APP1 and segment.body.startswith(_MARK):
            yield memoryview(segment.body), "first"


def _png(data: bytes) -> Blocks:
    for chunk in png.chunks(data):
        if chunk.kind == b"eXIf":
            yield chunk.body, "first"
        elif chunk.kind in (b"tEXt", b"zTXt") and (profile := _raw_profile(chunk)):
            yield memoryview(profile), "first"


def _raw_profile(chunk: png.Chunk) -> bytes:
    """EXIF as ImageMagick writes it: a text of a name, a length, and bytes in hexadecimal."""
    name, _, text = bytes(chunk.body[:_MOST_UNPACKED]).partition(b"\0")
    if name not in _PROFILES:
        return b""
    if chunk.kind == b"zTXt":
        text = zlib.decompressobj().decompress(text[1:], _MOST_UNPACKED)
    return bytes.fromhex(b"".join(text.split()[2:]).decode())


def _webp(data: bytes) -> Blocks:
    view, at = memoryview(data), 12
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(view):
            return
        end = at + 8 + int.from_bytes(view[at + 4 : at + 8], "little")
        if _starts(view[at:], b"EXIF"):
            yield view[at + 8 : end], "first"
        at = end + end % 2


def _tiff(data: bytes) -> Blocks:
    yield memoryview(data), "first"


def _raw(data: bytes) -> Blocks:
    """Most are TIFFs. CR3 has boxes, RAF a JPEG, X3F nothing of that."""
    if data.startswith(_FUJI):
        start, length = (int.from_bytes(data[at : at + 4], "big") for at in (_FUJI_JPEG, _FUJI_JPEG + 4))
        return _jpeg(data[start : start + length])
    if data[4:8] == b"ftyp":
        return bmff.canon_blocks(memoryview(data))
    return iter(()) if data.startswith(b"FOVb") else _tiff(data)


def _jpeg2000(data: bytes) -> Blocks:
    for box, body in bmff.boxes(memoryview(data)):
        if box == b"uuid" and _starts(body, _JP2_EXIF):
            yield body[len(_JP2_EXIF) :], "first"


def _heif(data: bytes) -> Blocks:
    return ((block, "first") for block in bmff.exif_items(memoryview(data)))


def _jpeg_xl(data: bytes) -> Blocks:
    return ((block, "first") for block in bmff.jpeg_xl_blocks(memoryview(data)))


def _psd(data: bytes) -> Blocks:
    """Among the image resources, behind the palette (Adobe Photoshop File Formats Specification)."""
    view = memoryview(data)
    at = 30 + int.from_bytes(view[26:30], "big")
    end, at = at + 4 + int.from_bytes(view[at : at + 4], "big"), at + 4
    while at + 12 <= min(end, len(view)) and _starts(view[at:], b"8BIM"):
        number = int.from_bytes(view[at + 4 : at + 6], "big")
        at += 6 + (view[at + 6] + 2) // 2 * 2
        length = int.from_bytes(view[at : at + 4], "big")
        if number == _PSD_EXIF:
            yield view[at + 4 : at + 4 + length], "first"
        at += 4 + (length + 1) // 2 * 2


_FINDERS: Final[Mapping[str, Callable[[bytes], Blocks]]] = {
    "JPEG": _jpeg, "PNG": _png, "WEBP": _webp, "TIFF": _tiff, "camera raw": _raw, "PSD": _psd, "JPEG2000": _jpeg2000,
    "AVIF": _heif, "HEIC": _heif, "JPEG XL": _jpeg_xl, **dict.fromkeys(raw.NAMES, _raw),
}  # fmt: skip
