"""JPEG XL (ISO/IEC 18181): size, frames and colours by its header, which is read here; pixels by libjxl, upright."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pixelmill.errors import ImageRejected
from pixelmill.images import profiles
from pixelmill.images.jpeg2000 import boxes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

_CODESTREAM: Final = b"\xff\x0a"
_HEADER: Final = 4096
"""Bytes within which the header ends: names of extra channels are the longest of it."""

_RATIOS: Final = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_ALPHA, _BLACK_INK = 0, 4
_GREY, _XYB = 1, 2
_CUSTOM: Final = 2
_WHITES: Final = {1: (0.3127, 0.3290), 10: (1 / 3, 1 / 3), 11: (0.314, 0.351)}
_PRIMARIES: Final = {
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_SRGB: Final = (*_PRIMARIES[1], _WHITES[1])
_MOST_FRAMES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Header:
    """`size` is that of the upright picture. `chromaticities` and `transfer` (of H.273) are those of its colours, as
    far as they are told, `gamma` a power in place of the transfer; None: an ICC profile tells, or nothing does."""

    size: tuple[int, int]
    orientation: int = 1
    animated: bool = False
    grey: bool = False
    extra: tuple[int, ...] = ()
    premultiplied: bool = False
    chromaticities: profiles.Chromaticities | None = _SRGB
    transfer: int = 13
    gamma: float | None = None


def header(data: bytes) -> Header:
    """Raises EOFError where it is cut off, ValueError for what is no header."""
    bits = _Bits(_start(data))
    if bits.take(16) != int.from_bytes(_CODESTREAM, "little"):
        raise ValueError("no codestream of JPEG XL")
    width, height = _size(bits)
    if bits.take(1):
        return Header((width, height))
    orientation, animated = _extra_fields(bits) if bits.take(1) else (1, False)
    _depth(bits)
    bits.take(1)
    channels = [_extra_channel(bits) for _ in range(bits.choose((0, 0), (0, 1), (4, 2), (12, 1)))]
    bits.take(1)
    grey, of, transfer, gamma = _colours(bits)
    return Header(
        (height, width) if orientation >= 5 else (width, height), orientation, animated, grey,
        tuple(kind for kind, _ in channels), any(told for _, told in channels), of, transfer, gamma,
    )  # fmt: skip


def _start(data: bytes) -> bytes:
    """The first bytes of the codestream, which may lie in boxes (18181-2)."""
    if data.startswith(_CODESTREAM):
        return data[:_HEADER]
    start = b""
    for kind, body in boxes(data):
        if kind in {b"jxlc", b"jxlp"} and len(start) < _HEADER:
            start += body[4:_HEADER] if kind == b"jxlp" else body[:_HEADER]
    return start


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.take(1)

    def edge() -> int:
        return 8 * (bits.take(5) + 1) if small else 1 + bits.choose((9, 0), (13, 0), (18, 0), (30, 0))

    height = edge()
    ratio = bits.take(3)
    if not ratio:
        return edge(), height
    across, down = _RATIOS[ratio - 1]
    return height * across // down, height


def _extra_fields(bits: _Bits) -> tuple[int, bool]:
    orientation = bits.take(3) + 1
    if bits.take(1):
        _size(bits)
    if bits.take(1):
        _preview(bits)
    animated = bool(bits.take(1))
    if animated:
        bits.choose((0, 100), (0, 1000), (10, 1), (30, 1))
        bits.choose((0, 1), (0, 1001), (8, 1), (10, 1))
        bits.choose((0, 0), (3, 0), (16, 0), (32, 0))
        bits.take(1)
    return orientation, animated


def _preview(bits: _Bits) -> None:
    small = bits.take(1)
    ways = ((0, 16), (0, 32), (5, 1), (9, 33)) if small else ((6, 1), (8, 65), (10, 321), (12, 1345))
    bits.choose(*ways)
    if not bits.take(3):
        bits.choose(*ways)


def _depth(bits: _Bits) -> None:
    if bits.take(1):
        bits.choose((0, 32), (0, 16), (0, 24), (6, 1))
        bits.take(4)
    else:
        bits.choose((0, 8), (0, 10), (0, 12), (6, 1))


def _extra_channel(bits: _Bits) -> tuple[int, bool]:
    """Its type, and whether it is alpha that the colours are multiplied by."""
    if bits.take(1):
        return _ALPHA, False
    kind = bits.enum()
    _depth(bits)
    bits.choose((0, 0), (0, 3), (0, 4), (3, 1))
    bits.take(8 * bits.choose((0, 0), (4, 0), (5, 16), (10, 48)))
    if kind == 2:
        bits.take(64)
    elif kind == 5:
        bits.choose((0, 1), (2, 0), (4, 3), (8, 19))
    return kind, kind == _ALPHA and bool(bits.take(1))


def _colours(bits: _Bits) -> tuple[bool, profiles.Chromaticities | None, int, float | None]:
    if bits.take(1):
        return False, _SRGB, 13, None
    by_icc, space = bits.take(1), bits.enum()
    if by_icc or space == _XYB:
        return space == _GREY, None, 13, None
    white = bits.enum()
    at = _point(bits) if white == _CUSTOM else _WHITES.get(white, _SRGB[3])
    of: profiles.Chromaticities = (*_SRGB[:3], at)
    if space != _GREY:
        primaries = bits.enum()
        colours = (_point(bits), _point(bits), _point(bits)) if primaries == _CUSTOM else _PRIMARIES.get(primaries)
        of = (*colours, at) if colours else of
    gamma = 1e7 / max(1, bits.take(24)) if bits.take(1) else None
    return space == _GREY, of, 13 if gamma else bits.enum(), gamma


def _point(bits: _Bits) -> tuple[float, float]:
    x, y = (bits.choose((19, 0), (19, 1 << 19), (20, 1 << 20), (21, 1 << 21)) for _ in range(2))
    return tuple((value >> 1 ^ -(value & 1)) / 1e6 for value in (x, y))  # type: ignore[return-value]


class _Bits:
    """The numbers of a header, each from its lowest bit on."""

    def __init__(self, data: bytes) -> None:
        self._all, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise EOFError("truncated: its header ends too early")
        value = self._all & ((1 << count) - 1)
        self._all >>= count
        self._left -= count
        return value

    def choose(self, *ways: tuple[int, int]) -> int:
        """Two bits say how many bits follow, and what is added to them."""
        count, more = ways[self.take(2)]
        return self.take(count) + more

    def enum(self) -> int:
        return self.choose((0, 0), (0, 1), (4, 2), (6, 18))


def frames(found: Header, data: bytes) -> int:
    """How many pictures an animation shows: those behind its end are left as they were by libjxl, which skips those
    before quickly."""
    if not found.animated:
        return 1
    last = 1
    while last < _MOST_FRAMES and _is_there(data, last):
        last *= 2
    first = last // 2
    while first + 1 < last:
        middle = (first + last) // 2
        first, last = (middle, last) if _is_there(data, middle) else (first, middle)
    return last


def _is_there(data: bytes, index: int) -> bool:
    import numpy as np

    return np.array_equal(_decoded(data, index, 0), _decoded(data, index, 1))


def _decoded(data: bytes, index: int, fill: int) -> NDArray[Any]:
    import imagecodecs
    import numpy as np

    shape: NDArray[Any] = imagecodecs.jpegxl_decode(data, index=0, numthreads=1)
    out = np.full_like(shape, fill)
    made: NDArray[Any] = imagecodecs.jpegxl_decode(data, index=index, numthreads=1, out=out)
    return made


def loaded(found: Header, data: bytes, index: int = 0) -> Image.Image:
    """A picture of the file in 8-bit sRGB, upright. Raises ImageRejected for inks, and what libjxl's reader does."""
    import imagecodecs

    if _BLACK_INK in found.extra:
        raise ImageRejected("decode", "Not supported: a JPEG XL of inks (CMYK). Convert it to PNG.")
    samples: NDArray[Any] = imagecodecs.jpegxl_decode(data, index=index, numthreads=1)
    if samples.shape[:2] != found.size[::-1]:
        raise ValueError(f"it is {samples.shape[1]} x {samples.shape[0]} where its header says {found.size}")
    return _picture(found, samples if samples.ndim == 3 else samples[..., None])


def _picture(found: Header, samples: NDArray[Any]) -> Image.Image:
    import numpy as np
    from PIL import Image

    colours = 1 if found.grey else 3
    shown = samples[..., :colours]
    deep = samples.dtype != np.uint8 and colours == 3 and found.chromaticities
    if deep and found.transfer in {profiles.LINEAR, profiles.PQ, profiles.HLG}:
        image = Image.fromarray(_of_light(shown, found.chromaticities, found.transfer))  # type: ignore[arg-type]
    else:
        made = _eight_bits(shown)
        image = Image.fromarray(made[..., 0] if found.grey else made)
        image = profiles.by_chromaticities(image, found.chromaticities, found.transfer, found.gamma)
    if found.extra[:1] != (_ALPHA,) or samples.shape[2] <= colours:
        return image
    alpha = Image.fromarray(_eight_bits(np.ascontiguousarray(samples[..., colours])))
    return Image.merge("RGBa" if found.premultiplied else "RGBA", [*image.convert("RGB").split(), alpha])


def _of_light(samples: NDArray[Any], of: profiles.Chromaticities, transfer: int) -> NDArray[np.uint8]:
    full = 1.0 if samples.dtype.kind == "f" else 65535.0
    if transfer == profiles.LINEAR:
        return profiles.of_light(samples, of, lambda some: some / full)
    return profiles.toned(samples * (65535 / full), of, transfer)


def _eight_bits(samples: NDArray[Any]) -> NDArray[np.uint8]:
    from pixelmill.images.colour import by_full_scale, by_usual_range

    if samples.dtype.kind == "f":
        return by_usual_range(samples, (1.0,))
    return samples if samples.itemsize == 1 else by_full_scale(samples, 8 * samples.itemsize)
