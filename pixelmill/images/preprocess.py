"""From a decoded RGB image to the pixels that a model wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL import Image

    from pixelmill.images.decode import Decoded

Interpolation = Literal["bicubic", "bilinear"]
ResizeMode = Literal["shortest", "squash"]
Box = tuple[float, float, float, float]
Geometry = tuple[int, int, Interpolation, ResizeMode]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What a backbone expects of its input: resize, centre crop to a square, scale to [0, 1], normalise.

    `resize` is the length in pixels of the shorter edge after resizing (`shortest`), or of both edges (`squash`).
    `image_size` is the side in pixels of the square centre crop. `mean` and `std` are per RGB channel, for pixels
    in [0, 1].
    """

    image_size: int
    resize: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation = "bicubic"
    resize_mode: ResizeMode = "shortest"

    @property
    def geometry(self) -> Geometry:
        """What decides `pixels`: models of one geometry share one resized picture."""
        return self.resize, self.image_size, self.interpolation, self.resize_mode


def pixels(picture: Image.Image | Decoded, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """The resized and centre-cropped picture, uint8 (image_size, image_size, 3), of an RGB image of any size.

    Equals torchvision's `Resize` and `CenterCrop` on a PIL image to within one grey level: the sizes and offsets
    are torchvision's (transforms/functional.py), but only the pixels inside the crop are computed. Of a `Decoded`
    that was scaled while decoding, the sizes are those of the whole picture.
    """
    import numpy as np
    from PIL import Image

    image = picture if isinstance(picture, Image.Image) else picture.image
    box: Box = (0, 0, *image.size) if isinstance(picture, Image.Image) else picture.box
    resample = Image.Resampling[preprocessing.interpolation.upper()]
    size, crop = _resized((picture.width, picture.height), preprocessing), preprocessing.image_size
    left, top = (_offset(edge, crop) for edge in size)
    if left < 0 or top < 0 or _rows_first(image.size, size) != _rows_first(image.size, (crop, crop)):
        return np.asarray(image.resize(size, resample, box=box).crop((left, top, left + crop, top + crop)))
    inside = _inside(box, size, (left, top, left + crop, top + crop))
    return np.asarray(image.resize((crop, crop), resample, box=inside))


def resized(picture: Decoded, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """The picture as upstream's own transform resizes it, before its crop, uint8 (height, width, 3).

    To what has its target size already, upstream's transform (torchvision's `Resize`) does nothing: given this picture,
    it makes the same tensor as of the whole one, to the bit.
    """
    import numpy as np
    from PIL import Image

    image = picture.image
    return np.asarray(
        image.resize(_resized(image.size, preprocessing), Image.Resampling[preprocessing.interpolation.upper()])
    )


def scaled(picture: Decoded, longest: int) -> NDArray[np.uint8]:
    """The whole picture with a longer edge of at most `longest` pixels, uint8 (height, width, 3). Never enlarged."""
    import numpy as np
    from PIL import Image

    factor = min(1.0, longest / max(picture.width, picture.height))
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    return np.asarray(picture.image.resize(size, Image.Resampling.LANCZOS, box=picture.box))


def normalize(batch: torch.Tensor, preprocessing: Preprocessing, dtype: torch.dtype) -> torch.Tensor:
    """Pixels of a batch, uint8 (B, H, W, 3), as `dtype` (B, 3, H, W) on the same device: (x / 255 - mean) / std.

    Computed in float32 whatever `dtype` is. The result keeps the memory order of `batch`: it is channels-last.
    """
    import torch

    std = torch.tensor(preprocessing.std, dtype=torch.float32, device=batch.device)
    mean = torch.tensor(preprocessing.mean, dtype=torch.float32, device=batch.device)
    scaled = batch.to(torch.float32).mul_(1 / (255 * std)).sub_(mean / std)
    return scaled.to(dtype).permute(0, 3, 1, 2)


def _resized(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """Width and height after resizing; the longer edge is rounded down, as torchvision does."""
    width, height = size
    short = preprocessing.resize
    if preprocessing.resize_mode == "squash":
        return short, short
    return (short, int(short * height / width)) if width <= height else (int(short * width / height), short)


def _inside(box: Box, size: tuple[int, int], crop: tuple[int, int, int, int]) -> Box:
    """The part of `box` that becomes `crop` when `box` is resized to `size`."""
    left, top, right, bottom = box
    across, down = (right - left) / size[0], (bottom - top) / size[1]
    return (
        left + crop[0] * across,
        top + crop[1] * down,
        min(left + crop[2] * across, right),
        min(top + crop[3] * down, bottom),
    )


def _rows_first(size: tuple[int, int], target: tuple[int, int]) -> bool:
    """Whether Pillow 13 resizes rows before columns (Resample.c); the order shows, as it rounds in between."""
    down, across = size[1] - target[1], size[0] - target[0]
    return down > 0 and down > 2 * across


def _offset(edge: int, crop: int) -> int:
    """Where the crop starts on a resized edge; negative if the edge is too short and black is added around it."""
    return -((crop - edge) // 2) if edge < crop else round((edge - crop) / 2)
