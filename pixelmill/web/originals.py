"""The file of a row, only if it still is that row's content."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from pixelmill.errors import PixelmillError
from pixelmill.images.decode import FileChanged
from pixelmill.images.formats import HEAD, sniff
from pixelmill.images.found import FoundFile
from pixelmill.remote.reading import read_image
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
    """A row, the sha256 of its content, and where that is: `path` is relative to `source`, b'' when it is gone."""

    row: int
    sha256: bytes
    source: bytes
    path: bytes

    @property
    def file(self) -> FoundFile:
        """The file, of which only the place is known."""
        return FoundFile(os.fsdecode(self.source), os.fsdecode(self.path), 0, 0, 0)

    @property
    def name(self) -> str:
        """The file's name."""
        return os.path.basename(os.fsdecode(self.path))  # noqa: PTH119 - as the file system spells it


def locate(store: Store, row: int) -> Located:
    """Where the content of a row is. Raises NoSuchRow."""
    if not 0 <= row < len(store):
        raise NoSuchRow(f"Expected a row from 0 to {len(store) - 1}. Got {row}.")
    source, path = (bytes(store.texts(f"images/{column}", row, row + 1)[0]) for column in ("source", "path"))
    return Located(row, store.sha256(row, row + 1)[0].tobytes(), source, path)


def read_original(place: Located, *, max_bytes: int) -> bytes:
    """The bytes of a row's file. Raises OriginalGone unless they are, to the last one, the row's content."""
    if not place.path:
        raise OriginalGone(f"The file of row {place.row} is gone since the last run.")
    try:
        data = read_image(place.file, max_bytes=max_bytes)
    except FileChanged as error:
        raise OriginalGone(f"{place.name} is being written to just now.") from error
    except OSError as error:
        raise OriginalGone(f"{place.name} cannot be read ({error.strerror or error}). Is its disk mounted?") from error
    if hashlib.sha256(data).digest() != place.sha256:
        raise OriginalGone(f"{place.name} has changed since it was embedded. The next run gives it a new row.")
    return data


def media_type(place: Located, data: bytes) -> str:
    """What `data` is by its content, as browsers call it. Raises NoPicture for anything but a picture."""
    found = TYPES.get(sniff(data[:HEAD]) or "")
    if found is None:
        raise NoPicture(f"{place.name} is no picture that a browser should get.")
    return found
