"""How decoded pixels lie in a file, and how they are turned upright."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL import Image

_ORIENTATION: Final = 0x0112


@dataclass(frozen=True, slots=True)
class Frame:
    """How decoded pixels lie: as the file stores them, `across` x `down` of them, scaled down by `factor`, to be turned
    by EXIF `orientation` (1 to 8; CIPA DC-008, tag 274).

    Scaling rounds edges up, so the last column or row may be a part of a pixel. Taking it for a whole one shifts the
    picture, and costs more of the cosine than the scaling does.
    """

    across: int
    down: int
    factor: int = 1
    orientation: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the file's picture, upright."""
        return (self.down, self.across) if self.on_its_side else (self.across, self.down)

    @property
    def on_its_side(self) -> bool:
        """Whether turning it upright makes rows of columns."""
        return self.orientation >= 5

    def is_sound(self) -> bool:
        """Whether there can be such a frame."""
        return min(self.across, self.down, self.factor) >= 1 and 1 <= self.orientation <= 8

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the decoded pixels."""
        return -(-self.down // self.factor), -(-self.across // self.factor), 3


def orientation_of(image: Image.Image, default: int = 1) -> int:
    """EXIF orientation 1 to 8. Broken EXIF must not cost the picture: it counts as none."""
    try:
        value = image.getexif().get(_ORIENTATION)
    except Exception:
        return default
    return value if isinstance(value, int) and 1 <= value <= 8 else default


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """A picture that is stored with an EXIF orientation, upright."""
    from PIL.Image import Transpose

    turns = (
        Transpose.FLIP_LEFT_RIGHT,
        Transpose.ROTATE_180,
        Transpose.FLIP_TOP_BOTTOM,
        Transpose.TRANSPOSE,
        Transpose.ROTATE_270,
        Transpose.TRANSVERSE,
        Transpose.ROTATE_90,
    )
    return image if orientation == 1 else image.transpose(turns[orientation - 2])
