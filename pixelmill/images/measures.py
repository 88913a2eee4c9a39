"""What is measured in a picture's pixels: how sharp, how bright, of how much contrast, how full of different greys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

LONGEST_EDGE: Final = 384
"""All is measured in a copy of so many pixels, so that it does not hang on how large the picture was decoded."""


def measures(picture: Image.Image) -> dict[str, float]:
    """`sharpness`, `brightness`, `contrast` and `entropy` of an RGB picture; facts.FACTS says what they are."""
    import numpy as np

    grey = small_grey(picture)
    share = np.array(grey.histogram(), np.float64) / (grey.width * grey.height)
    levels = np.arange(share.size)
    mean = float(share @ levels)
    there = share[share > 0]
    return {
        "sharpness": _sharpness(np.asarray(grey, np.int16)),
        "brightness": mean,
        "contrast": float(share @ (levels - mean) ** 2) ** 0.5,
        "entropy": abs(float(there @ np.log2(there))),
    }


def small_grey(picture: Image.Image) -> Image.Image:
    """Its luma (ITU-R BT.601), its longer edge scaled down to LONGEST_EDGE by averages over blocks if it has more.

    Of Pillow's filters this one is the quickest, and sharpness hangs the least on how large the picture was decoded.
    """
    from PIL.Image import Resampling

    longest = max(picture.size)
    if longest <= LONGEST_EDGE:
        return picture.convert("L")
    width, height = (max(1, round(edge * LONGEST_EDGE / longest)) for edge in picture.size)
    by = longest // LONGEST_EDGE
    reduced = picture.reduce((min(by, picture.width), min(by, picture.height)))
    return reduced.convert("L").resize((width, height), Resampling.BOX)


def _sharpness(grey: NDArray[np.int16]) -> float:
    """The variance of the Laplacian where all four neighbours are there; NaN where none has them."""
    import numpy as np

    if min(grey.shape) < 3:
        return float("nan")
    laplacian = grey[1:-1, :-2] + grey[1:-1, 2:] + grey[:-2, 1:-1] + grey[2:, 1:-1] - 4 * grey[1:-1, 1:-1]
    return float(laplacian.astype(np.float32).var(dtype=np.float64))
