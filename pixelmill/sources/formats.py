"""What a file is, told by its first bytes: an image to decode, an image to refuse, or no image."""

from __future__ import annotations

import re
from typing import Final

HEAD: Final = 256
"""How many bytes of a file `sniff` needs."""

SUPPORTED: Final = frozenset(
    {
        "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "HEIC", "JPEG XL", "camera raw", "PSD",
        "ICO", "QOI", "DDS", "Radiance HDR", "TGA",
    }
)  # fmt: skip
"""Formats that `decode_image` opens, by Pillow's names or people's. No other is, whatever Pillow could do with it."""

REFUSED: Final = {
    "EPS": "EPS is never opened, because PostScript is a program: convert it to PNG.",
    "OpenEXR": "OpenEXR is not supported: convert it to TIFF or PNG.",
    "XCF": "GIMP documents are not supported: export them as JPEG, PNG or TIFF.",
    "DjVu": "DjVu is not supported: convert it to TIFF or PNG.",
    "JPEG XR": "JPEG XR is not supported: convert it to JPEG or PNG.",
    "PFM": "PFM (floating point) is not supported: convert it to TIFF or PNG.",
    "PAM": "PAM is not supported: convert it to PNG.",
    "SGI": "SGI images are not supported: convert them to PNG.",
    "FITS": "FITS is not supported: convert it to TIFF or PNG.",
    "MNG": "MNG animations are not supported: convert them to PNG or GIF.",
    "ICNS": "Apple icons are not supported: convert them to PNG.",
    "FLIF": "FLIF is not supported: convert it to PNG.",
    "BPG": "BPG is not supported: convert it to JPEG or PNG.",
}
"""Images by their content, which are discovered so that they are quarantined with this reason."""

SUPPORTED_SINCE: Final = (
    "HEIC is not supported: convert it to JPEG or AVIF.",
    "JPEG XL is not supported: convert it to JPEG, WebP or AVIF.",
    "Photoshop documents are not supported: export them as JPEG, PNG or TIFF.",
    "Camera raw is not supported: export it as JPEG or TIFF.",
    "Icon files are not supported: convert them to PNG.",
    "QOI is not supported: convert it to PNG.",
    "Radiance HDR is not supported: convert it to TIFF or PNG.",
    "DDS textures are not supported: convert them to PNG.",
)
"""Why programs before this one refused what is opened now: such images are tried again."""

EXTENSIONS: Final = frozenset(
    {
        ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff",
        ".avif", ".avifs", ".jp2", ".j2k", ".jpf", ".jpx", ".jpc", ".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif",
        ".heics", ".heifs", ".hif", ".jxl", ".eps", ".psd", ".psb", ".ico", ".qoi", ".hdr", ".tga", ".cr2", ".cr3",
        ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".exr", ".dds", ".xcf", ".pfm", ".pam", ".jxr",
        ".wdp", ".hdp",
    }
)  # fmt: skip
"""Names that promise an image: such a file is discovered even if its content is none, so that it is quarantined."""

_TEXTS: Final = ((b"%!PS", "EPS"), (b"#?RADIANCE", "Radiance HDR"), (b"#?RGBE", "Radiance HDR"), (b"SIMPLE  =", "FITS"))
"""How formats begin whose heads are text themselves."""

_PREFIXES: Final = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"8BPS", "PSD"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
    (b"IIU\0", "camera raw"),
    (b"IIRO", "camera raw"),
    (b"IIRS", "camera raw"),
    (b"MMOR", "camera raw"),
    (b"FOVb", "camera raw"),
    (b"qoif", "QOI"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"DDS |", "DDS"),
    (b"gimp xcf", "XCF"),
    (b"AT&TFORM", "DjVu"),
    (b"II\xbc\1", "JPEG XR"),
    (b"\x01\xda\0", "SGI"),
    (b"\x01\xda\1", "SGI"),
    (b"\x8aMNG\r\n\x1a\n", "MNG"),
    (b"icns", "ICNS"),
    (b"FLIF", "FLIF"),
    (b"BPG\xfb", "BPG"),
)
_TIFF: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_HEIC_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1"}
)

_OTHERS: Final = (
    (b"%PDF", "a PDF document"),
    (b"PK\3\4", "a ZIP archive"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"BZh", "bzip2-compressed data"),
    (b"\xfd7zXZ", "xz-compressed data"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (b"PAR1", "a Parquet file"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"OggS", "an Ogg sound or video"),
    (b"ID3", "an MP3 sound"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x7fELF", "a program"),
    (b"version https://git-lfs", "a Git LFS pointer: the image itself was never fetched (`git lfs pull`)"),
)


def sniff(head: bytes) -> str | None:
    """The image format of a file that starts with `head`, a name in SUPPORTED or REFUSED; None for no image."""
    if found := _begins(head, _TEXTS):
        return found
    found = _begins(head, _PREFIXES) or next(filter(None, (test(head) for test in _TESTS)), None)
    is_note = found is not None and len(head) > _MAGIC and _is_text(head)  # that only begins with the letters of one
    return _netpbm(head) if found is None or is_note else found


def _begins(head: bytes, prefixes: tuple[tuple[bytes, str], ...]) -> str | None:
    return next((name for prefix, name in prefixes if head.startswith(prefix)), None)


def has_image_extension(name: str) -> bool:
    """Whether a file name ends like an image's."""
    dot = name.rfind(".")
    return dot >= 0 and name[dot:].lower() in EXTENSIONS


def kind_of(data: bytes) -> str | None:
    """As `sniff`, of a whole file: Targa has no sign at its beginning."""
    return sniff(data[:HEAD]) or ("TGA" if _is_targa(data) else None)


def _is_targa(data: bytes) -> bool:
    """By the signature at the end of version 2, or by a head of which every field is as it has to be."""
    if len(data) <= _TARGA_HEAD:
        return False
    mapped, kind, depth, flags = data[1], data[2], data[16], data[17]
    width, height = int.from_bytes(data[12:14], "little"), int.from_bytes(data[14:16], "little")
    if kind not in _TARGA_DEPTHS or depth not in _TARGA_DEPTHS[kind] or not width or not height or flags & 0xC0:
        return False
    if data.endswith(_TARGA_END):
        return True
    palette = data[3:8]
    plain = mapped == 0 and palette == bytes(5)
    coloured = mapped == 1 and palette[4] in {15, 16, 24, 32} and 0 < int.from_bytes(palette[2:4], "little") <= 256
    return (coloured if kind in {1, 9} else plain) and flags & 15 in {0, 1, 8} and len(data) > _TARGA_HEAD + data[0]


_TARGA_HEAD: Final = 18
_TARGA_END: Final = b"TRUEVISION-XFILE.\0"
_TARGA_DEPTHS: Final = {
    1: {8}, 9: {8}, 2: {15, 16, 24, 32}, 10: {15, 16, 24, 32}, 3: {8, 16}, 11: {8, 16},
}  # fmt: skip
"""Bits of a pixel by the type of picture: palette, colour and grey, each plain or in run lengths."""


def describe(head: bytes) -> str:
    """What a file that is no known image seems to be, in words: "HTML text"."""
    return _begins(head, _OTHERS) or _container(head) or _text(head) or "of an unknown format"


def _tiff(head: bytes) -> str | None:
    if not head.startswith(_TIFF):
        return None
    return "camera raw" if head[8:10] == b"CR" else "TIFF"


def _riff(head: bytes) -> str | None:
    return "WEBP" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def _bmff(head: bytes) -> str | None:
    """ISO base media files name what they are by brands (ISO/IEC 14496-12, section 4.3)."""
    if head[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, end - 3, 4))}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    if brands & _HEIC_BRANDS:
        return "HEIC"
    return "camera raw" if b"crx " in brands else None


def _bmp(head: bytes) -> str | None:
    """BM alone starts many a text: the header size that follows makes it a bitmap."""
    sizes = {12, 16, 40, 52, 56, 64, 108, 124}
    return "BMP" if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in sizes else None


def _icon(head: bytes) -> str | None:
    """ICO and CUR: how many pictures, and of each its size, a zero, its planes and bits (or, of CUR, its hot spot)."""
    if head[:3] != b"\0\0\1" or head[3:4] != b"\0" or not 0 < int.from_bytes(head[4:6], "little") <= 256:
        return None
    return "ICO" if head[9:10] == b"\0" and head[10:11] in b"\0\1" and head[11:12] == b"\0" else None


def _netpbm(head: bytes) -> str | None:
    """Netpbm's formats, whose heads are text: by numbers where they belong, and nothing beside them but comments."""
    if head.startswith(b"P7\n") and re.match(rb"P7\n(#[^\n]*\n)*(WIDTH|HEIGHT|DEPTH|MAXVAL|TUPLTYPE)\b", head):
        return "PAM"
    if re.match(rb"P[Ff]\s\d+\s\d+\s-?\d[\d.eE+-]*\s", head):
        return "PFM"
    pattern = _PNM.get(head[:2])
    if pattern is None:
        return None
    told = re.sub(rb"#[^\r\n]*([\r\n]|\Z)", b" ", head) if head[:2] in _PLAIN_PNM else _without_comments(head)
    if not (found := pattern.match(told)):
        return "PPM" if len(head) >= HEAD and _COMMENTED.fullmatch(head) else None
    is_note = head[:2] not in _PLAIN_PNM and _is_text(head) and not _may_be_pixels(told, found, len(head) >= HEAD)
    return None if is_note else "PPM"


def _may_be_pixels(head: bytes, found: re.Match[bytes], goes_on: bool) -> bool:
    """Whether what could be read as text may be samples: all of them, or those of a picture that goes on."""
    width, height, *_ = map(int, found[0].split()[1:])
    row = {b"P4": (width + 7) // 8, b"P5": width}.get(head[:2], 3 * width)
    return (goes_on and head[:2] != b"P4") or 0 <= len(head) - found.end() - row * height <= 1


def _without_comments(head: bytes) -> bytes:
    """Of a picture whose samples are binary: only those in front of them are comments."""
    while found := re.match(rb"(P\d(?:\s+\d+){0,3}\s*)\s#[^\r\n]*[\r\n]", head):
        head = found[1] + b" " + head[found.end() :]
    return head


_PLAIN_PNM: Final = frozenset({b"P1", b"P2", b"P3"})
_PNM: Final = {
    b"P1": re.compile(rb"P1\s+\d+\s+\d+\s[\s01]*\Z"),
    b"P2": re.compile(rb"P2\s+\d+\s+\d+\s+\d+\s[\s\d]*\Z"),
    b"P3": re.compile(rb"P3\s+\d+\s+\d+\s+\d+\s[\s\d]*\Z"),
    b"P4": re.compile(rb"P4\s+\d+\s+\d+\s"),
    b"P5": re.compile(rb"P5\s+\d+\s+\d+\s+\d+\s"),
    b"P6": re.compile(rb"P6\s+\d+\s+\d+\s+\d+\s"),
}
_COMMENTED: Final = re.compile(rb"P[1-6]\s+(?:\d+\s+){0,2}#[^\r\n]*")
"""A comment that goes on beyond the head."""


def _container(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        return "an MP4 or QuickTime video"
    if head[:4] == b"RIFF":
        return {b"WAVE": "a WAV sound", b"AVI ": "an AVI video"}.get(head[8:12], "a RIFF file")
    return "only zero bytes: it was probably never fully copied" if head and not head.strip(b"\0") else None


def _text(head: bytes) -> str | None:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "HTML text: it was probably a web server's error page"
    if start.startswith((b"<svg", b"<!doctype svg")):
        return "an SVG drawing"
    if start.startswith(b"<?xml"):
        return "XML text: an SVG drawing" if b"<svg" in start else "XML text"
    if start.startswith((b'{"', b"{\n", b"[{")) and _is_text(head):
        return "JSON text: it was probably a web server's error message"
    if start.startswith(b"/* xpm */"):
        return "an XPM image, which is C source"
    if re.match(rb"#define \S+_width \d", start):
        return "an XBM image, which is C source"
    if start.startswith(b"#!"):
        return "a script"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) and len(head) > 2:
        return "text in UTF-16"
    return "text" if _is_text(head) else None


def _is_text(head: bytes) -> bool:
    plain = head.decode("utf-8", "ignore").encode()
    return len(plain) > len(head) - 4 and not set(head) & _CONTROL


_CONTROL: Final = (frozenset(range(32)) - {9, 10, 12, 13, 27}) | {127}
_MAGIC: Final = 16
"""Heads of fewer bytes are those of files that are cut off, of whatever kind."""

_TESTS: Final = (_tiff, _riff, _bmff, _bmp, _icon)
