"""Icons: the largest picture of a file, which is a PNG, or a bitmap with a mask that Pillow reads."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL import Image

_PNG: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Icon:
    """The largest of `count` pictures: its file if it is a PNG, else its size by the bitmap's own header."""

    count: int
    entry: bytes
    body: bytes

    @property
    def is_png(self) -> bool:
        return self.body.startswith(_PNG)

    @property
    def size(self) -> tuple[int, int]:
        """Of a bitmap, whose height is that of picture and mask together."""
        width, height = struct.unpack_from("<ii", self.body, 4)
        return width, abs(height) // 2


def largest(data: bytes) -> Icon:
    """By pixels, then by colours. Raises OSError for one that lies behind the end of the file."""
    count = int.from_bytes(data[4:6], "little")
    entries = [data[at : at + 16] for at in range(6, 6 + 16 * count, 16)]
    if not entries or len(entries[-1]) < 16:
        raise OSError("truncated: its list of pictures ends too early")
    entry = max(entries, key=lambda one: ((one[0] or 256) * (one[1] or 256), one[6:8][::-1]))
    size, start = struct.unpack("<II", entry[8:])
    if start + size > len(data) or size < 40:
        raise OSError("truncated: its picture lies behind the end of the file")
    return Icon(count, entry, data[start : start + size])


def bitmap(found: Icon) -> Image.Image:
    """By Pillow, as a file of one picture."""
    from PIL.IcoImagePlugin import IcoFile

    entry = found.entry[:12] + (22).to_bytes(4, "little")
    return IcoFile(io.BytesIO(b"\0\0\1\0\1\0" + entry + found.body)).frame(0)
