"""Pictures as they are given from Python: files, addresses, bytes, Pillow's, arrays; each becomes bytes of a file."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import ImageRejected, SourceError, reason_of
from pixelmill.formatting import printable
from pixelmill.images.colour import to_rgb
from pixelmill.images.decode import DecodeOptions, check_shape
from pixelmill.images.frame import orientation_of, turned
from pixelmill.paths import at_home
from pixelmill.sources.address import checked_address, is_address
from pixelmill.sources.found import FoundFile, found_at
from pixelmill.sources.reading import read_image

if TYPE_CHECKING:
    from PIL import Image

Picture: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8]"
"""A path or an address, the bytes of an image file, a picture of Pillow's, or an array, uint8 (height, width, 3)."""
Pictures: TypeAlias = "Picture | Iterable[Picture]"

_COLOUR = 3
HERE = "images:"
"""The source of pictures that are in memory."""
_loading = threading.Lock()
"""A picture of Pillow's that is not loaded yet may be given twice, and must not be loaded by two threads at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """A picture that was given: its place among the others, and what names it in messages."""

    number: int
    picture: Any

    @property
    def name(self) -> str:
        """`images[3] (photos/a.jpg)`."""
        at = printable(os.fsdecode(self.picture)) if _is_path(self.picture) else _kind(self.picture)
        return f"images[{self.number}] ({at})"

    @property
    def file(self) -> FoundFile:
        """Where it lies. Raises SourceError for a place that no picture has, TypeError for what is no picture."""
        if not _is_path(self.picture):
            _check(self.picture, self.name)
            return FoundFile(HERE, str(self.number), 0, 0, 0)
        text = os.fsdecode(self.picture)
        try:
            place = checked_address(text) if is_address(text) else os.path.abspath(at_home(text))  # noqa: PTH100
        except ValueError as error:
            raise SourceError(f"{self.name}: {error}") from error
        if not is_address(place) and os.path.isdir(place):  # noqa: PTH112 - as the file system spells it
            raise SourceError(f"Expected a picture. {self.name} is a folder: name its files, or use pixelmill.run.")
        return found_at(place)

    def read(self, options: DecodeOptions) -> bytes:
        """The bytes of its file, or of one that holds its pixels and nothing else. Raises like `read_image`."""
        if _is_path(self.picture):
            return read_image(self.file, max_bytes=options.max_bytes)
        return self.picture if isinstance(self.picture, bytes) else _as_file(self.picture, options)


def given(pictures: Pictures) -> tuple[Given, ...]:
    """One picture or several, each with its number."""
    several: Iterable[Any] = pictures if _is_several(pictures) else [pictures]  # type: ignore[assignment]
    return tuple(Given(number, picture) for number, picture in enumerate(several))


def _is_several(pictures: object) -> bool:
    """Of arrays: a stack of pictures, or a list of paths or pictures. What is open for reading is one, of no kind."""
    if isinstance(pictures, np.ndarray):
        return pictures.ndim == 4 or (pictures.ndim == 1 and pictures.dtype.kind in "OU")
    return isinstance(pictures, Iterable) and not isinstance(pictures, str | bytes | bytearray | io.IOBase)


def bytes_of(picture: Picture, number: int = 0) -> tuple[bytes, str]:
    """The bytes of a picture's file, and its name for messages. Raises SourceError or ImageRejected, which name it."""
    one = Given(number, picture)
    _ = one.file  # or what it is instead
    try:
        return one.read(DecodeOptions()), one.name
    except ImageRejected as error:
        raise ImageRejected(error.stage, f"{one.name}: {error.reason}") from error
    except SourceError:
        raise
    except OSError as error:
        raise unreadable(one, reason_of(error)) from error


def unreadable(one: Given, reason: str) -> SourceError:
    """The error for a picture that cannot be read."""
    return SourceError(f"Expected a picture. {one.name} cannot be read: {reason}.")


def _is_path(picture: object) -> bool:
    return isinstance(picture, str | os.PathLike)


def _kind(picture: object) -> str:
    if isinstance(picture, np.ndarray):
        return f"{picture.dtype} {picture.shape}"
    return f"{len(picture):,} bytes" if isinstance(picture, bytes) else type(picture).__name__


def _check(picture: object, name: str) -> None:
    """Raises TypeError for what is no picture."""
    from PIL import Image

    if isinstance(picture, np.ndarray):
        if picture.dtype == np.uint8 and (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (1, 3, 4))):
            return
    elif isinstance(picture, bytes | Image.Image):
        return
    raise TypeError(
        "Expected a path, an address, the bytes of an image file, a picture of Pillow's, or an array uint8 (height, "
        f"width) or (height, width, 1, 3 or 4), from 0 to 255. Got {name}."
    )


def _as_file(picture: Any, options: DecodeOptions) -> bytes:
    """A picture that is decoded already as a file of its pixels (PPM), upright, in RGB, as a run would make it. So it
    goes the way of all others."""
    from PIL import Image

    try:
        image = picture if isinstance(picture, Image.Image) else _image_of(picture)
        check_shape(*image.size, _COLOUR, _COLOUR * image.width * image.height, options)  # before there are copies
        with _loading:
            image.load()  # Pillow turns some formats now, after which there is no orientation
        if options.exif_orientation:
            image = turned(image, orientation_of(image))
        rgb = to_rgb(image.copy(), background=options.background)
        return b"P6 %d %d 255\n" % rgb.size + rgb.tobytes()
    except (OSError, SyntaxError, ValueError) as error:  # Pillow decodes late, and may find damage then
        raise ImageRejected("decode", f"The picture cannot be read ({error}).") from error


def _image_of(array: NDArray[np.uint8]) -> Image.Image:
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array))
