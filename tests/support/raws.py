"""Raw files as cameras and phones write them: a DNG of a picture, with previews, and parts of other formats."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import tifffile
from PIL import Image

BLACK, WHITE = 500, 60_500
_XYZ_TO_SRGB = (3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570)
_PATTERN = {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 2}


def sensor(image: Image.Image, neutral: Sequence[float] = (1, 1, 1)) -> np.ndarray[Any, Any]:
    """What a sensor whose colours are sRGB's sees of a picture, red, green, green and blue in turns, uint16; `neutral` is what white is to it."""
    colours = np.asarray(image) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4) * np.array(neutral)
    seen = np.empty(linear.shape[:2], np.uint16)
    for (down, across), band in _PATTERN.items():
        seen[down::2, across::2] = (linear[down::2, across::2, band] * (WHITE - BLACK) + BLACK).round()
    return seen


def dng(
    image: Image.Image, *, preview: Image.Image | None = None, orientation: int = 1, neutral: Sequence[float] = (1, 1, 1),
) -> bytes:  # fmt: skip
    """A DNG 1.4 of a picture as it is stored; its preview, if it has one, comes first."""
    about: list[Any] = [
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),
        (50708, 2, 0, "Test Camera", True),
        (50721, 10, 9, _rationals(_XYZ_TO_SRGB), True),
        (50728, 5, 3, _rationals(neutral), True),
        (50778, 3, 1, 21, True),
        (271, 2, 0, "Test", True),
        (272, 2, 0, "Camera", True),
        (274, 3, 1, orientation, True),
    ]
    seen: list[Any] = [
        (33421, 3, 2, (2, 2), True), (33422, 1, 4, bytes(_PATTERN.values()), True), (50714, 3, 1, BLACK, True),
        (50717, 4, 1, WHITE, True),
    ]  # fmt: skip
    file, plain = io.BytesIO(), {"metadata": None, "software": False}
    with tifffile.TiffWriter(file) as writer:
        if preview is None:
            writer.write(sensor(image, neutral), photometric="cfa", subfiletype=0, extratags=about + seen, **plain)
        else:
            coded = io.BytesIO()
            preview.save(coded, "JPEG", quality=90, subsampling="4:2:0")
            how = {"photometric": "ycbcr", "compression": "jpeg", "subfiletype": 1, "subifds": 1, "subsampling": (2, 2)}
            shape = (preview.height, preview.width, 3)
            strip = {"shape": shape, "dtype": np.uint8, "rowsperstrip": preview.height}
            writer.write(iter([coded.getvalue()]), extratags=about, **strip, **how, **plain)
            writer.write(sensor(image, neutral), photometric="cfa", subfiletype=0, extratags=seen, **plain)
    return file.getvalue()


def _rationals(values: Sequence[float]) -> list[int]:
    return [number for value in values for number in (round(value * 10_000), 10_000)]
