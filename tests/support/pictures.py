"""A small scene in every kind of file that the supported formats have: what is made of each, and who else reads it.

`python -m tests.support.pictures` prints the table that docs/decoding.md has.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401 - registers its plugin
import rawpy
import tifffile
from PIL import Image, ImageCms, ImageOps

from pixelmill.images.profiles import icc_of
from tests.support import heic
from tests.support.documents import icon, icon_bitmap, psd
from tests.support.raws import dng

Array = np.ndarray[Any, Any]
Read = Callable[[bytes], Array]
WIDTH, HEIGHT = 61, 47


def _scene() -> Array:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / np.array([HEIGHT, WIDTH]).reshape(2, 1, 1)
    red, green, blue = 30 + 200 * x, 20 + 210 * y, 128 + 90 * np.sin(5 * x) * np.cos(4 * y)
    scene = np.stack([red, green, blue], axis=-1)
    scene[8:20, 10:30] = 220, 40, 30
    return scene.astype(np.uint8)


SCENE = _scene()
GREY = np.array(Image.fromarray(SCENE).convert("L"))
ALPHA = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
BITS = (GREY > 100).astype(np.uint8)
SCENE16, GREY16, ALPHA16 = (array.astype(np.uint16) * 257 for array in (SCENE, GREY, ALPHA))
INKS = np.asarray(Image.fromarray(SCENE).convert("CMYK"))
YCC = np.asarray(Image.fromarray(SCENE).convert("YCbCr"))


@dataclass(frozen=True)
class Kind:
    """Files of one kind: what is done with them, and what an independent reader sees in each, uint8 (height, width, 3)
    or (height, width); `within` so many grey levels on average is the same. `done` that begins with "refused: " goes on
    with the words of the reason."""

    format: str
    name: str
    done: str
    reader: str
    files: Callable[[], list[bytes]]
    seen: Read
    within: float = 1.0

    @property
    def refused(self) -> str | None:
        return self.done.removeprefix("refused: ") if self.done.startswith("refused: ") else None

    def __str__(self) -> str:
        return f"| {self.format} | {self.name} | {self.done} | {self.reader} |"


def rgb(array: Array) -> Array:
    """Grey or colour as (height, width, 3)."""
    return np.repeat(array[..., None], 3, axis=2) if array.ndim == 2 else array[..., :3]


def over_white(array: Array) -> Array:
    """The last channel is alpha; of both 16-bit ones the upper byte counts."""
    if array.dtype == np.uint16:
        array = (array / 257).round().astype(np.uint8)
    colour = rgb(array[..., 0] if array.shape[2] == 2 else array)
    share = array[..., -1:].astype(float) / 255
    return (colour * share + 255 * (1 - share)).round().astype(np.uint8)


def scaled(full: float, low: float = 0.0, *, inverted: bool = False) -> Read:
    """Samples from `low` to `full` as 0 to 255, clipped."""

    def made(array: Array) -> Array:
        share = np.clip((array.astype(np.float64) - low) / (full - low), 0, 1)
        return ((1 - share if inverted else share) * 255).round().astype(np.uint8)

    return made


def _cmyk(array: Array) -> Array:
    inks = array.astype(float) / np.iinfo(array.dtype).max
    return (255 * (1 - inks[..., :3]) * (1 - inks[..., 3:4])).round().astype(np.uint8)


def _same(array: Array) -> Array:
    return array


# TIFF, by tifffile, which is a reader and a writer of its own


def tiff(array: Array, **how: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, metadata=None, **how)
    return file.getvalue()


def tiffs(array: Array, *, orders: str = "<>", packings: Sequence[str | None] = (None, "zlib", "packbits"), **how: Any) -> list[bytes]:  # fmt: skip
    """In both byte orders, several compressions, in strips and in tiles."""
    return [
        tiff(array, byteorder=order, **({"compression": packing} if packing else {}), **where, **how)
        for order in orders
        for packing in packings
        for where in ({}, {"rowsperstrip": 10}, {"tile": (16, 32)})
    ]


def planes(array: Array) -> Array:
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def by_tifffile(then: Read = _same) -> Read:
    def read(data: bytes) -> Array:
        array = np.asarray(tifffile.imread(io.BytesIO(data)))
        return then(array.transpose(1, 2, 0) if array.ndim == 3 and array.shape[-1] == WIDTH else array)

    return read


def tiff_of(tags: Mapping[int, Sequence[int]], strips: Sequence[bytes], order: str = "<") -> bytes:
    """A TIFF tag by tag (TIFF 6.0, section 2), one strip each of `strips`."""
    all_tags: dict[int, Sequence[int]] = {256: [WIDTH], 257: [HEIGHT], 259: [1], 278: [HEIGHT], 277: [1], **tags}
    all_tags |= {273: [0] * len(strips), 279: [len(strip) for strip in strips]}
    start = 8 + 2 + 12 * len(all_tags) + 4
    late = sum(4 * len(values) for values in all_tags.values() if len(values) > 1)
    all_tags[273] = [start + late + sum(map(len, strips[:i])) for i in range(len(strips))]
    entries, beyond = b"", b""
    for tag in sorted(all_tags):
        raw = struct.pack(f"{order}{len(all_tags[tag])}I", *all_tags[tag])
        if len(raw) > 4:
            beyond, raw = beyond + raw, struct.pack(f"{order}I", start + len(beyond))
        entries += struct.pack(f"{order}HHI", tag, 4, len(all_tags[tag])) + raw
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(all_tags))
    return head + entries + bytes(4) + beyond + b"".join(strips)


def packed(array: Array, bits: int) -> list[bytes]:
    """Rows of samples of a few bits, each from a byte on."""
    spread = (array[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return [np.packbits(row.reshape(-1)).tobytes() for row in spread.reshape(len(array), -1)]


def _few_bits(bits: int) -> tuple[Array, Read]:
    return GREY >> (8 - bits), scaled(2**bits - 1)


def _palette_of(colours: int) -> tuple[Array, Array]:
    """Indices and colours."""
    image = Image.fromarray(SCENE).quantize(colours)
    table = np.zeros((colours, 3), np.uint8)
    used = np.array(image.getpalette(), np.uint8).reshape(-1, 3)[:colours]
    table[: len(used)] = used
    return np.asarray(image), table


def _tiff_palette(bits: int, scale: int = 257) -> bytes:
    indices, table = _palette_of(min(1 << bits, 256))
    whole = np.zeros((1 << bits, 3), np.uint16)
    whole[: len(table)] = table.astype(np.uint16) * scale
    tags = {258: [bits], 262: [3], 320: [int(value) for value in whole.T.reshape(-1)]}
    return tiff_of(tags, [b"".join(packed(indices.astype(np.uint16), bits))])


def _tiff_palette_seen(data: bytes) -> Array:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        table = page.colormap.T  # type: ignore[union-attr]
        return (table // (257 if table.max() > 255 else 1)).astype(np.uint8)[page.asarray().astype(np.intp)]


def _lab(mode: str) -> Array:
    lab = cv2.cvtColor((SCENE / 255).astype(np.float32), cv2.COLOR_RGB2Lab).round()
    lab[..., 0] = (cv2.cvtColor((SCENE / 255).astype(np.float32), cv2.COLOR_RGB2Lab)[..., 0] * 2.55).round()
    return (lab + (128 if mode == "icc" else 0) * np.array([0, 1, 1])).astype(np.int16).astype(np.uint8)


def _lab_seen(array: Array) -> Array:
    lab = np.dstack([array[..., 0] / 2.55, array[..., 1].view(np.int8), array[..., 2].view(np.int8)])
    return (cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_Lab2RGB) * 255).round().astype(np.uint8)


def _by_pillow(image: Image.Image, format: str, **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **how)
    return file.getvalue()


_FLOAT = (GREY / 255).astype(np.float32)
_OVER = (SCENE / 255 * 1.02 + 0.01).astype(np.float32)
_OVER[5:7] = 1.05
_UNDER = _FLOAT - 0.02
_UNDER[3, 5] = -0.1
_SHARE = ALPHA / 255


def _unknown(value: float) -> Array:
    """A tenth of it."""
    array = _FLOAT.copy()
    array[: HEIGHT // 10] = value
    return array


def _reduced_first(kind: Any = np.uint8) -> bytes:
    file = io.BytesIO()
    scene = SCENE if kind is np.uint8 else (SCENE / 255).astype(kind)
    with tifffile.TiffWriter(file) as writer:
        writer.write(scene[::8, ::8], photometric="rgb", subfiletype=1, metadata=None)
        writer.write(scene, photometric="rgb", metadata=None)
    return file.getvalue()


_REFUSED_TIFF = "refused: Not supported: a TIFF of "


def _tiff_kinds() -> list[Kind]:
    two, four = _few_bits(2), _few_bits(4)
    twelve = GREY.astype(np.uint16) * 16 + (GREY >> 4)
    rgba, rgba16 = np.dstack([SCENE, ALPHA]), np.dstack([SCENE16, ALPHA16])
    la, la16 = np.dstack([GREY, ALPHA]), np.dstack([GREY16, ALPHA16])

    def kind(name: str, done: str, files: Callable[[], list[bytes]], then: Read = _same, within: float = 1.0) -> Kind:
        return Kind("TIFF", name, done, "tifffile", files, by_tifffile(then), within)

    def associated(array: Array) -> Array:
        full = float(np.iinfo(array.dtype).max)
        colour = (array[..., :-1] * (array[..., -1:] / full)).round().astype(array.dtype)
        return np.dstack([colour, array[..., -1]])

    def unassociated(array: Array) -> Array:
        full = float(np.iinfo(array.dtype).max)
        seen = array[..., :-1].astype(float) + full - array[..., -1:]
        return rgb((seen / full * 255).clip(0, 255).round().astype(np.uint8)[..., 0] if array.shape[2] == 2 else (seen / full * 255).clip(0, 255).round().astype(np.uint8))  # fmt: skip

    bits = BITS.astype(bool)
    minus, most = (GREY.astype(int) - 128).astype(np.int8), 2**31 - 1
    return [
        kind("bilevel, black is zero", "as it is", lambda: tiffs(bits, photometric="minisblack"), scaled(1)),
        kind("bilevel, white is zero", "inverted", lambda: tiffs(~bits, photometric="miniswhite"), scaled(1, inverted=True)),
        kind(
            "bilevel, fax 3, fax 4, CCITT",
            "as it is",
            lambda: [_by_pillow(Image.fromarray(BITS * 255).convert("1"), "TIFF", compression=c) for c in ("group3", "group4", "tiff_ccitt")],
            scaled(1),
        ),
        kind("2-bit grey", "by 3", lambda: tiffs(two[0], photometric="minisblack", bitspersample=2, packings=[None]), two[1]),
        kind("4-bit grey", "by 15", lambda: tiffs(four[0], photometric="minisblack", bitspersample=4, packings=[None]), four[1]),
        kind("8-bit grey", "as it is", lambda: tiffs(GREY, photometric="minisblack", packings=(None, "zlib", "lzw"))),
        kind("8-bit grey, white is zero", "inverted", lambda: tiffs(255 - GREY, photometric="miniswhite", packings=(None, "zlib", "lzw")), scaled(255, inverted=True)),
        kind("10-, 12- and 14-bit grey", "by the largest of the bits", lambda: [tiff_of({258: [12], 262: [1]}, [b"".join(packed(twelve, 12))], order) for order in "<>"], scaled(4095)),
        kind("12-bit grey, white is zero", "inverted, by 4,095", lambda: [tiff_of({258: [12], 262: [0]}, [b"".join(packed(4095 - twelve, 12))])], scaled(4095, inverted=True)),
        kind("16-bit grey", "by 65,535", lambda: tiffs(GREY16, photometric="minisblack", packings=(None, "zlib", "lzw")), scaled(65535)),
        kind("16-bit grey, white is zero", "inverted, by 65,535", lambda: tiffs(65535 - GREY16, photometric="miniswhite"), scaled(65535, inverted=True)),
        kind("16-bit grey, predictor 2", "by 65,535", lambda: tiffs(65535 - GREY16, photometric="miniswhite", packings=["zlib"], predictor=2), scaled(65535, inverted=True)),
        kind("32-bit grey", "by 255, 65,535 or all, whichever holds it", lambda: tiffs(GREY.astype(np.uint32) * 16843009, photometric="minisblack"), scaled(2**32 - 1)),
        kind("8-bit signed grey", "from -128 to 127", lambda: tiffs(minus, photometric="minisblack"), scaled(127, -128)),
        kind("16-bit signed grey", "from -32,768 to 32,767", lambda: tiffs((GREY16.astype(int) - 32768).astype(np.int16), photometric="minisblack"), scaled(32767, -32768)),
        kind("16-bit signed grey, none below zero", "by 32,767", lambda: tiffs((GREY16 // 2).astype(np.int16), photometric="minisblack"), scaled(32767)),
        kind("32-bit signed grey of 8 bits", "by 255", lambda: tiffs(GREY.astype(np.int32), photometric="minisblack", packings=(None, "zlib")), scaled(255)),
        kind("32-bit signed grey", "by all, if nearly used", lambda: tiffs(GREY.astype(np.int32) * (most // 255), photometric="minisblack", packings=(None, "zlib")), scaled(most)),
        kind("16-, 32- and 64-bit float grey", "by 1; a little over or under is clipped", lambda: [file for size in (2, 4, 8) for file in tiffs(_FLOAT.astype(f"f{size}"), photometric="minisblack", packings=(None, "zlib"))], scaled(1)),
        kind("float grey, a little under 0", "clipped", lambda: tiffs(_UNDER, photometric="minisblack", packings=(None, "zlib", "packbits")), scaled(1)),
        kind("float grey, LZW", "by 1", lambda: tiffs(_FLOAT, photometric="minisblack", orders="<", packings=["lzw"]), scaled(1)),
        kind("float grey, LZW, big-endian", _REFUSED_TIFF + "1 x 32-bit float, grey, LZW", lambda: tiffs(_FLOAT, photometric="minisblack", orders=">", packings=["lzw"]), scaled(1)),
        kind("float grey, white is zero", "inverted, by 1", lambda: tiffs(1 - _FLOAT, photometric="miniswhite"), scaled(1, inverted=True)),
        kind("float grey, predictor 3", "by 1", lambda: tiffs(_FLOAT, photometric="minisblack", packings=["zlib"], predictor=3), scaled(1)),
        kind("float grey from 0 to 255", "by 255", lambda: tiffs(GREY.astype(np.float32) * 1.01, photometric="minisblack"), scaled(255)),
        kind("float grey from -1 to 1", "from the least to 1", lambda: tiffs(np.linspace(-1, 1, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(np.float32), photometric="minisblack"), scaled(1, -1)),
        kind("float grey with a value for what is not known (GDAL), or beyond 1e30", "black there", lambda: [tiff(_unknown(value), photometric="minisblack", compression=packing, extratags=tags) for value, tags in ((-9999, [(42113, 2, 0, b"-9999\0", True)]), (-3.4028235e38, [])) for packing in (None, "zlib", "lzw")], lambda array: scaled(1)(np.where(array < -9000, 0, array))),
        kind("a reduced picture first", "the one that follows", lambda: [_reduced_first(), _reduced_first(np.float32)], lambda array: SCENE),
        kind("8-bit RGB", "as it is", lambda: tiffs(SCENE, photometric="rgb", packings=(None, "zlib", "lzw", "zstd", "lzma"))),
        kind("8-bit RGB, predictor 2", "as it is", lambda: tiffs(SCENE, photometric="rgb", packings=("zlib", "lzw"), predictor=2)),
        kind("8-bit RGB in planes", "as it is", lambda: tiffs(planes(SCENE), photometric="rgb", planarconfig="separate", packings=(None, "zlib", "lzw"))),
        kind("16-bit RGB", "the upper byte", lambda: tiffs(SCENE16, photometric="rgb", packings=(None, "zlib", "lzw")), scaled(65535)),
        kind("16-bit RGB, predictor 2", "the upper byte", lambda: tiffs(SCENE16, photometric="rgb", packings=("zlib", "lzw"), predictor=2), scaled(65535)),
        kind("16-bit RGB in planes", "by 65,535", lambda: tiffs(planes(SCENE16), photometric="rgb", planarconfig="separate", packings=(None, "zlib", "lzw")), scaled(65535)),
        kind("16-bit RGB in planes, predictor 2", "by 65,535", lambda: tiffs(planes(SCENE16), photometric="rgb", planarconfig="separate", packings=["zlib"], predictor=2), scaled(65535)),
        kind("32-bit RGB", "by 255, 65,535 or all, whichever holds it", lambda: tiffs(SCENE.astype(np.uint32) * 16843009, photometric="rgb"), scaled(2**32 - 1)),
        kind("8-bit signed RGB", "from -128 to 127", lambda: tiffs((SCENE.astype(int) - 128).astype(np.int8), photometric="rgb"), scaled(127, -128)),
        kind("16-, 32- and 64-bit float RGB", "by 1; a little over or under is clipped", lambda: [file for size in (2, 4, 8) for file in tiffs(_OVER.astype(f"f{size}"), photometric="rgb", packings=(None, "zlib"))], scaled(1)),
        kind("float RGB in planes", "by 1", lambda: tiffs(planes(_OVER), photometric="rgb", planarconfig="separate"), scaled(1)),
        kind("float RGB, LZW", _REFUSED_TIFF + "3 x 32-bit float, RGB, LZW", lambda: tiffs(_OVER, photometric="rgb", packings=["lzw"]), scaled(1)),
        kind("BigTIFF", "as the same in a TIFF", lambda: tiffs(SCENE, photometric="rgb", orders="<", bigtiff=True) + tiffs(planes(SCENE), photometric="rgb", planarconfig="separate", orders="<", bigtiff=True)),
        kind("BigTIFF, big-endian", "refused: Not supported: a big-endian BigTIFF", lambda: [tiff(SCENE, photometric="rgb", byteorder=">", bigtiff=True)]),
        kind("RGB and alpha", "over white", lambda: tiffs(rgba, photometric="rgb", extrasamples=["unassalpha"], packings=(None, "zlib", "lzw")), over_white),
        kind("RGB and premultiplied alpha", "over white", lambda: tiffs(associated(rgba), photometric="rgb", extrasamples=["assocalpha"], packings=(None, "zlib", "lzw")), unassociated, 1.5),
        kind("RGB and more bands", "these are left out", lambda: tiffs(rgba, photometric="rgb", extrasamples=["unspecified"], packings=(None, "zlib", "lzw"))),
        kind("16-bit RGB and alpha", "over white", lambda: tiffs(rgba16, photometric="rgb", extrasamples=["unassalpha"]), over_white),
        kind("RGB and alpha in planes", "over white", lambda: tiffs(planes(rgba), photometric="rgb", planarconfig="separate", extrasamples=["unassalpha"]), over_white),
        kind("16-bit RGB and alpha in planes", "over white", lambda: tiffs(planes(rgba16), photometric="rgb", planarconfig="separate", extrasamples=["unassalpha"]), over_white),
        kind("grey and alpha", "over white", lambda: tiffs(la, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"], packings=(None, "zlib", "lzw")), over_white),
        kind("grey and premultiplied alpha", "over white", lambda: tiffs(associated(la), photometric="minisblack", planarconfig="contig", extrasamples=["assocalpha"], packings=(None, "zlib", "lzw")), unassociated, 1.5),
        kind("16-bit grey and alpha", "over white", lambda: tiffs(la16, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]), over_white),
        kind("grey and two more bands", _REFUSED_TIFF + "3 x 8-bit, grey", lambda: tiffs(SCENE, photometric="minisblack", planarconfig="contig", packings=[None]), rgb),
        Kind("TIFF", "palette of 1, 2, 4, 8 and 16 bits", "its colours", "tifffile", lambda: [_tiff_palette(depth) for depth in (1, 2, 4, 8, 16)], _tiff_palette_seen),
        Kind("TIFF", "palette of 8-bit colours", "its colours", "tifffile", lambda: [_tiff_palette(8, 1)], _tiff_palette_seen),
        kind("8-bit CMYK", "without its profile", lambda: tiffs(INKS, photometric="separated", packings=(None, "zlib", "lzw")), _cmyk, 1.5),
        kind("16-bit CMYK", "without its profile", lambda: tiffs(INKS.astype(np.uint16) * 257, photometric="separated", packings=(None, "zlib", "lzw")), _cmyk, 1.5),
        kind("CMYK in planes", "without its profile", lambda: tiffs(planes(INKS), photometric="separated", planarconfig="separate") + tiffs(planes(INKS.astype(np.uint16) * 257), photometric="separated", planarconfig="separate"), _cmyk, 1.5),
        kind("inks other than CMYK", _REFUSED_TIFF + "4 x 8-bit, inks other than CMYK", lambda: tiffs(INKS, photometric="separated", extratags=[(332, 3, 1, 2, True)])),
        kind("YCbCr", "by ITU-R BT.601", lambda: tiffs(YCC, photometric="ycbcr", subsampling=(1, 1), packings=(None, "zlib", "lzw")), lambda array: np.asarray(Image.fromarray(array, "YCbCr").convert("RGB")), 2),
        kind("YCbCr, subsampled, uncompressed", _REFUSED_TIFF + "3 x 8-bit, subsampled YCbCr", lambda: [tiff_of({258: [8, 8, 8], 262: [6], 277: [3], 530: [2, 2]}, [bytes(32 * 24 * 6)])]),
        kind("YCbCr, JPEG, subsampled", "by ITU-R BT.601", lambda: [_by_pillow(Image.fromarray(SCENE).convert("YCbCr"), "TIFF", compression="jpeg")], _same, 4),
        kind("RGB and grey, JPEG", "as it is", lambda: [tiff(array, photometric=name, compression="jpeg", byteorder=order, **where) for array, name in ((SCENE, "rgb"), (GREY, "minisblack")) for order in "<>" for where in ({}, {"tile": (16, 16)})], _same, 2),
        kind("CIE L\\*a\\*b\\*", "to sRGB", lambda: tiffs(_lab("cie"), photometric="cielab", packings=(None, "zlib", "lzw")), _lab_seen, 4.5),
        kind("ICC L\\*a\\*b\\*", _REFUSED_TIFF + "3 x 8-bit, ICC L*a*b*", lambda: tiffs(_lab("icc"), photometric="icclab")),
        kind("ITU L\\*a\\*b\\*", _REFUSED_TIFF + "3 x 8-bit, ITU L*a*b*", lambda: tiffs(_lab("icc"), photometric="itulab")),
        kind("LogL, LogLuv", _REFUSED_TIFF + "3 x 16-bit, LogLuv", lambda: [tiff_of({258: [16] * 3, 262: [32845], 259: [34676], 277: [3]}, [bytes(99)])]),
        kind("colour filter array", _REFUSED_TIFF + "1 x 8-bit, a camera's colour filter array", lambda: tiffs(GREY, photometric="cfa")),
        kind("WebP, JPEG 2000, JPEG XL, LERC, PNG in a TIFF", _REFUSED_TIFF + "3 x 8-bit, RGB", lambda: [tiff(SCENE, photometric="rgb", compression=c) for c in ("webp", "jpeg2000", "jpegxl", "lerc", "png")]),
        kind("lowest bit first (FillOrder 2)", "reversed", lambda: [tiff_of({258: [depth], 262: [white], 266: [2]}, [strip.translate(bytes(int(f"{i:08b}"[::-1], 2) for i in range(256)))]) for depth, white, strip in ((1, 1, b"".join(packed(BITS, 1))), (1, 0, b"".join(packed(1 - BITS, 1))))], lambda array: BITS * 255),
        kind("orientation", "upright", lambda: [tiff(np.rot90(SCENE), photometric="rgb", extratags=[(274, 3, 1, 6, True)]), tiff(np.rot90(SCENE.astype(np.float32) / 255), photometric="rgb", extratags=[(274, 3, 1, 6, True)])], lambda array: np.rot90(array if array.dtype == np.uint8 else scaled(1)(array), -1)),
    ]  # fmt: skip


# PNG: written chunk by chunk, read by OpenCV (libpng)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows: Sequence[bytes], bits: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def rows_of(array: Array) -> list[bytes]:
    return [row.astype(row.dtype.newbyteorder(">")).tobytes() for row in array]


def by_opencv(data: bytes) -> Array:
    """Any picture, 8 or 16 bits a sample, over white."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    assert found is not None
    array: Array = found if found.ndim == 2 else found[..., [2, 1, 0, 3][: found.shape[2]]]
    if array.ndim == 3 and array.shape[2] == 4:
        return over_white(array)
    return (array / 257).round().astype(np.uint8) if array.dtype == np.uint16 else array


def by_imagecodecs(decode: Read, then: Read = _same) -> Read:
    def read(data: bytes) -> Array:
        array = np.asarray(decode(data))
        if array.dtype == np.uint8 and then is _same and array.ndim == 3 and array.shape[2] in {2, 4}:
            return over_white(array)
        return then(array)

    return read


def _transparent(bits: int) -> list[bytes]:
    """Grey and RGB with one transparent colour, whose bits beyond the depth are set, and with one that is near it."""
    grey = GREY16 if bits == 16 else (GREY >> (8 - bits)).astype(np.uint16)
    key = int(grey[10, 15])
    near = grey.copy()
    near[:8] = key + 1 if key + 1 < 1 << bits else key - 1
    junk = 0 if bits == 16 else 0xFF00 & ~((1 << bits) - 1)
    made = [
        png(rows_of(values) if bits == 16 else packed(values, bits), bits, 0, (b"tRNS", struct.pack(">H", key | high)))
        for values in (grey, near)
        for high in (0, junk)
    ]
    if bits < 8:
        return made
    colour = SCENE16.copy() if bits == 16 else SCENE.copy()
    keys = [int(value) for value in colour[10, 15]]
    colour[:8] = np.array(keys) + 1
    return [*made, png(rows_of(colour), bits, 2, (b"tRNS", struct.pack(">HHH", *keys)))]


def _png_palette(bits: int, alpha: bool) -> bytes:
    indices, table = _palette_of(1 << bits)
    clear = (b"tRNS", np.linspace(0, 255, len(table)).astype(np.uint8).tobytes())
    return png(packed(indices, bits), bits, 3, (b"PLTE", table.tobytes()), *([clear] if alpha else []))


def _png_kinds() -> list[Kind]:
    def kind(name: str, done: str, files: Callable[[], list[bytes]], within: float = 1.0) -> Kind:
        return Kind("PNG", name, done, "OpenCV", files, by_opencv, within)

    return [
        kind("grey of 1, 2, 4 and 8 bits", "by the largest", lambda: [png(packed(GREY >> (8 - bits), bits), bits, 0) for bits in (1, 2, 4, 8)]),
        kind("16-bit grey", "by 65,535", lambda: [png(rows_of(GREY16), 16, 0)]),
        kind("RGB of 8 and 16 bits", "the upper byte", lambda: [png(rows_of(SCENE), 8, 2), png(rows_of(SCENE16), 16, 2)]),
        kind("grey or RGB and alpha, 8 and 16 bits", "over white", lambda: [png(rows_of(np.dstack([colour, alpha])), bits, kind) for bits, colour, alpha, kind in ((8, SCENE, ALPHA, 6), (16, SCENE16, ALPHA16, 6))]),
        Kind("PNG", "grey and alpha", "over white", "imagecodecs", lambda: [png(rows_of(np.dstack([GREY, ALPHA])), 8, 4), png(rows_of(np.dstack([GREY16, ALPHA16])), 16, 4)], by_imagecodecs(imagecodecs.png_decode, over_white)),
        kind("palette of 1, 2, 4 and 8 bits", "its colours", lambda: [_png_palette(bits, False) for bits in (1, 2, 4, 8)]),
        kind("palette with alpha", "over white", lambda: [_png_palette(bits, True) for bits in (1, 2, 4, 8)]),
        Kind("PNG", "a transparent colour, 1 to 16 bits", "white where all bits agree", "libpng's rule (W3C PNG, 11.3.1.1)", lambda: [file for bits in (1, 2, 4, 8, 16) for file in _transparent(bits)], transparent_seen),
        kind("gAMA, cHRM, sRGB, iCCP, cICP", "not applied, as upstream", lambda: [png(rows_of(SCENE), 8, 2, (b"gAMA", struct.pack(">I", 100000)))], 1.0),
        Kind("PNG", "Apple's CgBI", "refused: Not supported: Apple's CgBI variant", "", lambda: [png(rows_of(SCENE), 8, 2).replace(b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + chunk(b"CgBI", b"\x50\0\x20\6"), 1)], by_opencv),
    ]  # fmt: skip


def transparent_seen(data: bytes) -> Array:
    """What the specification says: samples equal to tRNS, of whose bits those of the depth count, are transparent."""
    bits, colour = data[24], data[25]
    at = data.index(b"tRNS") + 4
    raw = cv2.imdecode(np.frombuffer(data[: at - 8] + data[at + (2 if colour == 0 else 6) + 4 :], np.uint8), -1)
    assert raw is not None
    samples = (raw if raw.ndim == 2 else raw[..., ::-1]).astype(np.int64)
    if bits < 8:
        samples = samples * ((1 << bits) - 1) // 255
    key = np.array(struct.unpack(">H" if colour == 0 else ">HHH", data[at : at + (2 if colour == 0 else 6)]))
    same = samples == (key & ((1 << bits) - 1))
    clear = same if colour == 0 else same.all(axis=-1)
    shown = rgb((samples * 255 / ((1 << bits) - 1)).round().astype(np.uint8))
    return np.where(clear[..., None], np.uint8(255), shown)


# BMP, byte by byte (Windows GDI), read by OpenCV where it can


def bmp(
    bits: int, lines: Sequence[bytes], *, compression: int = 0, size: int = 40, masks: Sequence[int] = (),
    palette: bytes = b"", used: int = 0, from_top: bool = False,
) -> bytes:  # fmt: skip
    """`lines` from the bottom up; those of run lengths are one."""
    body = b"".join(line if compression in (1, 2) else line + bytes(-len(line) % 4) for line in lines)
    height = -HEIGHT if from_top else HEIGHT
    head = struct.pack("<IiiHHIIiiII", size, WIDTH, height, 1, bits, compression, len(body), 2835, 2835, used, 0)
    head += b"".join(struct.pack("<I", mask) for mask in masks).ljust(max(0, size - 40), b"\0")
    if size == 12:
        head = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, bits)
    start = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + head + palette + body


def _lines(array: Array) -> list[bytes]:
    return [row.tobytes() for row in array[::-1]]


BGR = SCENE[..., ::-1]
BGRA, BGR0 = np.dstack([BGR, ALPHA]), np.dstack([BGR, ALPHA * 0])
_MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def _masked(bits: int, shape: Sequence[tuple[int, int]]) -> bytes:
    """Red, green and blue of so many bits, from such a bit on."""
    made = np.zeros((HEIGHT, WIDTH), np.uint64)
    for band, (deep, start) in enumerate(shape):
        made |= (SCENE[..., band].astype(np.float64) / 255 * ((1 << deep) - 1)).round().astype(np.uint64) << np.uint64(
            start
        )
    masks = [((1 << deep) - 1) << start for deep, start in shape]
    return bmp(bits, _lines(made.astype(f"<u{bits // 8}")), compression=3, masks=masks)


def _table(colours: Array, entry: int = 4) -> bytes:
    return b"".join(bytes([*map(int, colour[::-1])]) + bytes(entry - 3) for colour in colours)


def _bmp_palette(bits: int, **how: Any) -> bytes:
    indices, table = _palette_of(1 << bits)
    return bmp(bits, packed(indices[::-1], bits), palette=_table(table, 3 if how.get("size") == 12 else 4), **how)


_BLACK_AND_WHITE = np.array([[0, 0, 0], [255, 255, 255]])


def _runs(indices: Array, *, four: bool = False, skip: int = -1) -> bytes:
    made = b""
    for y, row in enumerate(indices[::-1]):
        x = 0
        while x < len(row) and y != skip:
            run = next((n for n in range(x, len(row)) if row[n] != row[x]), len(row)) - x
            made += bytes([run, int(row[x]) * (17 if four else 1)])
            x += run
        made += b"\0\0"
    return made + b"\0\1"


def _run_lengths(*, four: bool = False, skip: int = -1, lines: int = HEIGHT) -> bytes:
    indices, table = _palette_of(16)
    runs = _runs(indices[HEIGHT - lines :], four=four, skip=skip)
    return bmp(4 if four else 8, [runs], compression=2 if four else 1, palette=_table(table), used=16)


def _runs_seen(skip: int = -1, lines: int = HEIGHT) -> Read:
    def seen(data: bytes) -> Array:
        indices, table = _palette_of(16)
        indices = indices.copy()
        indices[::-1][lines:] = 0
        if skip >= 0:
            indices[::-1][skip] = 0
        return table[indices]

    return seen


def _bmp_kinds() -> list[Kind]:
    def kind(name: str, done: str, files: Callable[[], list[bytes]], seen: Read = by_opencv, reader: str = "OpenCV", within: float = 1.0) -> Kind:  # fmt: skip
        return Kind("BMP", name, done, reader, files, seen, within)

    two, spec = lambda data: rgb(BITS * 255), "the format's description"
    return [
        kind("24 bits, from the bottom or the top", "as it is", lambda: [bmp(24, _lines(BGR)), bmp(24, _lines(BGR[::-1]), from_top=True), *(bmp(24, _lines(BGR), size=size) for size in (108, 124))]),
        kind("32 bits without masks", "the fourth byte is left out", lambda: [bmp(32, _lines(array)) for array in (BGR0, BGRA)], lambda data: SCENE, spec),
        kind("32 bits with an alpha mask", "over white", lambda: [bmp(32, _lines(BGRA), compression=3, size=size, masks=_MASKS) for size in (56, 108, 124)]),
        kind("32 bits with an alpha mask, all of it 0", "opaque", lambda: [bmp(32, _lines(BGR0), compression=3, size=size, masks=_MASKS) for size in (56, 108, 124)] + [bmp(32, _lines(BGR0), compression=3, masks=(0, 0, 0)), bmp(32, _lines(BGR0), compression=3, size=56, masks=(0, 0, 0, 0))], lambda data: SCENE, "what browsers show"),
        kind("16 bits, 5-5-5 and 5-6-5", "by the largest of the bits", lambda: [bmp(16, _lines((SCENE.astype(np.uint16) >> 3 << np.array([10, 5, 0], np.uint16)).sum(axis=-1).astype("<u2"))), _masked(16, ((5, 11), (6, 5), (5, 0)))], within=4),
        kind("other masks of 16 and 32 bits", "by the largest of the bits", lambda: [_masked(16, ((4, 8), (4, 4), (4, 0))), _masked(32, ((10, 20), (10, 10), (10, 0))), _masked(32, ((8, 0), (8, 8), (8, 16))), _masked(32, ((8, 24), (8, 16), (8, 8)))], lambda data: SCENE, spec, 5),
        kind("palette of 1, 4 and 8 bits", "its colours", lambda: [file for bits in (1, 4, 8) for file in (_bmp_palette(bits), _bmp_palette(bits, used=1 << bits))]),
        kind("24 bits, OS/2 1", "as it is", lambda: [bmp(24, _lines(BGR), size=12)], lambda data: SCENE, spec),
        kind("palette of 8 bits, OS/2 1", "its colours", lambda: [_bmp_palette(8, size=12)], lambda data: np.take(_palette_of(256)[1], _palette_of(256)[0], axis=0), spec),
        kind("palette of 2 bits", "its colours", lambda: [_bmp_palette(2)], lambda data: np.take(_palette_of(4)[1], _palette_of(4)[0], axis=0), spec),
        kind("black and white in 4 or 8 bits", "its colours", lambda: [bmp(bits, packed(BITS[::-1], bits), palette=_table(_BLACK_AND_WHITE), used=2) for bits in (1, 4, 8)], two, spec),
        kind("run lengths of 4 and 8 bits", "its colours", lambda: [_run_lengths(), _run_lengths(four=True)], _runs_seen(), spec),
        kind("run lengths that leave a line out", "the first colour there", lambda: [_run_lengths(skip=5)], _runs_seen(skip=5), spec),
        kind("run lengths that end early", "the first colour there", lambda: [_run_lengths(lines=30)], _runs_seen(lines=30), spec),
        kind("64 bits", "refused: Not supported: a BMP with 64 bits a pixel", lambda: [bmp(64, _lines(SCENE16))]),
        kind("a JPEG or PNG inside", "refused: Not supported: a ", lambda: [bmp(0, [b"x"], compression=way) for way in (4, 5)]),
    ]  # fmt: skip


# The rest


def _jpeg_kinds() -> list[Kind]:
    def jpeg(array: Array, **how: Any) -> bytes:
        return bytes(imagecodecs.jpeg8_encode(array, level=95, **how))

    def kind(name: str, done: str, files: Callable[[], list[bytes]], seen: Read = by_opencv, reader: str = "OpenCV", within: float = 2.0) -> Kind:  # fmt: skip
        return Kind("JPEG", name, done, reader, files, seen, within)

    frame = jpeg(SCENE).index(b"\xff\xc0")
    return [
        kind("grey, YCbCr of any subsampling, progressive", "as it is", lambda: [jpeg(GREY), *(jpeg(SCENE, subsampling=how) for how in ("444", "422", "420")), _by_pillow(Image.fromarray(SCENE), "JPEG", progressive=True)]),
        kind("RGB without a transform", "as it is", lambda: [jpeg(SCENE, colorspace="RGB", outcolorspace="RGB")]),
        kind("CMYK and YCCK", "inverted as Adobe writes them, without their profile", lambda: [jpeg(255 - INKS, colorspace="CMYK", outcolorspace=space) for space in ("CMYK", "YCCK")], by_imagecodecs(lambda data: 255 - imagecodecs.jpeg8_decode(data, outcolorspace="CMYK"), _cmyk), "imagecodecs"),
        kind("lossless, 8 bits", "as it is", lambda: [bytes(imagecodecs.jpeg8_encode(SCENE, lossless=True))], by_imagecodecs(imagecodecs.jpeg8_decode), "imagecodecs"),
        kind("12 and 16 bits", "refused: -bit JPEG", lambda: [jpeg(SCENE16 >> 4, bitspersample=12), bytes(imagecodecs.jpeg8_encode(SCENE16, lossless=True, bitspersample=16))]),
        kind("JPEG-LS", "refused: Not supported: JPEG-LS", lambda: [bytes(imagecodecs.jpegls_encode(SCENE))]),
        kind("two components", "refused: Not supported: JPEG of 2 components", lambda: [jpeg(SCENE)[: frame + 9] + b"\2" + jpeg(SCENE)[frame + 10 :]]),
        kind("hierarchical", "refused: Not supported: hierarchical JPEG", lambda: [jpeg(SCENE).replace(b"\xff\xc0", b"\xff\xc5", 1)]),
    ]  # fmt: skip


def _jp2(array: Array, kind: str = "jp2", **how: Any) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(array, level=0, codecformat=kind, reversible=True, **how))


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def jp2_of(codestream: bytes, components: int, *boxes: bytes, colour: int = 16, bits: int = 8) -> bytes:
    """A JPEG 2000 file box by box (ITU T.800, annex I)."""
    header = struct.pack(">IIHBBBB", HEIGHT, WIDTH, components, bits - 1, 7, 0, 0)
    known = _box(b"ihdr", header) + _box(b"colr", struct.pack(">BBBI", 1, 0, 0, colour))
    start = _box(b"jP  ", b"\r\n\x87\n") + _box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    return start + _box(b"jp2h", known + b"".join(boxes)) + _box(b"jp2c", codestream)


def _jp2_palette(bits: int = 8, order: Sequence[int] = (0, 1, 2)) -> bytes:
    indices, table = _palette_of(1 << bits)
    stored = np.zeros_like(table)
    stored[:, list(order)] = table
    palette = _box(b"pclr", struct.pack(">HB", len(table), 3) + bytes([7, 7, 7]) + stored.tobytes())
    mapping = _box(b"cmap", b"".join(struct.pack(">HBB", 0, 1, column) for column in order))
    return jp2_of(_jp2(indices, "j2k", bitspersample=bits), 1, palette, mapping, bits=bits)


def _jp2_grey_palette() -> bytes:
    palette = _box(b"pclr", struct.pack(">HBB", 256, 1, 7) + bytes(range(255, -1, -1)))
    return jp2_of(_jp2(255 - GREY, "j2k"), 1, palette, _box(b"cmap", struct.pack(">HBB", 0, 1, 0)), colour=17)


def _jp2_in_order(array: Array, channels: Sequence[tuple[int, int]]) -> bytes:
    """`channels` of each band: its type, and of which colour."""
    told = b"".join(struct.pack(">HHH", index, *channel) for index, channel in enumerate(channels))
    definition = _box(b"cdef", struct.pack(">H", len(channels)) + told)
    stored = _jp2(np.ascontiguousarray(array), "j2k", mct=False)
    return jp2_of(stored, array.shape[2], definition)


def _pnm(magic: bytes, largest: int, array: Array, plain: bool = False) -> bytes:
    values = (array / 255 * largest).round().astype(">u2" if largest > 255 else np.uint8)
    body = (" ".join(map(str, values.ravel())) + "\n").encode() if plain else values.tobytes()
    return b"%s\n# a comment\n%d %d\n%d\n" % (magic, WIDTH, HEIGHT, largest) + body


def _gif_on_canvas() -> bytes:
    """A first frame that is smaller than the picture."""
    gif = _by_pillow(Image.fromarray(SCENE).quantize(64), "GIF")
    return gif[:6] + struct.pack("<HH", WIDTH + 20, HEIGHT + 10) + gif[10:]


def _canvas(data: bytes) -> Array:
    canvas = np.full((HEIGHT + 10, WIDTH + 20, 3), 255, np.uint8)
    canvas[:HEIGHT, :WIDTH] = Image.fromarray(SCENE).quantize(64).convert("RGB")
    return canvas


def _other_kinds() -> list[Kind]:
    rgba = np.dstack([SCENE, ALPHA])
    jp2 = by_imagecodecs(imagecodecs.jpeg2k_decode)
    webp, avif = by_imagecodecs(imagecodecs.webp_decode), by_imagecodecs(imagecodecs.avif_decode)
    dark = (GREY16 >> 8).astype(">u2").tobytes()
    return [
        Kind("JPEG 2000", "grey, RGB of 8 bits, jp2 and j2k", "as it is", "imagecodecs", lambda: [_jp2(array, kind) for array in (GREY, SCENE) for kind in ("jp2", "j2k")], jp2),
        Kind("JPEG 2000", "with alpha", "over white", "imagecodecs", lambda: [_jp2(rgba), _jp2(np.dstack([GREY, ALPHA])), _jp2(np.dstack([SCENE16, ALPHA16]))], by_imagecodecs(imagecodecs.jpeg2k_decode, over_white), 2),
        Kind("JPEG 2000", "16 bits", "the upper byte", "imagecodecs", lambda: [_jp2(GREY16), _jp2(SCENE16)], by_imagecodecs(imagecodecs.jpeg2k_decode, scaled(65535))),
        Kind("JPEG 2000", "10 and 12 bits", "by the largest of the bits", "imagecodecs", lambda: [_jp2(SCENE16 >> 4, bitspersample=12), _jp2(GREY16 >> 4, bitspersample=12)], by_imagecodecs(imagecodecs.jpeg2k_decode, scaled(4095))),
        Kind("JPEG 2000", "fewer than 8 bits", "by the largest of the bits", "imagecodecs", lambda: [_jp2(GREY >> 4, bitspersample=4)], by_imagecodecs(imagecodecs.jpeg2k_decode, scaled(15))),
        Kind("JPEG 2000", "signed", "from the least", "imagecodecs", lambda: [_jp2((GREY.astype(int) - 128).astype(np.int8))], by_imagecodecs(imagecodecs.jpeg2k_decode, scaled(127, -128))),
        Kind("JPEG 2000", "palette of 1, 4 and 8 bits", "its colours", "imagecodecs", lambda: [_jp2_palette(bits) for bits in (1, 4, 8)], jp2),
        Kind("JPEG 2000", "palette with its columns in another order", "its colours", "the format's description", lambda: [_jp2_palette(8, (2, 1, 0)), _jp2_palette(4, (1, 2, 0))], lambda data: np.take(_palette_of(16 if b"\0\x10\3" in data else 256)[1], _palette_of(16 if b"\0\x10\3" in data else 256)[0], axis=0)),
        Kind("JPEG 2000", "palette of grey", "its greys", "the format's description", lambda: [_jp2_grey_palette()], lambda data: GREY),
        Kind("JPEG 2000", "channels in another order (cdef)", "in theirs", "the format's description", lambda: [_jp2_in_order(SCENE[..., ::-1], ((0, 3), (0, 2), (0, 1))), _jp2_in_order(np.dstack([np.full_like(ALPHA, 255), SCENE]), ((1, 0), (0, 1), (0, 2), (0, 3)))], lambda data: SCENE),
        Kind("JPEG 2000", "sYCC and CMYK", "to RGB", "the format's description", lambda: [jp2_of(_jp2(YCC, "j2k", mct=False), 3, colour=18), jp2_of(_jp2(INKS, "j2k", mct=False), 4, colour=12)], lambda data: SCENE, 2),
        Kind("JPEG 2000", "L\\*a\\*b\\* and other colours", "refused: Not supported: a JPEG 2000 with colour space", "", lambda: [jp2_of(_jp2(SCENE, "j2k", mct=False), 3, colour=space) for space in (14, 21)], jp2),
        Kind("WebP", "RGB, lossless and lossy", "as it is", "imagecodecs", lambda: [bytes(imagecodecs.webp_encode(SCENE, lossless=way)) for way in (True, False)], webp, 2),
        Kind("WebP", "with alpha", "over white", "imagecodecs", lambda: [bytes(imagecodecs.webp_encode(rgba, lossless=True))], webp),
        Kind("AVIF", "8, 10 and 12 bits", "8 bits", "imagecodecs", lambda: [bytes(imagecodecs.avif_encode(SCENE, level=100)), bytes(imagecodecs.avif_encode(GREY, level=100))], avif),
        Kind("AVIF", "10 and 12 bits", "the upper byte", "imagecodecs", lambda: [bytes(imagecodecs.avif_encode(SCENE16 >> 16 - bits, level=100, bitspersample=bits)) for bits in (10, 12)], lambda data: scaled(1023 if imagecodecs.avif_decode(data).max() < 1024 else 4095)(imagecodecs.avif_decode(data))),
        Kind("AVIF", "with alpha", "over white", "imagecodecs", lambda: [bytes(imagecodecs.avif_encode(rgba, level=100))], avif, 2),
        Kind("GIF", "palette, interlaced or not", "its colours", "OpenCV", lambda: [_by_pillow(Image.fromarray(SCENE).quantize(64), "GIF", interlace=way) for way in (0, 1)], by_opencv),
        Kind("GIF", "a first frame smaller than the picture", "white around it", "what browsers show", lambda: [_gif_on_canvas()], _canvas),
        Kind("PNM", "P1 to P6 of 255", "as it is", "OpenCV", lambda: [_pnm(b"P5", 255, GREY), _pnm(b"P6", 255, SCENE), _pnm(b"P2", 255, GREY, True), _pnm(b"P3", 255, SCENE, True), b"P4\n%d %d\n" % (WIDTH, HEIGHT) + b"".join(packed(1 - BITS, 1))], by_opencv),
        Kind("PNM", "other largest values", "by it", "the format's description", lambda: [_pnm(b"P6", largest, SCENE) for largest in (100, 1000, 65535)], lambda data: SCENE, 1.5),
        Kind("PNM", "16-bit grey", "by the largest value, however dark", "OpenCV", lambda: [_pnm(b"P5", 65535, GREY), b"P5 %d %d 65535\n" % (WIDTH, HEIGHT) + dark], by_opencv),
        Kind("PNM", "PAM (P7), PFM", "refused: is not supported", "", lambda: [b"P7\nWIDTH 3\nHEIGHT 3\n", b"PF\n3 3\n-1.0\n" + bytes(108)], by_opencv),
    ]  # fmt: skip


# What phones write: pillow-heif is a build of libheif of its own, littleCMS knows colours


def _heic_kinds() -> list[Kind]:
    image = Image.fromarray(SCENE).resize((192, 128), Image.Resampling.BICUBIC)
    rgba = image.copy()
    rgba.putalpha(Image.fromarray(ALPHA).resize(image.size))
    p3 = icc_of(((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.3127, 0.3290)))

    def kind(
        name: str, done: str, files: Callable[[], list[bytes]], seen: Read | None = None, within: float = 1.0
    ) -> Kind:
        return Kind("HEIC", name, done, "pillow-heif", files, seen or by_heif, within)

    def by_heif(data: bytes) -> Array:
        array = np.asarray(pillow_heif.open_heif(data))
        array = (array / 257).round().astype(np.uint8) if array.dtype == np.uint16 else array
        return over_white(array) if array.ndim == 3 and array.shape[2] == 4 else array

    def by_cms(data: bytes) -> Array:
        plain = Image.fromarray(rgb(by_heif(data)))
        made = ImageCms.profileToProfile(
            plain, ImageCms.ImageCmsProfile(io.BytesIO(p3)), ImageCms.createProfile("sRGB")
        )
        return np.asarray(made)

    deep = pillow_heif.from_bytes("RGB;16", image.size, (np.asarray(image).astype(np.uint16) * 257).tobytes())
    file = io.BytesIO()
    deep.save(file, quality=90)
    return [
        kind("8 and 10 bits, grey and colour", "8 bits", lambda: [heic.coded(image), heic.coded(image.convert("L")), file.getvalue()]),
        kind("in tiles", "one picture", lambda: [heic.grid(image, 64), heic.grid(image.crop((0, 0, 150, 100)), 64)]),
        kind("with alpha", "over white", lambda: [heic.coded(rgba)]),
        kind("turned and mirrored (irot, imir)", "upright; EXIF is not asked", lambda: [heic.grid(image, 64, heic.irot(1)), heic.grid(image, 64, heic.irot(3), heic.imir(1)), heic.grid(image, 64, heic.imir(0))]),
        kind("Display P3, by profile or code points", "to sRGB", lambda: [heic.grid(image, 64, heic.icc(p3)), heic.grid(image, 64, heic.nclx(12, 13))], by_cms),
        kind("several pictures", "the main one", lambda: [heic.several([image.rotate(180), image], main=1)]),
        kind("a film alone", "refused: Not supported: a HEIF sequence", lambda: [heic.box(b"ftyp", b"hevc\0\0\0\0msf1hevc") + heic.box(b"moov", bytes(64))]),
    ]  # fmt: skip


def _jxl_kinds() -> list[Kind]:
    rgba = np.dstack([SCENE, ALPHA])
    light = ((GREY / 255).astype(np.float64) ** 2.2 * 65535).round().astype(np.uint16)

    def coded(array: Array, **how: Any) -> bytes:
        return bytes(imagecodecs.jpegxl_encode(array, **how))

    def by_plugin(data: bytes) -> Array:
        array = np.asarray(Image.open(io.BytesIO(data)))
        return over_white(array) if array.ndim == 3 and array.shape[2] in (2, 4) else array

    def kind(name: str, done: str, files: Callable[[], list[bytes]], seen: Read = by_plugin, within: float = 1.0, reader: str = "pillow-jxl-plugin") -> Kind:  # fmt: skip
        return Kind("JPEG XL", name, done, reader, files, seen, within)

    return [
        kind("8 bits, grey and colour, in boxes or not", "as it is, upright", lambda: [coded(array, lossless=way, usecontainer=way) for array in (GREY, SCENE) for way in (True, False)]),
        kind("with alpha", "over white", lambda: [coded(rgba), coded(rgba, lossless=True), coded(np.dstack([GREY, ALPHA]))]),
        kind("16 bits and float, of light", "by the curve of sRGB", lambda: [coded(np.dstack([light] * 3), lossless=True), coded((np.dstack([light] * 3) / 65535).astype(np.float32), lossless=True)], lambda data: GREY, 4, "the format's description"),
        kind("animations", "the first picture", lambda: [coded(np.stack([SCENE, SCENE[::-1]]), lossless=True)], lambda data: SCENE, 1, "what was written"),
    ]  # fmt: skip


def _document_kinds() -> list[Kind]:
    def kind(format: str, name: str, done: str, files: Callable[[], list[bytes]], seen: Read, reader: str, within: float = 1.0) -> Kind:  # fmt: skip
        return Kind(format, name, done, reader, files, seen, within)

    def by_pillow(data: bytes) -> Array:
        return over_white(np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")))

    def of_scene(data: bytes) -> Array:
        return SCENE

    bands, rgba, spec = list(planes(SCENE)), np.dstack([SCENE, ALPHA]), "the format's description"
    even = [np.full((HEIGHT, WIDTH), 128, np.uint8)] * 3
    light = ((SCENE / 255) ** 2.2 * 7).astype(np.float32)[..., ::-1]
    return [
        kind("PSD", "RGB and grey of 8 and 16 bits, raw and PackBits", "the picture of all layers", lambda: [psd(bands, 3, packed=way) for way in (True, False)] + [psd([GREY], 1), psd(list(planes(SCENE16)), 3, depth=16)], lambda data: by_pillow(data) if data[23] == 8 else SCENE, "Pillow"),
        kind("PSD", "RGB of 32 bits", "light, by the curve of sRGB", lambda: [psd([(band / 255) ** 2.2 for band in bands], 3, depth=32)], of_scene, spec, 4),
        kind("PSD", "CMYK", "by its profile, or without one", lambda: [psd(list(planes(255 - INKS)), 4)], lambda data: _cmyk(INKS), spec, 1.5),
        kind("PSD", "L\\*a\\*b\\*", "to sRGB", lambda: [psd(even, 9)], lambda data: SCENE * 0 + 119, spec, 1.5),
        kind("PSD", "with transparency", "over white; other channels are left out", lambda: [psd(list(planes(rgba)), 3, alpha=True)], lambda data: over_white(rgba), spec),
        kind("PSD", "saved without its picture, or of channels alone", "refused: Not supported: a Photoshop document", lambda: [psd(bands, 7), psd(bands, 3, resources={1057: b"\0\0\0\1\0" + bytes(12)})], of_scene, ""),
        kind("ICO", "PNGs and bitmaps", "the largest, over white", lambda: [icon([((9, 9), _by_pillow(Image.fromarray(SCENE[:9, :9]), "PNG")), ((WIDTH, HEIGHT), body)]) for body in (_by_pillow(Image.fromarray(rgba), "PNG"), icon_bitmap(rgba))], lambda data: over_white(rgba), spec),
        kind("QOI", "with and without alpha", "over white", lambda: [bytes(imagecodecs.qoi_encode(SCENE)), bytes(imagecodecs.qoi_encode(rgba))], by_pillow, "Pillow"),
        kind("DDS", "plain and in blocks", "the first surface, over white", lambda: [_by_pillow(Image.fromarray(rgba[:44, :60]), "DDS", pixel_format=name) for name in ("DXT1", "DXT5")], lambda data: over_white(np.asarray(imagecodecs.dds_decode(data))), "imagecodecs", 2),
        kind("TGA", "colour, grey and palette, plain and in run lengths", "over white", lambda: [_by_pillow(image, "TGA", compression=way) for image in (Image.fromarray(SCENE), Image.fromarray(rgba), Image.fromarray(GREY), Image.fromarray(SCENE).quantize(99)) for way in (None, "tga_rle")], by_pillow, "Pillow"),
        kind("Radiance HDR", "light of any brightness", "by the curve of Reinhard et al. 2002", lambda: [cv2.imencode(".hdr", light * scale)[1].tobytes() for scale in (1, 100)], lambda data: reinhard(cv2.imdecode(np.frombuffer(data, np.uint8), -1)[..., ::-1]), "OpenCV"),
        kind("Radiance HDR", "XYZ, other orders of pixels", "refused: Not supported: a Radiance HDR", lambda: [b"#?RADIANCE\nFORMAT=32-bit_rle_xyze\n\n-Y 4 +X 4\n", b"#?RADIANCE\n\n+X 4 -Y 4\n"], of_scene, ""),
    ]  # fmt: skip


def reinhard(light: Array) -> Array:
    """Equations 1, 2 and 4 of Reinhard et al. 2002, with middle grey at 0.18, white but for one pixel in a thousand."""
    luma = light.astype(np.float64) @ np.array([0.2126, 0.7152, 0.0722])
    key = 0.18 / np.exp(np.log(luma + 1e-6).mean())
    white = max(1.0, np.sort(luma.ravel())[-1 - luma.size // 1000] * key)
    shown = luma * key
    mapped = (light * key * ((1 + shown / white**2) / (1 + shown))[..., None]).clip(0, 1)
    return np.where(mapped <= 0.0031308, 12.92 * mapped, 1.055 * mapped ** (1 / 2.4) - 0.055) * 255


def _raw_kinds() -> list[Kind]:
    image = Image.fromarray(SCENE).resize((192, 128), Image.Resampling.BICUBIC)
    small = ImageOps.invert(image.resize((96, 64)))

    def by_libraw(data: bytes) -> Array:
        with rawpy.imread(io.BytesIO(data)) as raw:
            return np.asarray(raw.postprocess(half_size=True, use_camera_wb=True, gamma=(2.4, 12.92)))

    return [
        Kind("camera raw", "no preview, or one of too few pixels", "developed at half its size by LibRaw, with the camera's white", "rawpy", lambda: [dng(image, orientation=turn) for turn in (1, 6, 8)] + [dng(image, preview=small.resize((90, 60)))], by_libraw),
        Kind("camera raw", "a preview of enough pixels", "the preview, upright", "Pillow", lambda: [dng(image, preview=small)], lambda data: np.asarray(small), 4),
        Kind("camera raw", "of a camera that LibRaw does not know", "refused: Not supported: this camera's raw", "rawpy", lambda: [b"IIRO" + bytes(999)], by_libraw),
    ]  # fmt: skip


KINDS = [
    *_jpeg_kinds(),
    *_png_kinds(),
    *_tiff_kinds(),
    *_bmp_kinds(),
    *_other_kinds(),
    *_heic_kinds(),
    *_jxl_kinds(),
    *_raw_kinds(),
    *_document_kinds(),
]
TABLE = "\n".join(["| format | kind | what is done | compared with |", "|---|---|---|---|", *map(str, KINDS)])

if __name__ == "__main__":
    print(TABLE)
