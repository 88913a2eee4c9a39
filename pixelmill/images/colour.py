"""Any mode of image as 8-bit RGB: transparency over white, deep grey scaled and not clipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image


def to_rgb(image: Image.Image, *, background: Literal["white", "none"]) -> Image.Image:
    """An RGB image of the same size. 8-bit images without transparency come out as `image.convert("RGB")`.

    Colour profiles are not applied, as in the upstream transforms.
    """
    if image.mode.startswith("I") or image.mode == "F":
        image = _grey(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if background == "white" and image.has_transparency_data:
        return _over_white(image)
    image.info.pop("transparency", None)
    return image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    from PIL import Image

    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    alpha = rgba.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return rgba.convert("RGB")
    white = Image.new("RGB", rgba.size, (255, 255, 255))
    white.paste(rgba, mask=alpha)
    return white


def _grey(image: Image.Image) -> Image.Image:
    """Deep grey as 8-bit grey, by the full scale of its kind: Pillow's own conversion would clip it to white."""
    import numpy as np
    from PIL import Image

    values = np.nan_to_num(np.array(image, dtype=np.float32), copy=False, posinf=0.0, neginf=0.0)
    low = min(float(values.min()), 0.0)
    scale = 65535.0 if image.mode.startswith("I;16") else _full_scale(values, image.mode) - low
    return Image.fromarray(((values - low) * (255.0 / scale) + 0.5).astype(np.uint8), "L")


def _full_scale(values: NDArray[np.float32], mode: str) -> float:
    """The smallest usual full scale that holds the largest value; the largest value itself if none does."""
    largest = float(values.max())
    usual = (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0)
    return next((scale for scale in usual if largest <= scale), largest)
