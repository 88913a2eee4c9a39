"""The TIFFs that Pillow cannot read, or reads wrongly: samples of any format and order, in planes, of many bits."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pixelmill.errors import ImageRejected
from pixelmill.images.colour import by_full_scale, by_usual_range, without
from pixelmill.images.tiff import CMYK, DEFLATE, FLOAT, LZMA, PACKBITS, PALETTE, RGB, SIGNED, UNSIGNED, WHITE_IS_ZERO

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from pixelmill.images.tiff import Layout

_KINDS: Final = {UNSIGNED: "u", SIGNED: "i", FLOAT: "f"}
_ASSOCIATED, _UNASSOCIATED = 1, 2
_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def picture(found: Layout, data: bytes) -> Image.Image:
    """The picture, 8-bit grey or RGB, perhaps with alpha, not turned. Raises ImageRejected if samples are missing."""
    from PIL import Image

    samples = _assembled(found, data)
    colour = _colour(found, samples[..., : found.colours])
    alpha = _alpha(found)
    if alpha is None:
        return colour
    band = Image.fromarray(np.ascontiguousarray(_scaled(found, samples[..., found.colours])))
    mode = "RGBa" if alpha == _ASSOCIATED else "RGBA"
    return Image.merge(mode, [*colour.convert("RGB").split(), band]).convert("RGBA")


def _colour(found: Layout, samples: NDArray[Any]) -> Image.Image:
    from PIL import Image

    if found.photometric == PALETTE:
        return Image.fromarray(_palette(found)[samples[..., 0]])
    scaled = _scaled(found, samples)
    if found.photometric == CMYK:
        return Image.fromarray(scaled, "CMYK").convert("RGB")
    if found.photometric == RGB:
        return Image.fromarray(scaled)
    grey = np.ascontiguousarray(scaled[..., 0])
    return Image.fromarray(255 - grey if found.photometric == WHITE_IS_ZERO else grey)


def _alpha(found: Layout) -> int | None:
    """What ExtraSamples says of the first extra sample; Pillow and others take RGB with one more for RGBA."""
    if found.samples == found.colours:
        return None
    if not found.extra:
        return _UNASSOCIATED if found.photometric == RGB and found.samples == 4 else None
    return found.extra[0] if found.extra[0] in {_ASSOCIATED, _UNASSOCIATED} else None


def _palette(found: Layout) -> NDArray[np.uint8]:
    """Colours, uint8 (entries, 3). Some writers give 8 of the 16 bits."""
    table = np.array(found.colormap, dtype=np.uint16).reshape(3, -1).T
    return (table >> (8 if table.max() > 255 else 0)).astype(np.uint8)


def _scaled(found: Layout, samples: NDArray[Any]) -> NDArray[np.uint8]:
    if found.format == FLOAT:
        return by_usual_range(without(found.nodata, samples), (1.0, 255.0, 65535.0))
    if found.depth > 16:
        return by_usual_range(samples, (255.0, 65535.0))
    if found.format == SIGNED:
        return by_full_scale(samples, found.depth - 1, signed=True)
    return by_full_scale(samples, found.depth)


def _assembled(found: Layout, data: bytes) -> NDArray[Any]:
    """All samples, (height, width, samples), in this machine's byte order."""
    wide = -(-found.depth // 8)
    kind = np.dtype(f"{_KINDS[found.format]}{next(size for size in (1, 2, 4, 8) if size >= wide)}")
    whole = np.empty((found.height, found.width, found.samples), kind)
    for plane, top, left, block in _blocks(found, data):
        target = whole[top : top + block.shape[0], left : left + block.shape[1], plane]
        target[...] = block[: target.shape[0], : target.shape[1]]
    return whole


def _blocks(found: Layout, data: bytes) -> Iterator[tuple[slice, int, int, NDArray[Any]]]:
    """The strips or tiles: which samples, from which row and column on, and what they hold."""
    across, down = found.tile or (found.width, found.rows_per_strip)
    if min(across, down) < 1:
        raise ImageRejected("decode", "The file is damaged (tiles without pixels).")
    planes = [slice(i, i + 1) for i in range(found.samples)] if found.in_planes else [slice(0, found.samples)]
    places = ((p, y, x) for p in planes for y in range(0, found.height, down) for x in range(0, found.width, across))
    for index, (plane, top, left) in enumerate(places):
        rows = down if found.tile else min(down, found.height - top)
        yield plane, top, left, _block(found, _stored(found, data, index), rows, across, plane.stop - plane.start)


def _stored(found: Layout, data: bytes, index: int) -> bytes:
    if index >= len(found.offsets):
        raise ImageRejected("decode", "The file is cut off: strips of the picture are missing.")
    start = found.offsets[index]
    stored = data[start : start + found.counts[index]] if index < len(found.counts) else data[start:]
    return stored.translate(_REVERSED) if found.fill_order == 2 else stored


def _block(found: Layout, stored: bytes, rows: int, across: int, samples: int) -> NDArray[Any]:
    row = -(-across * samples * found.depth // 8)
    raw = _unpacked(found.compression, stored, rows * row)
    if len(raw) < rows * row:
        raise ImageRejected("decode", "The file is cut off: it ends before the picture does (samples are missing).")
    if found.depth not in {8, 16, 32, 64}:
        return _of_bits(raw, rows, row, found.depth, across * samples).reshape(rows, across, samples)
    if found.predictor == 3:
        return _undo_floating(raw, rows, across, samples, found.depth // 8)
    stored_as = np.dtype(f"{found.order}{_KINDS[found.format]}{found.depth // 8}")
    values = np.frombuffer(raw, stored_as).reshape(rows, across, samples)
    return np.cumsum(values, axis=1, dtype=stored_as.newbyteorder("=")) if found.predictor == 2 else values


def _unpacked(compression: int, stored: bytes, size: int) -> bytes:
    """No more than `size` bytes: what is packed may be a bomb."""
    if compression in DEFLATE:
        return zlib.decompressobj().decompress(stored, size)
    if compression == LZMA:
        return lzma.LZMADecompressor().decompress(stored, size)
    return _unpack_bits(stored, size) if compression == PACKBITS else stored[:size]


def _unpack_bits(stored: bytes, size: int) -> bytes:
    """TIFF 6.0, section 9."""
    made, at = bytearray(), 0
    while at + 1 < len(stored) and len(made) < size:
        count = stored[at]
        if count < 128:
            made += stored[at + 1 : at + 2 + count]
            at += 2 + count
        else:
            made += stored[at + 1 : at + 2] * (257 - count if count > 128 else 0)
            at += 2 if count > 128 else 1
    return bytes(made[:size])


def _of_bits(raw: bytes, rows: int, row: int, depth: int, count: int) -> NDArray[Any]:
    """Samples of any number of bits, the most significant first, each row from a byte on."""
    bits = np.unpackbits(np.frombuffer(raw, np.uint8).reshape(rows, row), axis=1)[:, : count * depth]
    kind = np.uint8 if depth < 8 else np.uint16 if depth < 16 else np.uint32
    values = np.zeros((rows, count), kind)
    for place in range(depth):
        values = (values << 1) | bits[:, place::depth].astype(kind)
    return values


def _undo_floating(raw: bytes, rows: int, across: int, samples: int, size: int) -> NDArray[Any]:
    """The floating point predictor (TIFF Technical Note 3): differences of bytes, the most significant of all first."""
    stored = np.frombuffer(raw, np.uint8).reshape(rows, -1, samples)
    summed = np.cumsum(stored, axis=1, dtype=np.uint8).reshape(rows, size, across * samples)
    together = np.ascontiguousarray(summed.transpose(0, 2, 1)).view(f">f{size}")
    return together.reshape(rows, across, samples)
