"""From a decoded RGB image to the pixels that a model wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pixelmill.images.frame import turned

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL import Image

    from pixelmill.images.decode import Decoded
    from pixelmill.images.frame import Frame

Interpolation = Literal["bicubic", "bilinear"]
ResizeMode = Literal["shortest", "squash"]
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


def pixels(stored: NDArray[np.uint8], frame: Frame, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """The resized, upright and centre-cropped picture, uint8 (image_size, image_size, 3), of decoded pixels, uint8
    (height, width, 3) of any size.

    Equals torchvision's `Resize` and `CenterCrop` on a PIL image to within one grey level (two in one of 10,000
    values): the sizes and offsets are torchvision's (transforms/functional.py); the filters are PyTorch's antialiased
    ones for uint8, made after Pillow's, and go first over what Pillow's go first, as both round in between. Of a
    picture that was scaled while decoding, the sizes are those of the whole one. It is turned last, when it is small.
    """
    import numpy as np
    import torch
    from PIL import Image

    size = width, height = _resized(frame.size, preprocessing)
    across, down = (height, width) if frame.on_its_side else size
    # `interpolate` takes a size or scales. These scales say of which part the last row and column are pixels.
    resize = getattr(torch.ops.aten, f"_upsample_{preprocessing.interpolation}2d_aa")
    scales = down * frame.factor / frame.down, across * frame.factor / frame.across
    made = torch.from_numpy(stored).permute(2, 0, 1)[None]
    if _rows_first(frame.size, size) != frame.on_its_side:
        made = resize(made, [down, made.shape[3]], False, scales[0], None)
    made = resize(made, [down, across], False, *scales)[0].permute(1, 2, 0)
    image = turned(Image.fromarray(made.numpy()), frame.orientation)
    side = preprocessing.image_size
    left, top = _offset(width, side), _offset(height, side)
    return np.asarray(image.crop((left, top, left + side, top + side)))


def resized(picture: Decoded, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """The upright picture as upstream's own transform resizes it, before its crop, uint8 (height, width, 3).

    To what has its target size already, upstream's transform (torchvision's `Resize`) does nothing: given this picture,
    it makes the same tensor as of the whole one, to the bit, unless that was scaled while decoding.
    """
    import numpy as np
    from PIL import Image

    size, resample = _resized(picture.frame.size, preprocessing), preprocessing.interpolation.upper()
    if picture.frame.factor > 1:
        return _shrunk(picture, size, Image.Resampling[resample])
    return np.asarray(picture.upright.resize(size, Image.Resampling[resample]))


def scaled(picture: Decoded, longest: int) -> NDArray[np.uint8]:
    """The whole picture with a longer edge of at most `longest` pixels, uint8 (height, width, 3). Never enlarged."""
    from PIL import Image

    width, height = picture.frame.size
    scale = min(1.0 / picture.frame.factor, longest / max(width, height))
    return _shrunk(picture, (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.LANCZOS)


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


def _shrunk(picture: Decoded, size: tuple[int, int], resample: Image.Resampling) -> NDArray[np.uint8]:
    import numpy as np

    frame = picture.frame
    box = 0, 0, frame.across / frame.factor, frame.down / frame.factor
    small = picture.image.resize(size[::-1] if frame.on_its_side else size, resample, box=box)
    return np.asarray(turned(small, frame.orientation))


def _rows_first(size: tuple[int, int], target: tuple[int, int]) -> bool:
    """Whether Pillow 13 resizes rows before columns (Resample.c)."""
    down, across = size[1] - target[1], size[0] - target[0]
    return down > 0 and down > 2 * across


def _offset(edge: int, crop: int) -> int:
    """Where the crop starts on a resized edge; negative if the edge is too short and black is added around it."""
    return -((crop - edge) // 2) if edge < crop else round((edge - crop) / 2)
