"""Facts of a picture, made while it is decoded: what its file is, what its camera wrote, what its pixels are like."""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from pixelmill.images.camera import MISSING_INT, camera, lens, place, taken
from pixelmill.images.measures import LONGEST_EDGE, measures
from pixelmill.images.metadata import exif_of
from pixelmill.images.tiff_tags import LONGEST

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["FACTS", "FACTS_VERSION", "MISSING_INT", "Fact", "are_facts", "facts_of"]

FACTS_VERSION: Final = "1"
"""Changes whenever a value may come out otherwise than before."""

_LONGEST_NOTE: Final = 500


class Fact(NamedTuple):
    """A column, and in a sentence what stands in it."""

    name: str
    kind: Literal["float64", "int64", "text"]
    unit: str
    formula: str


_GREY: Final = (
    "the grey copy: luma of ITU-R BT.601 (0.299 R + 0.587 G + 0.114 B), its longer edge averaged down to "
    f"{LONGEST_EDGE} pixels"
)
FACTS: Final = (
    Fact("format", "text", "", "What the file is by its content: `JPEG`, `HEIC`, `DNG`"),
    Fact("bytes", "int64", "bytes", "Size of the file"),
    Fact("frames", "int64", "", "How many pictures the file holds, as an animation or a document of pages does"),
    Fact("decoded_as", "text", "", "Of camera raw, which picture was taken: its `preview`, or what was `developed`"),
    Fact(
        "taken_at", "int64", "ms since 1970, camera's clock",
        "EXIF DateTimeOriginal and SubSecTimeOriginal as the camera's clock said them, taken for UTC; else those of "
        "DateTimeDigitized; else DateTime",
    ),
    Fact(
        "taken_offset", "int64", "minutes",
        "How far that clock is ahead of UTC: the OffsetTime of that time; else by GPSDateStamp and GPSTimeStamp, where "
        "the difference is within 5 minutes of an offset that is in use on earth",
    ),
    Fact("camera", "text", "", "EXIF Make and Model, the make once: `Canon EOS R5`, `Apple iPhone 15`"),
    Fact("lens", "text", "", "EXIF LensModel; else LensSpecification in words: `24-70mm f/2.8`"),
    Fact("latitude", "float64", "degrees", "EXIF GPSLatitude, south negative; 0, 0 is no place"),
    Fact("longitude", "float64", "degrees", "EXIF GPSLongitude, west negative"),
    Fact("altitude", "float64", "m", "EXIF GPSAltitude, negative below the sea"),
    Fact(
        "sharpness", "float64", "grey levels squared",
        f"Variance of the Laplacian (0 1 0, 1 -4 1, 0 1 0; Pech-Pacheco et al. 2000) inside {_GREY}",
    ),
    Fact("brightness", "float64", "grey levels, 0 to 255", "Mean of the grey copy"),
    Fact("contrast", "float64", "grey levels", "Standard deviation of the grey copy"),
    Fact("entropy", "float64", "bits", "Shannon entropy of the grey copy's histogram of 256 levels, 0 to 8"),
)  # fmt: skip
"""All of them, in the order of columns. What is missing is NaN, MISSING_INT or ''."""


def facts_of(
    data: bytes, kind: str, picture: Image.Image, frames: int, made: str = ""
) -> tuple[dict[str, float | int | str], str]:
    """Each of FACTS, and what of the file's metadata could not be read ('': nothing is wrong with it).

    `picture` is what was decoded of `data`, RGB, perhaps scaled down, of one of `frames` pictures in a file of `kind`;
    `made` is what `Decoded.made` says. Texts are UTF-8 of at most 256 characters. Safe on hostile bytes: metadata that
    is broken costs itself."""
    exif = exif_of(kind, data)
    facts: dict[str, float | int | str] = {
        "format": kind, "bytes": len(data), "frames": frames, "decoded_as": made,
        **taken(exif), "camera": camera(exif), "lens": lens(exif), **place(exif), **measures(picture),
    }  # fmt: skip
    return facts, "; ".join(dict.fromkeys(exif.broken))[:_LONGEST_NOTE]


def are_facts(found: object) -> bool:
    """Whether an answer of a process that hostile bytes may have taken over is each of FACTS, of its kind."""
    kinds = {"float64": float, "int64": int, "text": str}
    if not isinstance(found, dict) or list(found) != [fact.name for fact in FACTS]:
        return False
    return all(type(found[fact.name]) is kinds[fact.kind] and _fits(found[fact.name]) for fact in FACTS)


def _fits(value: float | str) -> bool:
    """Whether it can be stored: no infinity, no integer of more than 64 bits, no text that is too long or no UTF-8."""
    if isinstance(value, str):
        return len(value) <= LONGEST and "\0" not in value and value == value.encode("utf-8", "replace").decode()
    return not isinf(value) if isinstance(value, float) else MISSING_INT <= value < 2**63
