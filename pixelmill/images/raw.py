"""Camera raw: the largest embedded preview where it has the pixels that a model needs, else a development by LibRaw."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pixelmill.errors import ImageRejected
from pixelmill.images.directories import Tags, directories
from pixelmill.images.frame import orientation_of
from pixelmill.images.opened import Loaded, Need, Opened

if TYPE_CHECKING:
    import numpy as np
    import rawpy
    from numpy.typing import NDArray

PREVIEW, DEVELOPED = "preview", "developed"
"""How the picture of a raw file was made."""

_ENOUGH: Final = 2
"""A preview has the pixels that a model needs if its shorter edge is so many times what the model resizes to: it is
averaged then, and thumbnails of 160 x 120 pixels, which may have black bars, never are."""

_ORIENTATIONS: Final = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}
"""EXIF orientations of LibRaw's flips: 1 exchanges left and right, 2 top and bottom, 4 rows and columns."""

_MAKE, _PHOTOMETRIC, _DNG_VERSION = 271, 262, 50706
_SENSOR: Final = frozenset({32803, 34892})
"""Photometric interpretations: a colour filter array, and linear raw."""

_EXTENTS: Final = ((273, 279), (324, 325), (513, 514))
"""Tags of offsets and of sizes: of strips, of tiles, of a JPEG."""

_RAF_EXTENTS: Final = (84, 100)
"""Where a RAF has offset and size of its JPEG, and of what the sensor saw."""

_STARTS: Final = {
    b"FUJI": "RAF", b"IIU\0": "RW2", b"IIRO": "ORF", b"IIRS": "ORF", b"MMOR": "ORF", b"FOVb": "X3F",
}  # fmt: skip
_MAKERS: Final = {b"NIKON": "NEF", b"SONY": "ARW", b"PENTAX": "PEF", b"RICOH": "PEF"}
NAMES: Final = frozenset({"DNG", "CR2", "CR3", *_STARTS.values(), *_MAKERS.values()})
"""What `name_of` may say."""

_LAST_ROWS: Final = 4


@dataclass(frozen=True, slots=True)
class Raw:
    """A raw file whose header was read: width and height as stored, and the EXIF orientation that it says."""

    size: tuple[int, int]
    orientation: int
    file: rawpy.RawPy


def name_of(data: bytes) -> str | None:
    """Which format of raw a file is: DNG, CR2, … A TIFF is one if it describes what a sensor saw; else None."""
    if name := _STARTS.get(data[:4]):
        return name
    if data[4:8] == b"ftyp":
        return "CR3"
    if data[8:10] == b"CR":
        return "CR2"
    found = list(directories(data))
    if found and _DNG_VERSION in found[0]:
        return "DNG"
    if not any(_numbers(tags, _PHOTOMETRIC)[:1] in {(one,) for one in _SENSOR} for tags in found):
        return None
    made = b" ".join(make.upper() for tags in found if isinstance(make := tags.get(_MAKE), bytes))
    return next((name for maker, name in _MAKERS.items() if maker in made), None)


def opened(data: bytes) -> Raw:
    """Raises OSError for a file of which a part is missing, ImageRejected for raw that LibRaw does not know."""
    import rawpy

    require_whole(data)
    try:
        file = rawpy.imread(io.BytesIO(data))
    except rawpy.LibRawFileUnsupportedError:
        raise _unknown() from None
    sizes = file.sizes
    return Raw((sizes.width, sizes.height), _ORIENTATIONS.get(sizes.flip, 1), file)


def loaded(found: Raw, need: Need, jpeg: Callable[[bytes], Opened]) -> Loaded:
    """The picture of a raw file: its preview, opened by `jpeg`, or its development."""
    return _of_preview(found, need, jpeg) or _developed(found)


def _of_preview(found: Raw, need: Need, jpeg: Callable[[bytes], Opened]) -> Loaded | None:
    """The preview, if it has the pixels that are needed: as many as the development has, where nothing is to be scaled.
    One that is damaged is none."""
    data = _preview(found)
    if data is None:
        return None
    try:
        picture = jpeg(data)
        wanted = _ENOUGH * need.edge if need.edge and need.kept else min(found.size) // 2
        if min(picture.size) < wanted or max(picture.size) > 2 * max(found.size):
            return None
        made = picture.load(need)
    except (ImageRejected, OSError, SyntaxError, ValueError, struct.error):
        return None
    turn = _turn_of_preview(made, found)
    return replace(made, exif=None, orientation=turn, made=PREVIEW)


def _turn_of_preview(loaded: Loaded, found: Raw) -> int:
    """Its own EXIF orientation (LibRaw gives the raw's to one that has none), unless its edges show that it was turned
    already."""
    turn = orientation_of(loaded.exif, found.orientation) if loaded.exif else found.orientation
    width, height = loaded.size
    stored = found.size[0] >= found.size[1]
    return 1 if turn >= 5 and found.orientation >= 5 and (width >= height) != stored else turn


def _developed(found: Raw) -> Loaded:
    from PIL import Image

    image = Image.fromarray(_development(found))
    halves = image.size == (-(-found.size[0] // 2), -(-found.size[1] // 2))
    size, factor = (found.size, 2) if halves else (image.size, 1)
    return Loaded(image, size, factor, orientation=found.orientation, made=DEVELOPED)


def _preview(found: Raw) -> bytes | None:
    """The largest embedded JPEG, if there is one that can be had."""
    import rawpy

    try:
        thumbnail = found.file.extract_thumb()
    except (rawpy.LibRawError, ValueError):
        return None
    return bytes(thumbnail.data) if thumbnail.format == rawpy.ThumbFormat.JPEG else None


def _development(found: Raw) -> NDArray[np.uint8]:
    """What the sensor saw as sRGB, uint8 (height, width, 3), as it is stored: each 2 x 2 of its pixels make one, white
    as the camera took it to be, as bright as LibRaw makes it (1% of the pixels are white). Raises what LibRaw does."""
    import rawpy

    try:
        found.file.unpack()
    except (rawpy.LibRawFileUnsupportedError, rawpy.LibRawRequestForNonexistentImageError):
        raise _unknown() from None
    _require_picture(found.file)
    made: NDArray[np.uint8] = found.file.postprocess(
        half_size=True,
        use_camera_wb=True,
        user_flip=0,
        output_bps=8,
        gamma=(2.4, 12.92),
        output_color=rawpy.ColorSpace.sRGB,
    )
    return made


def _unknown() -> ImageRejected:
    return ImageRejected("decode", "Not supported: this camera's raw. Convert it to DNG, JPEG or TIFF.")


def _require_picture(file: rawpy.RawPy) -> None:
    """Raise OSError if the last rows are nothing: each of one value, as no sensor sees, unless it is all too bright."""
    rows: Any = file.raw_image_visible if file.raw_type.name == "Flat" else None
    if rows is None or len(rows) <= 2 * _LAST_ROWS:
        return
    last = rows[-_LAST_ROWS:]
    if all(len(set(row[shift::2].tolist())) == 1 for row in last for shift in (0, 1)) and last.max() < file.white_level:
        raise OSError("truncated: the last rows are empty")


def require_whole(data: bytes) -> None:
    """Raise OSError if what the file says it holds lies behind its end. LibRaw may take zeros for it."""
    for start, size in _extents(data):
        if start + size > len(data):
            raise OSError("truncated: picture data lie behind the end of the file")


def _extents(data: bytes) -> Iterator[tuple[int, int]]:
    if data.startswith(b"FUJI"):
        for at in _RAF_EXTENTS:
            yield int.from_bytes(data[at : at + 4], "big"), int.from_bytes(data[at + 4 : at + 8], "big")
    elif data[4:8] == b"ftyp":
        yield 0, _end_of_boxes(data)
    else:
        for tags in directories(data):
            for offsets, sizes in _EXTENTS:
                yield from zip(_numbers(tags, offsets), _numbers(tags, sizes), strict=False)


def _end_of_boxes(data: bytes) -> int:
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:
            break
        at += size
    return at


def _numbers(tags: Tags, tag: int) -> tuple[int, ...]:
    found = tags.get(tag, ())
    return found if isinstance(found, tuple) else ()
