"""The boxes of a JPEG 2000 file (ITU T.800, annex I): palettes, few bits and channels in any order, which Pillow takes
as if they were none."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from pixelmill.errors import ImageRejected
from pixelmill.images import bmff

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

_CODESTREAM: Final = b"\xff\x4f\xff\x51"
_DEPTHS: Final = 38
"""Where the precision of the first component is after the start of a codestream (A.5.1)."""

_CMYK, _SRGB, _GREY, _SYCC = 12, 16, 17, 18
_DECODED: Final = frozenset({_CMYK, _SRGB, _GREY, _SYCC})
_ICC: Final = frozenset({b"RGB ", b"GRAY"})
_RESTRICTED, _ANY_ICC = 2, 3
_PALETTE: Final = 1
_MODES: Final = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True, slots=True)
class _Palette:
    """Colours, (entries, columns), 8 bits each, and which column each channel takes, or -1 for the samples."""

    colours: NDArray[np.uint8]
    columns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Header:
    """What decides the picture beside its codestream. `channels` of each channel: its type (0: colour, 1: alpha, 2:
    premultiplied) and of which colour, from 1."""

    depth: int
    palette: _Palette | None
    channels: tuple[tuple[int, int], ...]
    colour: int

    @property
    def order(self) -> tuple[int, ...]:
        """Channels in the order that pictures have here: colours, then alpha. Empty where nothing is said."""
        colours = sorted((of, index) for index, (kind, of) in enumerate(self.channels) if kind == 0)
        alpha = [index for index, (kind, _) in enumerate(self.channels) if kind in {1, 2}]
        return (*(index for _, index in colours), *alpha[:1]) if self.channels else ()

    @property
    def is_plain(self) -> bool:
        """Whether channels are as Pillow takes them to be."""
        return self.palette is None and self.order in {(), *(tuple(range(count)) for count in _MODES)}


def header(data: bytes) -> Header:
    """Raises ImageRejected for colours that nothing here knows."""
    found = {} if data.startswith(_CODESTREAM) else _header_boxes(data)
    start = data.find(_CODESTREAM)
    depth = (data[start + 4 + _DEPTHS] & 0x7F) + 1 if 0 <= start < len(data) - 4 - _DEPTHS else 8
    palette = _palette(found[b"pclr"], found.get(b"cmap", b"")) if b"pclr" in found else None
    return Header(depth, palette, _channels(found.get(b"cdef", b"")), _colour(found.get(b"colr", b"")))


def opened(data: bytes) -> Jpeg2KImageFile:
    from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

    return Jpeg2KImageFile(io.BytesIO(data))


def loaded(image: Jpeg2KImageFile, found: Header, data: bytes) -> Image.Image:
    """The picture in 8 bits a channel, or 16 of grey, its channels in order."""
    if found.is_plain:
        image.load()
        return _full_scale(image, found.depth) if image.mode in {"L", "RGB"} else image
    raw = opened(data[data.index(_CODESTREAM) :])
    raw.load()
    return _arranged(_full_scale(raw, found.depth), found) if found.palette is None else _coloured(raw, found)


def _full_scale(image: Image.Image, depth: int) -> Image.Image:
    """A few bits a sample are shifted by Pillow, so that the largest is not white."""
    if depth >= 8:
        return image
    full = 256 - (1 << (8 - depth))
    return image.point([min(255, round(value * 255 / full)) for value in range(256)] * len(image.getbands()))


def _coloured(raw: Image.Image, found: Header) -> Image.Image:
    import numpy as np
    from PIL import Image

    palette = found.palette
    if palette is None or raw.mode != "L" or found.depth > 8:
        _refuse("a palette of more than one component or 8 bits")
    indices = np.asarray(raw) >> (8 - found.depth)
    colours = np.zeros((256, palette.colours.shape[1]), np.uint8)
    colours[: len(palette.colours)] = palette.colours
    channels = [Image.fromarray(np.ascontiguousarray(colours[:, column])[indices]) for column in palette.columns]
    return _merged(channels, found)


def _arranged(image: Image.Image, found: Header) -> Image.Image:
    if len(found.channels) != len(image.getbands()) or image.mode.startswith("I"):
        _refuse(f"{len(found.channels)} channels in another order")
    return _merged(list(image.split()), found)


def _merged(channels: list[Image.Image], found: Header) -> Image.Image:
    from PIL import Image

    order = found.order or tuple(range(len(channels)))
    if len(order) not in _MODES or max(order) >= len(channels):
        _refuse(f"{len(channels)} channels")
    mode = _MODES[len(order)]
    if found.colour == _SYCC and mode == "RGB":
        return Image.merge("YCbCr", [channels[index] for index in order]).convert("RGB")
    if found.colour in {_CMYK, _SYCC}:
        _refuse("channels in another order, not of RGB or grey")
    return Image.merge(mode, [channels[index] for index in order])


def _palette(pclr: bytes, cmap: bytes) -> _Palette:
    import numpy as np

    entries, columns = int.from_bytes(pclr[:2], "big"), pclr[2]
    if any(bits != 7 for bits in pclr[3 : 3 + columns]):
        _refuse("a palette whose colours have not 8 bits")
    colours = np.frombuffer(pclr, np.uint8, entries * columns, 3 + columns).reshape(entries, columns)
    mapped = [cmap[at : at + 4] for at in range(0, len(cmap) - 3, 4)]
    if not 0 < entries <= 256 or any(one[:2] != b"\0\0" or one[2] != _PALETTE or one[3] >= columns for one in mapped):
        _refuse("a palette beside other components")
    return _Palette(colours, tuple(one[3] for one in mapped) or tuple(range(columns)))


def _channels(cdef: bytes) -> tuple[tuple[int, int], ...]:
    told = dict[int, tuple[int, int]]()
    for at in range(2, len(cdef) - 5, 6):
        index, kind, of = (int.from_bytes(cdef[at + i : at + i + 2], "big") for i in (0, 2, 4))
        told[index] = kind, of
    return tuple(told[index] for index in sorted(told)) if sorted(told) == list(range(len(told))) else ()


def _colour(colr: bytes) -> int:
    """The enumerated colour space; 0 where it is said otherwise, or not."""
    if colr[:1] == b"\1":
        if (colour := int.from_bytes(colr[3:7], "big")) not in _DECODED:
            _refuse(f"colour space {colour}")
        return colour
    if colr[:1] and colr[0] in {_RESTRICTED, _ANY_ICC} and colr[19:23] not in _ICC:
        _refuse(f"the colours of an ICC profile for {colr[19:23].decode('latin-1').strip() or 'nothing'}")
    return 0


def _header_boxes(data: bytes) -> dict[bytes, bytes]:
    """Those of the first `jp2h`, the first of each kind: of several colours the first is to be used."""
    found = dict[bytes, bytes]()
    body = next((body for kind, body in boxes(data) if kind == b"jp2h"), b"")
    for kind, inner in boxes(body):
        found.setdefault(kind, inner)
    return found


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The kinds of boxes and what they hold, as files of JPEG 2000 and of ISO base media have them."""
    return ((kind, bytes(body)) for kind, body in bmff.boxes(memoryview(data)))


def _refuse(what: str) -> NoReturn:
    raise ImageRejected("decode", f"Not supported: a JPEG 2000 with {what}. Convert it to PNG.")
