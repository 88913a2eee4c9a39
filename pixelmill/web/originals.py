"""The file of a row, only if it still is that row's content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from pixelmill.errors import ImageRejected, PixelmillError
from pixelmill.search.places import Place, places_of
from pixelmill.sources.files import FileChanged
from pixelmill.sources.formats import kind_of
from pixelmill.sources.found import FoundFile
from pixelmill.sources.reading import read_image
from pixelmill.store.reader import Store

TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "AVIF": "image/avif",
    "JPEG2000": "image/jp2",
    "PPM": "image/x-portable-anymap",
    "HEIC": "image/heic",
    "JPEG XL": "image/jxl",
    "PSD": "image/vnd.adobe.photoshop",
    "ICO": "image/vnd.microsoft.icon",
    "QOI": "image/qoi",
    "DDS": "image/vnd.ms-dds",
    "Radiance HDR": "image/vnd.radiance",
    "TGA": "image/x-tga",
    "camera raw": "image/x-dcraw",
}
"""What is served as what. Nothing else is served: no SVG, no HTML that calls itself .jpg."""


class NoSuchRow(PixelmillError, LookupError):
    """A row that the store does not have."""


class OriginalGone(PixelmillError, LookupError):
    """A row whose file is not there any more, cannot be read, or holds something else by now."""


class NoPicture(PixelmillError, ValueError):
    """A row whose file is no image that browsers should get."""


@dataclass(frozen=True, slots=True)
class Located:
    """A row, the sha256 of its content, and the files that hold it, the one to name first."""

    row: int
    sha256: bytes
    places: tuple[Place, ...]

    @property
    def name(self) -> str:
        """The name of the file shown."""
        return _name(self.places[0])


@dataclass(frozen=True, slots=True)
class Original:
    """The bytes of a row's content, and the file that they are from."""

    data: bytes
    file: FoundFile


def locate(store: Store, rows: Sequence[int], globs: Sequence[str] = ()) -> dict[int, Located]:
    """Where the contents of rows are, by the files that fit `globs` if any does. Raises NoSuchRow."""
    contents = {row: sha256_of(store, row) for row in rows}
    places = places_of(store, rows, globs)
    return {row: Located(row, sha256, places[row]) for row, sha256 in contents.items()}


def sha256_of(store: Store, row: int) -> bytes:
    """The sha256 of a row's content. Raises NoSuchRow."""
    if not 0 <= row < len(store):
        raise NoSuchRow(f"Expected a row from 0 to {len(store) - 1}. Got {row}.")
    content: bytes = store.sha256(row, row + 1)[0].tobytes()
    return content


def read_original(content: Located, *, max_bytes: int) -> Original:
    """The content of a row, from the first of its files that holds it to the last byte. Raises OriginalGone, with what
    is the matter with the one that is named."""
    trouble: OriginalGone | ImageRejected | None = None
    for place in content.places:
        try:
            return Original(_read(place, content, max_bytes), place.file)
        except (OriginalGone, ImageRejected) as error:
            trouble = trouble or error
    raise trouble or OriginalGone(f"The file of row {content.row} is gone since the last run.")


def _read(place: Place, content: Located, max_bytes: int) -> bytes:
    if not place.path:
        raise OriginalGone(f"The file of row {content.row} is gone since the last run.")
    name = _name(place)
    try:
        data = read_image(place.file, max_bytes=max_bytes)
    except FileChanged as error:
        raise OriginalGone(f"{name} is being written to just now.") from error
    except OSError as error:
        raise OriginalGone(f"{name} cannot be read ({error.strerror or error}). Is its disk mounted?") from error
    if hashlib.sha256(data).digest() != content.sha256:
        raise OriginalGone(f"{name} has changed since it was embedded. The next run gives it a new row.")
    return data


def _name(place: Place) -> str:
    return os.path.basename(place.path)  # noqa: PTH119 - as the file system spells it


def media_type(content: Located, data: bytes) -> str:
    """What `data` is by its content, as browsers call it. Raises NoPicture for anything but a picture."""
    found = TYPES.get(kind_of(data) or "")
    if found is None:
        raise NoPicture(f"{content.name} is no picture that a browser should get.")
    return found
