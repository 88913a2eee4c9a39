"""Photoshop documents (Adobe Photoshop File Formats Specification): the picture of all layers that the file has beside
them, for programs that know no layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pixelmill.errors import ImageRejected

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

_BITMAP, _GREY, _INDEXED, _RGB, _CMYK, _MULTICHANNEL, _DUOTONE, _LAB = 0, 1, 2, 3, 4, 7, 8, 9
_COLOURS: Final = {_BITMAP: 1, _GREY: 1, _INDEXED: 1, _RGB: 3, _CMYK: 4, _DUOTONE: 1, _LAB: 3}
_VERSION_INFO, _ICC, _TRANSPARENT_INDEX = 1057, 1039, 1047
_RAW, _RUN_LENGTHS = 0, 1


@dataclass(frozen=True, slots=True)
class Header:
    """What is said before the pixels, which begin `at`. `alpha`: the first channel behind the colours shows what is
    transparent; others are selections and spot inks."""

    big: bool
    size: tuple[int, int]
    channels: int
    depth: int
    mode: int
    palette: bytes
    resources: dict[int, bytes]
    alpha: bool
    at: int


def header(data: bytes) -> Header:
    """Raises ImageRejected for a document without such a picture or of colours that nothing here knows, EOFError where
    it is cut off."""
    version, channels = _number(data, 4, 2), _number(data, 12, 2)
    height, width, depth, mode = (_number(data, *place) for place in ((14, 4), (18, 4), (22, 2), (24, 2)))
    if version not in {1, 2}:
        raise ValueError(f"it is of version {version}")
    big = version == 2
    palette, at = _block(data, 26, 4)
    resources, at = _block(data, at, 4)
    layers, at = _block(data, at, 8 if big else 4)
    told = dict(_resources(resources))
    found = Header(big, (width, height), channels, depth, mode, palette, told, _first_is_alpha(layers, big=big), at)
    _require_known(found)
    return found


def _require_known(found: Header) -> None:
    if _VERSION_INFO in found.resources and found.resources[_VERSION_INFO][4:5] == b"\0":
        _refuse("that was saved without its picture: save it with maximal compatibility")
    if found.mode not in _COLOURS or found.channels < _COLOURS[found.mode]:
        _refuse(f"in colour mode {found.mode}")
    if found.depth not in ({1} if found.mode == _BITMAP else {8} if found.mode == _INDEXED else {8, 16, 32}):
        _refuse(f"of {found.depth} bits in colour mode {found.mode}")


def _first_is_alpha(layers: bytes, *, big: bool) -> bool:
    """The number of layers is negative then."""
    at = 8 if big else 4
    return int.from_bytes(layers[at : at + 2], "big", signed=True) < 0


def _resources(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 12 <= len(data) and data[at : at + 4] in {b"8BIM", b"MeSa", b"PHUT", b"AgHg", b"DCSR"}:
        number = int.from_bytes(data[at + 4 : at + 6], "big")
        at += 6 + (data[at + 6] + 2) // 2 * 2
        size = int.from_bytes(data[at : at + 4], "big")
        yield number, data[at + 4 : at + 4 + size]
        at += 4 + size + size % 2


def loaded(found: Header, data: bytes) -> Image.Image:
    """The picture in 8-bit sRGB, by the document's profile. Raises OSError where it is cut off."""
    from PIL import Image

    from pixelmill.images.profiles import by_icc

    wanted = _COLOURS[found.mode] + (found.alpha and found.channels > _COLOURS[found.mode])
    planes = [_eight_bits(plane, found) for plane in _planes(found, data, wanted)]
    bands = [Image.fromarray(plane) for plane in planes]
    colours = bands[: _COLOURS[found.mode]]
    image = _coloured(found, colours)
    if icc := found.resources.get(_ICC):
        image = by_icc(image, icc)
    image = image.convert("RGB") if image.mode != "L" else image
    return image if len(bands) == len(colours) else Image.merge("RGBA", [*image.convert("RGB").split(), bands[-1]])


def _coloured(found: Header, bands: list[Image.Image]) -> Image.Image:
    from PIL import Image, ImageChops

    if found.mode == _INDEXED:
        image = bands[0].copy()
        image.putpalette(bytes(value for entry in zip(*_thirds(found.palette), strict=True) for value in entry))
        return image
    if found.mode == _CMYK:  # 0 is all ink
        return Image.merge("CMYK", [ImageChops.invert(band) for band in bands])
    if found.mode == _LAB:
        return _of_lab(bands)
    return bands[0] if len(bands) == 1 else Image.merge("RGB", bands)


def _of_lab(bands: list[Image.Image]) -> Image.Image:
    from PIL import Image, ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    made = ImageCms.profileToProfile(Image.merge("LAB", bands), lab, srgb, outputMode="RGB")
    return made or bands[0]


def _thirds(palette: bytes) -> list[bytes]:
    if len(palette) != 768:
        raise ValueError(f"its palette has {len(palette)} bytes in place of 768")
    return [palette[at : at + 256] for at in (0, 256, 512)]


def _planes(found: Header, data: bytes, wanted: int) -> Iterator[NDArray[Any]]:
    """The first `wanted` channels, each (height, width) of its own depth; those of one bit as bytes of 8."""
    import numpy as np

    width, height = found.size
    row = (width + 7) // 8 if found.depth == 1 else width * found.depth // 8
    kind = np.dtype({1: ">u1", 8: ">u1", 16: ">u2", 32: ">f4"}[found.depth])
    packing = _number(data, found.at, 2)
    if packing not in {_RAW, _RUN_LENGTHS}:
        _refuse(f"whose picture is packed in way {packing}")
    rows = _unpacked(found, data, row) if packing else _plain(found, data, height * row)
    for _, plane in zip(range(wanted), rows, strict=False):
        if len(plane) != height * row:
            raise OSError("truncated: the picture ends too early")
        yield np.frombuffer(plane, kind).reshape(height, row // kind.itemsize)
        wanted -= 1
    if wanted:
        raise OSError("truncated: the picture ends too early")


def _plain(found: Header, data: bytes, size: int) -> Iterator[bytes]:
    for channel in range(found.channels):
        start = found.at + 2 + channel * size
        yield data[start : start + size]


def _unpacked(found: Header, data: bytes, row: int) -> Iterator[bytes]:
    """PackBits, each row by itself, of which the lengths come first."""
    import imagecodecs

    height, wide = found.size[1], 4 if found.big else 2
    start = found.at + 2
    at = start + wide * height * found.channels
    for channel in range(found.channels):
        made = bytearray()
        for place in range(start + wide * height * channel, start + wide * height * (channel + 1), wide):
            size = _number(data, place, wide)
            if at + size > len(data):
                raise OSError("truncated: the picture ends too early")
            made += bytes(imagecodecs.packbits_decode(data[at : at + size]))[:row]
            at += size
        yield bytes(made)


def _eight_bits(plane: NDArray[Any], found: Header) -> NDArray[np.uint8]:
    import numpy as np

    from pixelmill.images.colour import by_full_scale
    from pixelmill.images.profiles import by_srgb_curve

    if found.depth == 1:  # 1 is black
        return 255 - 255 * np.unpackbits(plane, axis=1)[:, : found.size[0]]
    if found.depth == 16:
        return by_full_scale(plane, 16)
    if found.depth == 32:  # of light
        made: NDArray[np.uint8] = (by_srgb_curve(np.clip(np.nan_to_num(plane), 0, 1)) * 255 + 0.5).astype(np.uint8)
        return made
    return np.ascontiguousarray(plane)


def _block(data: bytes, at: int, wide: int) -> tuple[bytes, int]:
    """What a length is written in front of, and where it ends."""
    size = _number(data, at, wide)
    if at + wide + size > len(data):
        raise EOFError("truncated: it ends before its picture")
    return data[at + wide : at + wide + size], at + wide + size


def _number(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise EOFError("truncated: it ends before its picture")
    return int.from_bytes(data[at : at + size], "big")


def _refuse(what: str) -> NoReturn:
    raise ImageRejected("decode", f"Not supported: a Photoshop document {what}. Or export it as JPEG, PNG or TIFF.")
