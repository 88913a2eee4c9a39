"""Files that are sound but for a fault that viewers overlook: what is decoded instead, and what is to be told of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pixelmill.images import jpeg, png


@dataclass(frozen=True, slots=True)
class Mended:
    """The file without its fault, and a note of it, such as "JPEG without its end marker".

    `other` is the file with other bytes where its picture seems to have ended: the picture is whole if that shows the
    same.
    """

    data: bytes
    note: str
    other: bytes | None = None


def mended(kind: str, data: bytes) -> Mended | None:
    """For a file of a kind that could not be decoded; None if it has none of the faults that can be overlooked."""
    mend = _MENDERS.get(kind)
    return mend(data) if mend else None


def _jpeg(data: bytes) -> Mended | None:
    scans = jpeg.whole_scans(data)
    if scans is None:
        return None
    note = "JPEG without its end marker" if len(data) - len(scans) < 16 else "JPEG with other data for its end marker"
    return Mended(scans + jpeg.END, note, jpeg.with_other_rest(scans))


def _png(data: bytes) -> Mended | None:
    kept = png.essential(data)
    return Mended(kept, "PNG with damaged metadata, which was left out") if len(kept) < len(data) else None


def _webp(data: bytes) -> Mended | None:
    """By the lengths of its chunks (RFC 9649), which end in the file, when the length of all is wrong."""
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + size > len(data):
            break
        at += 8 + size + size % 2
    end = min(at, len(data))
    told = data[4:8]
    true = (end - 8 + end % 2).to_bytes(4, "little")
    if end <= 12 or told == true:
        return None
    return Mended(data[:4] + true + data[8:end] + bytes(end % 2), "WebP of another length than it says")


_MENDERS: Final[Mapping[str, Callable[[bytes], Mended | None]]] = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp}
