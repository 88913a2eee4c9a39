"""What a file is, told by its first bytes: an image to decode, an image to refuse, or no image."""

from __future__ import annotations

from typing import Final

HEAD: Final = 64
"""How many bytes of a file `sniff` needs."""

SUPPORTED: Final = frozenset({"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM"})
"""Formats that `decode_image` opens, by Pillow's names. All others are refused, whatever Pillow could do with them."""

REFUSED: Final = {
    "HEIC": "HEIC is not supported: convert it to JPEG or AVIF.",
    "JPEG XL": "JPEG XL is not supported: convert it to JPEG, WebP or AVIF.",
    "EPS": "EPS is never opened, because PostScript is a program: convert it to PNG.",
    "PSD": "Photoshop documents are not supported: export them as JPEG, PNG or TIFF.",
    "camera raw": "Camera raw is not supported: export it as JPEG or TIFF.",
    "ICO": "Icon files are not supported: convert them to PNG.",
    "QOI": "QOI is not supported: convert it to PNG.",
    "OpenEXR": "OpenEXR is not supported: convert it to TIFF or PNG.",
    "Radiance HDR": "Radiance HDR is not supported: convert it to TIFF or PNG.",
    "DDS": "DDS textures are not supported: convert them to PNG.",
    "XCF": "GIMP documents are not supported: export them as JPEG, PNG or TIFF.",
    "DjVu": "DjVu is not supported: convert it to TIFF or PNG.",
}
"""Images by their content, which are discovered so that they are quarantined with this reason."""

EXTENSIONS: Final = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".mpo",
        ".png",
        ".apng",
        ".webp",
        ".gif",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".avif",
        ".avifs",
        ".jp2",
        ".j2k",
        ".jpf",
        ".jpx",
        ".jpc",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".heic",
        ".heif",
        ".jxl",
        ".eps",
        ".psd",
        ".cr2",
        ".cr3",
        ".nef",
        ".arw",
        ".dng",
        ".orf",
        ".rw2",
        ".raf",
        ".exr",
        ".dds",
        ".xcf",
    }
)
"""Names that promise an image: such a file is discovered even if its content is none, so that it is quarantined."""

_PREFIXES: Final = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"%!PS", "EPS"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"8BPS", "PSD"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
    (b"IIU\0", "camera raw"),
    (b"IIRO", "camera raw"),
    (b"MMOR", "camera raw"),
    (b"\0\0\1\0", "ICO"),
    (b"qoif", "QOI"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"DDS ", "DDS"),
    (b"gimp xcf", "XCF"),
    (b"AT&TFORM", "DjVu"),
)
_TIFF: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_HEIC_BRANDS: Final = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})

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
    for prefix, name in _PREFIXES:
        if head.startswith(prefix):
            return name
    found = (test(head) for test in (_tiff, _riff, _bmff, _bmp, _ppm))
    return next((name for name in found if name), None)


def has_image_extension(name: str) -> bool:
    """Whether a file name ends like an image's."""
    dot = name.rfind(".")
    return dot >= 0 and name[dot:].lower() in EXTENSIONS


def describe(head: bytes) -> str:
    """What a file that is no known image seems to be, in words: "HTML text"."""
    for prefix, words in _OTHERS:
        if head.startswith(prefix):
            return words
    found = (test(head) for test in (_container, _text))
    return next((words for words in found if words), "of an unknown format")


def without_metadata(png: bytes) -> bytes:
    """The PNG without its texts and colour profile, for one whose metadata is a bomb but whose picture may be fine."""
    kept, at = [png[:8]], 8
    while at + 8 <= len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4], "big")
        if png[at + 4 : at + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            kept.append(png[at:end])
        at = end
    return b"".join(kept)


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


def _ppm(head: bytes) -> str | None:
    return "PPM" if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3] in b" \t\r\n#" and len(head) > 2 else None


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
        return "XML text"
    plain = head.decode("utf-8", "ignore").encode()
    return "text" if len(plain) > len(head) - 4 and not set(head) & _CONTROL else None


_CONTROL: Final = frozenset(range(32)) - {9, 10, 13, 27}
