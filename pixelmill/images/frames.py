"""Animations and documents of pages: how many pictures they hold, and which is in the middle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from pixelmill.images import heif, ico, jxl, tiff
from pixelmill.images.opening import plugin


def count(kind: str, data: bytes) -> int:
    """How many pictures a file of a supported kind holds; 1 where that cannot be told."""
    counter = _COUNTERS.get(kind)
    try:
        return max(1, counter(data)) if counter else 1
    except MemoryError:
        raise
    except Exception:  # the picture that is shown may be sound all the same, and what is not says so itself
        return 1


def middle(kind: str, data: bytes) -> int:
    """The number of the picture in the middle, of two the second. Sizes of an icon and a main picture are no frames."""
    return 0 if kind == "ICO" else count(kind, data) // 2


def _by_pillow(kind: str) -> Callable[[bytes], int]:
    return lambda data: int(getattr(plugin(kind, data), "n_frames", 1))


_COUNTERS: Final[Mapping[str, Callable[[bytes], int]]] = {
    **{kind: _by_pillow(kind) for kind in ("GIF", "WEBP", "PNG", "AVIF")},
    "TIFF": lambda data: len(tiff.pages(data)),
    "HEIC": lambda data: len(heif.opened(data)),
    "JPEG XL": lambda data: jxl.frames(jxl.header(data), data),
    "ICO": lambda data: ico.largest(data).count,
}
