"""The bitmaps that Pillow refuses or reads wrongly: indexed colours, run lengths, unusual bit masks."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pixelmill.errors import ImageRejected

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from PIL.ImageFile import ImageFile

RLE8, RLE4, BITFIELDS, ALPHABITFIELDS = 1, 2, 3, 6
_COMPRESSED: Final = {4: "a JPEG", 5: "a PNG"}
_USUAL_MASKS: Final = {16: {(0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F)}, 32: {(0xFF0000, 0xFF00, 0xFF)}}
_BITS: Final = frozenset({1, 2, 4, 8, 16, 24, 32})
_INDEXED: Final = 8
_CORE, _SHORT = 12, 16
"""Sizes of the headers of OS/2 1, after which colours have three bytes, and of OS/2 2, cut short."""

_END_OF_LINE, _END, _DELTA = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Header:
    """BITMAPFILEHEADER and BITMAPINFOHEADER and its successors (Windows GDI), as far as they say how pixels lie."""

    offset: int
    size: int
    width: int
    height: int
    from_top: bool
    bits: int
    compression: int
    used: int
    masks: tuple[int, int, int, int]


def header(data: bytes) -> Header:
    """Raises struct.error if it is cut off."""
    offset, size = struct.unpack_from("<II", data, 10)
    if size == _CORE:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        return Header(offset, size, width, height, False, bits, 0, 0, (0, 0, 0, 0))
    width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
    if size == 16:
        return Header(offset, size, width, abs(height), height < 0, bits, 0, 0, (0, 0, 0, 0))
    compression, _, _, _, used = struct.unpack_from("<IIiiI", data, 30)
    red, green, blue, alpha = struct.unpack_from("<IIII", data.ljust(70, b"\0"), 54)
    has_alpha = size >= 56 or compression == ALPHABITFIELDS
    masks = (red, green, blue, alpha if has_alpha else 0)
    return Header(offset, size, width, abs(height), height < 0, bits, compression, used, masks)


def opened(data: bytes) -> tuple[tuple[int, int], ImageFile | None]:
    """The size, and Pillow's image, or None for what `picture` reads. Raises ImageRejected for what neither does."""
    from PIL.BmpImagePlugin import BmpImageFile

    found = header(data)
    if found.compression in _COMPRESSED:
        raise ImageRejected("decode", f"Not supported: {_COMPRESSED[found.compression]} inside a BMP. Save it as such.")
    if found.bits not in _BITS:
        raise ImageRejected("decode", f"Not supported: a BMP with {found.bits} bits a pixel. Convert it to PNG.")
    if found.size == _SHORT and found.bits > _INDEXED:
        raise ImageRejected("decode", "Not supported: a BMP with the short header of OS/2 2. Convert it to PNG.")
    if found.bits <= _INDEXED or _is_masked_oddly(found):
        return (found.width, found.height), None
    image = BmpImageFile(io.BytesIO(data))
    return image.size, image


def picture(data: bytes) -> Image.Image:
    """A bitmap of indexed colours as RGB, or one of unusual bit masks as RGB or RGBA."""
    found = header(data)
    return _indexed(data, found) if found.bits <= _INDEXED else _masked(data, found)


def without_empty_alpha(image: Image.Image) -> Image.Image:
    """Opaque, if no pixel is to be seen at all: writers that declare alpha and leave it empty are shown so by all."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        return image.convert("RGB")
    return image


def _is_masked_oddly(found: Header) -> bool:
    usual = found.masks[:3] in _USUAL_MASKS.get(found.bits, ()) and found.masks[3] in {0, 0xFF000000}
    masked = found.compression in {BITFIELDS, ALPHABITFIELDS} and found.bits in {16, 32}
    return masked and not usual and any(found.masks[:3])


def _masked(data: bytes, found: Header) -> Image.Image:
    import numpy as np
    from PIL import Image

    lines = _lines(data, found)
    values = lines.view(f"<u{found.bits // 8}")[:, : found.width].astype(np.uint32)
    bands = [_channel(values, mask) for mask in found.masks if mask]
    if len(bands) < 3:
        raise ImageRejected("decode", "Not supported: a BMP without three bit masks of colour. Convert it to PNG.")
    made = np.stack(bands, axis=-1)
    return Image.fromarray(made if found.from_top else np.ascontiguousarray(made[::-1]))


def _channel(values: NDArray[np.uint32], mask: int) -> NDArray[np.uint8]:
    import numpy as np

    low = (mask & -mask).bit_length() - 1
    most = mask >> low
    return (((values & np.uint32(mask)) >> np.uint32(low)) * (255.0 / most) + 0.5).astype(np.uint8)


def _indexed(data: bytes, found: Header) -> Image.Image:
    import numpy as np
    from PIL import Image

    indices = _run_lengths(data, found) if found.compression in {RLE8, RLE4} else _plain(data, found)
    start, entry = 14 + found.size, 3 if found.size == _CORE else 4
    table = np.zeros((1 << _INDEXED, entry), np.uint8)
    colours = np.frombuffer(data[start : min(found.offset, start + table.size)], np.uint8)
    count = len(colours) // entry
    table[:count] = colours[: count * entry].reshape(-1, entry)
    lines = indices if found.from_top else indices[::-1]
    return Image.fromarray(np.ascontiguousarray(table[:, 2::-1])[lines])


def _plain(data: bytes, found: Header) -> NDArray[np.uint8]:
    import numpy as np

    lines, bits = _lines(data, found), found.bits
    parts = [lines >> shift & ((1 << bits) - 1) for shift in range(8 - bits, -1, -bits)]
    return np.stack(parts, axis=-1).reshape(found.height, -1)[:, : found.width]


def _lines(data: bytes, found: Header) -> NDArray[np.uint8]:
    """The bytes of each line, which ends on a multiple of four; of the last one the end may be missing."""
    import numpy as np

    row = (found.width * found.bits + 31) // 32 * 4
    stored = data[found.offset : found.offset + row * found.height]
    if len(stored) + row < row * found.height + (found.width * found.bits + 7) // 8:
        raise ImageRejected("decode", "The file is cut off: it ends before the picture does (pixels are missing).")
    return np.frombuffer(stored.ljust(row * found.height, b"\0"), np.uint8).reshape(found.height, row)


def _run_lengths(data: bytes, found: Header) -> NDArray[np.uint8]:
    """What is left out is of the first colour, as it was before a bitmap was drawn."""
    indices, is_whole = _unpacked(data[found.offset :], found)
    if not is_whole:
        raise ImageRejected("decode", "The file is cut off: it ends before the picture does (pixels are missing).")
    return indices


def _unpacked(stored: bytes, found: Header) -> tuple[NDArray[np.uint8], bool]:
    """Indices of colours, uint8 (height, width), and whether all are there: the bitmap says its end, or is full."""
    import numpy as np

    made: Any = np.zeros((found.height, found.width), np.uint8)
    x = y = at = 0
    while at + 1 < len(stored) and y < found.height:
        count, value = stored[at], stored[at + 1]
        at += 2
        if count:
            run = _pixels(bytes([value]) * count, found, count)
        elif value == _END_OF_LINE:
            x, y = 0, y + 1
            continue
        elif value == _END:
            return made, True
        elif value == _DELTA:
            right, up = (*stored[at : at + 2], 0, 0)[:2]
            x, y, at = x + right, y + up, at + 2
            continue
        else:
            size = value if found.compression == RLE8 else (value + 1) // 2
            run = _pixels(stored[at : at + size], found, value)
            at += size + size % 2
        kept = run[: max(0, found.width - x)]
        made[y, x : x + len(kept)] = np.frombuffer(kept, np.uint8)
        x += len(run)
    return made, y >= found.height or (y == found.height - 1 and x >= found.width)


def _pixels(packed: bytes, found: Header, count: int) -> bytes:
    if found.compression == RLE8:
        return packed[:count]
    return bytes(half for byte in packed for half in (byte >> 4, byte & 15))[:count]
