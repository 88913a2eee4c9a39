"""Radiance HDR (Ward 1991): light of any brightness, made a picture by the curve of Reinhard et al. 2002."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from pixelmill.errors import ImageRejected
from pixelmill.images import profiles

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

_HEADER: Final = re.compile(rb"#\?(?:RADIANCE|RGBE)\b[^\n]*\n(?:[^\n]+\n)*\n([^\n]{1,99})\n")
_SIZE: Final = re.compile(rb"-Y (\d+) \+X (\d+)")
_KEY: Final = 0.18
"""What the mean light becomes: middle grey."""

_LUMA: Final = (0.2126, 0.7152, 0.0722)
_DARKEST: Final = 1e-6


def size(data: bytes) -> tuple[int, int]:
    """Raises ImageRejected for colours and orders of pixels that nothing here knows."""
    head = _HEADER.match(data[: 1 << 16])
    if head is None:
        raise ValueError("truncated: its header does not end" if len(data) < 1 << 16 else "its header does not end")
    if b"32-bit_rle_xyze" in head[0]:
        raise ImageRejected("decode", "Not supported: a Radiance HDR of XYZ. Convert it to PNG.")
    found = _SIZE.fullmatch(head[1].strip())
    if found is None:
        raise ImageRejected("decode", f"Not supported: a Radiance HDR in the order {head[1]!r}. Convert it to PNG.")
    return int(found[2]), int(found[1])


def loaded(data: bytes) -> Image.Image:
    """Raises what imagecodecs does where it is cut off."""
    import imagecodecs
    from PIL import Image

    light: NDArray[Any] = imagecodecs.rgbe_decode(data)
    key, white = _exposure(light)

    def curve(some: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        luma = (some @ np.array(_LUMA, np.float32))[..., None] * key
        made: NDArray[Any] = some * key * (1 + luma / white**2) / (1 + luma)
        return made

    return Image.fromarray(profiles.of_light(light, profiles.chromaticities_of(1), curve))


def _exposure(light: NDArray[Any]) -> tuple[float, float]:
    """What light is multiplied by, so that its mean (of logarithms) is middle grey, and what is white then: the
    brightest but for one pixel in a thousand (equations 1, 2 and 4)."""
    import numpy as np

    luma = np.maximum(light @ np.array(_LUMA, np.float32), 0).ravel()
    mean = float(np.exp(np.mean(np.log(luma + _DARKEST))))
    key = _KEY / mean
    place = len(luma) - 1 - len(luma) // 1000
    return key, max(1.0, float(np.partition(luma, place)[place]) * key)
