"""QOI (qoiformat.org), whose reader fills up what is missing: a whole file ends in a mark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL import Image

_END: Final = bytes(7) + b"\1"


def size(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:12], "big")


def loaded(data: bytes) -> Image.Image:
    """Raises OSError for a file that is cut off."""
    import imagecodecs
    from PIL import Image

    if not data.endswith(_END):
        raise OSError("truncated: its end is missing")
    return Image.fromarray(imagecodecs.qoi_decode(data))
