"""HEIF, as phones and cameras write it: libheif decodes it, turned by its own irot and imir, its colours to sRGB."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pixelmill.errors import ImageRejected
from pixelmill.images import profiles
from pixelmill.images.jpeg2000 import boxes

if TYPE_CHECKING:
    from pi_heif.heif import HeifFile
    from PIL import Image

_ZEROS: Final = bytes(64)
_BRIGHTER: Final = frozenset({profiles.PQ, profiles.HLG})
_DEEPEST: Final = 8
"""Pictures that are made of others, of others and so on."""


def opened(data: bytes) -> HeifFile:
    """The pictures of a file, none of them decoded yet. Raises ImageRejected for one that is only a film."""
    from pi_heif.heif import HeifFile

    kinds = [kind for kind, _ in boxes(data)]
    if b"moov" in kinds and b"meta" not in kinds:
        raise ImageRejected("decode", "Not supported: a HEIF sequence without a still picture. Convert it to JPEG.")
    return HeifFile(io.BytesIO(data), convert_hdr_to_8bit=True)


def loaded(found: HeifFile, index: int, data: bytes) -> Image.Image:
    """One of the pictures in 8-bit sRGB, as it is to be seen. Raises ImageRejected, or what libheif's reader does."""
    require_whole(data)
    told = found[index].info
    nclx = told.get("nclx_profile") or {}
    primaries, transfer = int(nclx.get("color_primaries", 2)), int(nclx.get("transfer_characteristics", 2))
    if transfer in _BRIGHTER and "icc_profile" not in told:
        return _toned(data, index, primaries, transfer)
    image = found[index].to_pillow()
    if icc := told.get("icc_profile"):
        return profiles.by_icc(image, icc)
    return profiles.by_code_points(image, primaries, transfer)


def _toned(data: bytes, index: int, primaries: int, transfer: int) -> Image.Image:
    import numpy as np
    from pi_heif.heif import HeifFile
    from PIL import Image

    samples: Any = np.asarray(HeifFile(io.BytesIO(data), convert_hdr_to_8bit=False)[index])
    if samples.ndim != 3 or samples.shape[2] < 3:
        raise ImageRejected("decode", "Not supported: a HEIF of grey brighter than white. Convert it to JPEG.")
    if samples.dtype == np.uint8:
        samples = samples.astype(np.uint16) * 257
    image = Image.fromarray(profiles.toned(samples[..., :3], profiles.chromaticities_of(primaries), transfer))
    if samples.shape[2] == 4:
        image.putalpha(Image.fromarray((samples[..., 3] >> 8).astype(np.uint8)))
    return image


def require_whole(data: bytes) -> None:
    """Raise OSError for a file of which a part is missing: libheif leaves out the tiles that lie behind its end, and
    libde265 makes grey of zeros, of which three in a row are no part of HEVC (ITU-T H.265, 7.4.2)."""
    for start, size in _coded(data):
        if start + size > len(data):
            raise OSError("truncated: picture data lie behind the end of the file")
        if data.find(_ZEROS, start, start + size) >= 0:
            raise OSError("truncated: zeros stand where there were picture data")


@dataclass(frozen=True, slots=True)
class _Items:
    """What a file's `meta` box says (ISO/IEC 14496-12, 8.11): where items lie, of which others they are made, and which
    is the picture."""

    places: dict[int, list[tuple[int, int]]]
    parts: dict[int, list[int]]
    primary: int


def _coded(data: bytes) -> Iterator[tuple[int, int]]:
    """Offset and size of what makes up the picture."""
    meta = next((body for kind, body in boxes(data) if kind == b"meta"), b"")
    found = _items(meta[4:])
    wanted = {found.primary}
    for _ in range(_DEEPEST):
        wanted |= {part for item in wanted for part in found.parts.get(item, ())}
    for item in sorted(wanted):
        yield from found.places.get(item, ())


def _items(meta: bytes) -> _Items:
    inner = dict(reversed(list(boxes(meta))))
    pitm = inner.get(b"pitm", bytes(6))
    primary = int.from_bytes(pitm[4:6] if pitm[0] == 0 else pitm[4:8], "big")
    return _Items(dict(_places(inner.get(b"iloc", b""))), dict(_parts(inner.get(b"iref", b""))), primary)


def _parts(iref: bytes) -> Iterator[tuple[int, list[int]]]:
    """8.11.12: those items that are derived from others (`dimg`)."""
    wide = 2 if iref[:1] in {b"", b"\0"} else 4
    for kind, body in boxes(iref[4:]):
        if kind == b"dimg":
            numbers = _Numbers(body)
            item, count = numbers.next(wide), numbers.next(2)
            yield item, [numbers.next(wide) for _ in range(count)]


def _places(iloc: bytes) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """8.11.3: offset and size of each extent that lies in the file itself."""
    numbers = _Numbers(iloc)
    version, sizes = numbers.next(4) >> 24, numbers.next(2)
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(numbers.next(2 if version < 2 else 4)):
        item = numbers.next(2 if version < 2 else 4)
        method = numbers.next(2) & 15 if version else 0
        numbers.next(2)
        start = numbers.next(base)
        extents = []
        for _ in range(numbers.next(2)):
            numbers.next(index if version else 0)
            at = start + numbers.next(offset)
            extents.append((at, numbers.next(length)))
        if method == 0:
            yield item, extents


class _Numbers:
    """Big-endian numbers, one after the other. Raises EOFError behind the last."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def next(self, size: int) -> int:
        self._at += size
        if self._at > len(self._data):
            raise EOFError("truncated: its meta box ends too early")
        return int.from_bytes(self._data[self._at - size : self._at], "big")
