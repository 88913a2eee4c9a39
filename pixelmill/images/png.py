"""The chunks of a PNG (W3C PNG, third edition): what its picture needs, and which of its pixels are transparent."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pixelmill.errors import ImageRejected

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from PIL.PngImagePlugin import PngImageFile

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PICTURE: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_LEAST_TRANSPARENT: Final = {0: 2, 2: 6, 3: 1}
"""Bytes of a transparent colour, by type of colour."""

_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_INTERLACED: Final = 28
_AT_ONCE: Final = 1 << 20

_BYTE_ORDER_SWAPPED: Final = "RGB;16L"


@dataclass(frozen=True, slots=True)
class Chunk:
    kind: bytes
    body: memoryview
    checksum: bytes

    @property
    def is_sound(self) -> bool:
        return zlib.crc32(self.body, zlib.crc32(self.kind)).to_bytes(4, "big") == self.checksum

    @property
    def stored(self) -> bytes:
        return len(self.body).to_bytes(4, "big") + self.kind + self.body + self.checksum


def chunks(data: bytes) -> Iterator[Chunk]:
    """All, of which the last may be cut off."""
    view, at = memoryview(data), len(SIGNATURE)
    while at + 8 <= len(data):
        end = at + 8 + int.from_bytes(view[at : at + 4], "big")
        yield Chunk(bytes(view[at + 4 : at + 8]), view[at + 8 : end], bytes(view[end : end + 4]))
        at = end + 4


def essential(data: bytes) -> bytes:
    """The PNG with nothing but what decides its picture: without texts, profiles and animation, and without what is
    damaged among the rest, as libpng leaves it out."""
    kept, least = [SIGNATURE], {b"tRNS": _LEAST_TRANSPARENT.get(data[25], 1), b"eXIf": 8}
    for chunk in chunks(data):
        if chunk.kind in _PICTURE or (len(chunk.body) >= least.get(chunk.kind, 1 << 31) and chunk.is_sound):
            kept.append(chunk.stored)
    return b"".join(kept)


def opened(data: bytes) -> PngImageFile:
    """Raises ImageRejected for Apple's own kind."""
    from PIL.PngImagePlugin import PngImageFile

    if data[12:16] == b"CgBI":
        raise ImageRejected("decode", "Not supported: Apple's CgBI variant of PNG. Revert it with `pngcrush`.")
    image = PngImageFile(io.BytesIO(data))
    if isinstance(image.info.get("transparency"), int | tuple) and image.mode in {"1", "L", "RGB"}:
        image.info["transparency"] = _transparent(data)
    return image


def loaded(image: PngImageFile, data: bytes) -> Image.Image:
    """The picture, with an alpha channel where one of 16 bits has a transparent colour, which Pillow loses."""
    transparent = image.info.get("transparency")
    sixteen = data[24] == 16 and isinstance(transparent, int | tuple)
    image.load()
    _require_all_rows(image, data)
    return _with_alpha(image, transparent, data) if sixteen else image


def _require_all_rows(image: Image.Image, data: bytes) -> None:
    """Raise OSError if the rows end before the picture does, or are not what was written. Pillow leaves those that are
    missing zero, overlooks it where the compressed data say that they end, and compares no checksum of theirs."""
    from PIL import Image

    packed = [chunk for chunk in chunks(data) if chunk.kind == b"IDAT"]
    if not all(chunk.is_sound for chunk in packed) and not _unpacked(packed)[1]:
        raise OSError("the rows of the picture have another checksum, or zeros stand where they were")
    last = image.resize((image.width, 1), Image.Resampling.NEAREST, box=(0, image.height - 1, *image.size))
    if data[_INTERLACED] or any(last.tobytes()):
        return
    row = 1 + (image.width * data[24] * _CHANNELS.get(data[25], 1) + 7) // 8
    if _unpacked(packed)[0] < row * image.height:
        raise OSError("truncated: rows of the picture are missing")


def _unpacked(packed: Iterable[Chunk]) -> tuple[int, bool]:
    """How many bytes the compressed data hold, and whether they end with the right checksum."""
    size, unpacking = 0, zlib.decompressobj()
    for chunk in packed:
        rest = bytes(chunk.body)
        while rest and not unpacking.eof:
            size += len(unpacking.decompress(rest, _AT_ONCE))
            rest = unpacking.unconsumed_tail
    return size, unpacking.eof


def _transparent(data: bytes) -> int | tuple[int, ...]:
    """The transparent colour as Pillow's pixels have it: of its bits those of the depth, scaled as they are."""
    depth = data[24]
    body = next(bytes(chunk.body) for chunk in chunks(data) if chunk.kind == b"tRNS")
    most = (1 << depth) - 1
    values = [(int.from_bytes(body[at : at + 2], "big") & most) for at in range(0, len(body) // 2 * 2, 2)]
    scaled = tuple(value * 255 // most if depth < 8 else value for value in values)
    return scaled[:3] if len(scaled) >= 3 else scaled[0]


def _with_alpha(image: Image.Image, transparent: Any, data: bytes) -> Image.Image:
    import numpy as np
    from PIL import Image

    from pixelmill.images.colour import grey

    values = np.asarray(image)
    if isinstance(transparent, int):
        there, colours = values == transparent, [grey(image)]
    else:
        there, colours = _is_colour(values, data, transparent), list(image.split())
    alpha = Image.fromarray(np.where(there, np.uint8(0), np.uint8(255)))
    made = Image.merge("LA" if len(colours) == 1 else "RGBA", [*colours, alpha])
    made.info = {key: value for key, value in image.info.items() if key != "transparency"}
    return made


def _is_colour(high: NDArray[np.uint8], data: bytes, colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Where all 16 bits of each sample are those of `colour`. Pillow gives the upper 8; unpacked in the other byte
    order, the lower 8."""
    import numpy as np
    from PIL.PngImagePlugin import PngImageFile

    again = PngImageFile(io.BytesIO(data))
    again.tile = [tile._replace(args=_BYTE_ORDER_SWAPPED) for tile in again.tile]
    again.load()
    wanted = np.array(colour)
    same: NDArray[np.bool_] = ((high == wanted >> 8) & (np.asarray(again) == (wanted & 0xFF))).all(axis=-1)
    return same
