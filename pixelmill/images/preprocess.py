"""From a decoded RGB image to the pixels that a model wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Interpolation = Literal["bicubic", "bilinear"]
ResizeMode = Literal["shortest", "squash"]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What a backbone expects of its input: resize, centre crop to a square, scale to [0, 1], normalise.

    `resize` is the length in pixels of the shorter edge after resizing (`shortest`), or of both edges (`squash`).
    `image_size` is the side in pixels of the square centre crop. `mean` and `std` are per RGB channel, for pixels in [0, 1].
    """

    image_size: int
    resize: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation = "bicubic"
    resize_mode: ResizeMode = "shortest"
