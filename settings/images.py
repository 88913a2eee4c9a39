"""`[images]`: what counts as an image, and how it becomes pixels."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pixelmill.images.decode import DecodeOptions
from settings.group import Group

_DEFAULTS = DecodeOptions()


class ImageSettings(Group):
    """`exif_orientation` and `background` are part of a matrix's fingerprint; the limits are not."""

    exif_orientation: bool = _DEFAULTS.exif_orientation
    background: Literal["white", "none"] = _DEFAULTS.background
    max_pixels: int = Field(_DEFAULTS.max_pixels, ge=1)
    max_aspect: float = Field(_DEFAULTS.max_aspect, ge=1)
    max_bytes: int = Field(_DEFAULTS.max_bytes, ge=1)
    max_seconds: float = Field(_DEFAULTS.max_seconds, gt=0)
