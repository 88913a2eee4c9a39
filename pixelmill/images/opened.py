"""A picture on its way out of its file: what is asked of it, what its header says, what was decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True)
class Need:
    """The shortest edge, in pixels, that any model resizes to; and how many a picture keeps that is scaled down while
    it is decoded. None: not known, and never scaled."""

    edge: int | None = None
    kept: int | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A picture in any mode that `colour.to_rgb` knows, its size in full, by which factor it was scaled down, and
    whose EXIF orientation it has, or which, if it is not upright already. `made` says how, where there are two ways."""

    image: Image.Image
    size: tuple[int, int]
    factor: int = 1
    exif: Image.Image | None = None
    orientation: int = 1
    made: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """A file whose header was read. `bands` are the bytes that a decoded pixel holds, at least; `load` decodes."""

    size: tuple[int, int]
    bands: int
    load: Callable[[Need], Loaded]
