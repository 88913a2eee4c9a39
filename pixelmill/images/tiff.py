"""How a TIFF lays out its samples, and which program reads them rightly: Pillow, `tiff_samples`, or none."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn

from pixelmill.errors import ImageRejected
from pixelmill.images import jpeg
from pixelmill.images.directories import directories

UNCOMPRESSED, PACKBITS, LZMA = 1, 32773, 34925
DEFLATE: Final = frozenset({8, 32946})
"""Values of Compression (TIFF 6.0 and its supplements)."""

UNSIGNED, SIGNED, FLOAT, UNDEFINED = 1, 2, 3, 4
"""Values of SampleFormat."""

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB = 0, 1, 2, 3, 5, 6, 8
"""Values of PhotometricInterpretation."""

_PHOTOMETRIC: Final = {
    WHITE_IS_ZERO: "grey, white is zero",
    BLACK_IS_ZERO: "grey",
    RGB: "RGB",
    PALETTE: "palette",
    4: "transparency mask",
    CMYK: "inks",
    YCBCR: "YCbCr",
    CIELAB: "CIE L*a*b*",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "a camera's colour filter array",
    32844: "LogL",
    32845: "LogLuv",
    34892: "camera raw",
}
_COMPRESSION: Final = {
    1: "no compression", 2: "CCITT", 3: "fax 3", 4: "fax 4", 5: "LZW", 6: "old JPEG", 7: "JPEG", 8: "Deflate",
    32773: "PackBits", 32946: "Deflate", 33003: "JPEG 2000", 33005: "JPEG 2000", 34676: "SGI Log", 34677: "SGI Log 24",
    34712: "JPEG 2000", 34887: "LERC", 34925: "LZMA", 34933: "PNG", 34934: "JPEG XR", 50000: "Zstandard",
    50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
_FORMAT: Final = {UNSIGNED: "", SIGNED: " signed", FLOAT: " float", UNDEFINED: "", 5: " complex", 6: " complex"}
_COLOURS: Final = {RGB: 3, CMYK: 4, YCBCR: 3, CIELAB: 3, 9: 3, 10: 3, 32845: 3}
_OWN_COMPRESSION: Final = frozenset({UNCOMPRESSED, PACKBITS, LZMA, *DEFLATE})
_PILLOW_COMPRESSION: Final = _OWN_COMPRESSION | {2, 3, 4, 5, 6, 7, 50000}
_OWN_PHOTOMETRIC: Final = frozenset({WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK})
_OWN_BITS: Final = {SIGNED: {8, 16, 32, 64}, FLOAT: {16, 32, 64}, UNSIGNED: {*range(1, 33)}}
_CMYK_INKS: Final = 1
_GDAL_NODATA: Final = 42113
_FIRST_PAGES: Final = 16
"""So many are looked at for one that is not reduced."""

_HOLE: Final = bytes(64)
_NEVER_ENDS_IN_ZEROS: Final = frozenset({5, 50000, LZMA, *DEFLATE})
_JPEG: Final = 7


@dataclass(frozen=True, slots=True)
class Layout:
    """The tags of a TIFF's first image that say how its samples lie, by the names of TIFF 6.0."""

    order: str
    width: int
    height: int
    bits: tuple[int, ...]
    compression: int
    photometric: int
    fill_order: int
    samples: int
    planar: int
    predictor: int
    extra: tuple[int, ...]
    formats: tuple[int, ...]
    subsampling: tuple[int, ...]
    ink_set: int
    orientation: int
    tile: tuple[int, int] | None
    rows_per_strip: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    colormap: tuple[int, ...]
    nodata: float | None = None
    page: int = 0

    @property
    def format(self) -> int:
        """Of all samples, where it is one."""
        return UNSIGNED if self.formats[0] == UNDEFINED else self.formats[0]

    @property
    def depth(self) -> int:
        """Bits of each sample, where they are as many."""
        return self.bits[0]

    @property
    def colours(self) -> int:
        """Samples that make the colour; more are extra."""
        return _COLOURS.get(self.photometric, 1)

    @property
    def is_uniform(self) -> bool:
        """Whether all samples of a pixel are of one kind, and there are enough of them."""
        enough = self.samples >= self.colours or self.photometric == YCBCR
        return len(set(self.bits)) == 1 and len(set(self.formats)) == 1 and enough

    @property
    def in_planes(self) -> bool:
        return self.planar == 2 and self.samples > 1

    def __str__(self) -> str:
        bits = "/".join(map(str, sorted(set(self.bits))))
        kind = _FORMAT.get(self.formats[0], " undefined")
        colour = _PHOTOMETRIC.get(self.photometric, f"photometric interpretation {self.photometric}")
        if self.photometric == CMYK and self.ink_set != _CMYK_INKS:
            colour = "inks other than CMYK"
        if self.photometric == YCBCR and self.compression == UNCOMPRESSED and self.subsampling != (1, 1):
            colour = "subsampled YCbCr"
        packed = _COMPRESSION.get(self.compression, f"compression {self.compression}")
        planes = ", in planes" if self.in_planes else ""
        return f"{self.samples} x {bits}-bit{kind}, {colour}, {packed}{planes}"


def pages(data: bytes) -> list[int]:
    """The numbers of the directories, in the chain of them, of images that are no reduced ones."""
    kinds = [tags.get(254, ()) for tags in directories(data, chain=True)]
    return [number for number, kind in enumerate(kinds) if not (isinstance(kind, tuple) and kind and kind[0] & 1)]


def layout(data: bytes, number: int = 0) -> Layout:
    """Of the first image that is no reduced one, or that of a number among them. Raises ImageRejected for camera
    raw, of which these are previews."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    if data.startswith(b"MM\0+"):
        raise ImageRejected("decode", "Not supported: a big-endian BigTIFF. Save it as an ordinary TIFF, or as PNG.")
    file = io.BytesIO(data)
    tags = ImageFileDirectory_v2(file.read(16 if data[2] == 43 else 8))
    file.seek(tags.next)
    tags.load(file)
    page = 0
    wanted = pages(data)[number] if number else 0
    while page < wanted or (tags.get(254, 0) & 1 and page < _FIRST_PAGES and tags.next and not _is_raw(tags)):
        file.seek(tags.next)  # NewSubfileType: a reduced image, of one that follows
        tags.load(file)
        page += 1
    if _is_raw(tags) or tags.get(254, 0) & 1:
        raise ImageRejected("decode", "Not supported: this camera's raw. Convert it to DNG, JPEG or TIFF.")
    return replace(_layout(tags), page=page)


def _is_raw(tags: Mapping[int, Any]) -> bool:
    """Whether it has DNGVersion, or the picture is in SubIFDs and here is a reduced one."""
    return 50706 in tags or (330 in tags and bool(tags.get(254, 0) & 1))


def require_strips(found: Layout, data: bytes) -> None:
    """Raise OSError for strips and tiles of which the rest is missing or zeros, as in files that were never wholly
    copied: libtiff takes what comes for the picture."""
    if found.compression not in _NEVER_ENDS_IN_ZEROS | {_JPEG}:
        return
    for start, size in zip(found.offsets, found.counts, strict=False):
        if data[max(start, start + size - len(_HOLE)) : start + size] == _HOLE:
            raise OSError("truncated: zeros stand where there were picture data")
        if found.compression == _JPEG and size:
            jpeg.require_end(data[start : start + size])


def read_by(found: Layout) -> str:
    """ "pillow" or "samples": who reads it rightly. Raises ImageRejected where none does, rather than to guess."""
    if _pillow_is_right(found):
        return "pillow"
    if _own_is_right(found):
        return "samples"
    if _is_plain_deep_grey(found):
        return "pillow"
    _refuse(found)


def _layout(tags: Mapping[int, Any]) -> Layout:
    def values(tag: int, *default: int) -> tuple[int, ...]:
        found = tags.get(tag, default)
        return tuple(found) if isinstance(found, tuple) else (found,)

    def value(tag: int, default: int) -> int:
        return int(values(tag, default)[0])

    compression = value(259, 1)
    photometric = YCBCR if compression == 6 else value(262, -1)
    samples = value(277, 3 if compression == 6 else 1)
    if photometric < 0:  # required, yet left out by some: as libtiff takes it
        photometric = RGB if samples >= 3 else BLACK_IS_ZERO
    height = value(257, 0)
    tile = (value(322, 0), value(323, 0)) if 322 in tags else None
    return Layout(
        order=">" if getattr(tags, "prefix", b"II") == b"MM" else "<",
        width=value(256, 0), height=height, samples=samples, photometric=photometric, compression=compression,
        bits=_one_each(values(258, 1), samples), formats=_one_each(values(339, UNSIGNED), samples),
        fill_order=value(266, 1), planar=value(284, 1), predictor=value(317, 1), extra=values(338),
        subsampling=values(530, 2, 2), ink_set=value(332, _CMYK_INKS), orientation=value(274, 1),
        tile=tile, rows_per_strip=min(value(278, height), height) or height,
        offsets=values(324 if tile else 273), counts=values(325 if tile else 279), colormap=values(320),
        nodata=_number(tags.get(_GDAL_NODATA)),
    )  # fmt: skip


def _number(text: object) -> float | None:
    """The value that stands for no sample, which geographic programs write as text."""
    try:
        return float(str(text).strip(" \0"))
    except ValueError:
        return None


def _one_each(values: tuple[int, ...], samples: int) -> tuple[int, ...]:
    """As many as samples: writers give one for all, or more than there are."""
    return values * min(samples, 1 << 16) if len(values) == 1 else values[:samples]


def _pillow_is_right(found: Layout) -> bool:
    if not found.is_uniform or found.format != UNSIGNED or found.compression not in _PILLOW_COMPRESSION:
        return False
    if found.in_planes:  # Pillow takes the planes of uncompressed ones for 8-bit, in the wrong order
        plain = found.photometric in {RGB, CMYK, YCBCR} and found.samples == found.colours
        return plain and found.compression != UNCOMPRESSED and found.depth in {8, 16}
    depth, samples, photometric = found.depth, found.samples, found.photometric
    if photometric in {WHITE_IS_ZERO, BLACK_IS_ZERO}:
        grey = samples == 1 and (depth in {1, 2, 4, 8} or (depth == 16 and photometric == BLACK_IS_ZERO))
        return grey or (photometric == BLACK_IS_ZERO and (samples, depth) == (2, 8) and len(found.extra) == 1)
    if photometric == RGB:
        return (depth == 8 and samples <= 6) or (depth == 16 and samples <= 4)
    if photometric == PALETTE:
        return samples == 1 and depth in {1, 2, 4, 8} and max(found.colormap, default=0) > 255
    if photometric == CMYK:
        return found.ink_set == _CMYK_INKS and depth in {8, 16} and samples == 4
    if photometric == YCBCR:
        return depth == 8 and (found.compression != UNCOMPRESSED or _has_all_colour(found))
    return photometric == CIELAB and depth == 8 and samples == 3


def _has_all_colour(found: Layout) -> bool:
    """Whether uncompressed YCbCr is not subsampled; 2 by 2 is also what is meant where the tag is left out."""
    return found.subsampling == (1, 1) or sum(found.counts) == 3 * found.width * found.height


def _own_is_right(found: Layout) -> bool:
    if not found.is_uniform or found.compression not in _OWN_COMPRESSION or found.photometric not in _OWN_PHOTOMETRIC:
        return False
    if found.depth not in _OWN_BITS.get(found.format, ()) or not _predictor_is_known(found):
        return False
    if found.fill_order != 1 and found.compression not in {UNCOMPRESSED, PACKBITS}:
        return False
    if found.photometric == PALETTE:
        wanted = 3 << min(found.depth, 16)
        return found.format == UNSIGNED and found.depth <= 16 and len(found.colormap) == wanted
    if found.photometric == CMYK:
        return found.ink_set == _CMYK_INKS and found.format == UNSIGNED
    extra = found.samples - found.colours
    return found.photometric == RGB or extra <= 1  # more bands beside one that is grey: their colours are not told


def _predictor_is_known(found: Layout) -> bool:
    if found.predictor == 2:
        return found.format != FLOAT and found.depth in {8, 16, 32, 64}
    return found.predictor == 1 or (found.predictor == 3 and found.format == FLOAT)


def _is_plain_deep_grey(found: Layout) -> bool:
    """What only libtiff unpacks (LZW), in the byte order in which Pillow does not mix it up."""
    deep = {(SIGNED, 16), (SIGNED, 32), (FLOAT, 32)}
    plain = found.samples == 1 and found.photometric == BLACK_IS_ZERO and found.order == "<"
    return plain and found.compression in {5, 50000} and found.is_uniform and (found.format, found.depth) in deep


def _refuse(found: Layout) -> NoReturn:
    raise ImageRejected(
        "decode", f"Not supported: a TIFF of {found}. Save it with 8 or 16 bits a sample as RGB or grey, or as PNG."
    )
