"""How the pictures of a report are drawn: paper, colours, letters, and text that is cut to fit."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, Final

from pixelmill.formatting import printable

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

WIDTH: Final = 692
"""Of a whole picture, in pixels: about what both of Prefect's UIs have room for, so that letters stay legible."""
GAP: Final = 4
LINE, SMALL = 15, 12
PAPER, INK, QUIET, EMPTY, BAD, GOOD, FADED = "#ffffff", "#222222", "#666666", "#e9e9ec", "#b3261e", "#2f6fb0", "#b9cfe6"
_ELLIPSIS = "…"


def paper(height: int, width: int = WIDTH) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty picture, and what draws on it."""
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (width, height), PAPER)
    return canvas, ImageDraw.Draw(canvas)


def as_webp(canvas: Image.Image, quality: int | None = None) -> bytes:
    """A picture as WebP of a quality, or without loss."""
    buffer = io.BytesIO()
    canvas.save(buffer, "WEBP", lossless=quality is None, quality=80 if quality is None else quality, method=4)
    return buffer.getvalue()


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Letters of a size in pixels, which Pillow brings. It has those of European languages only."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def cut(text: str, room: int, size: int = SMALL) -> str:
    """As much of a text as has room, its end left out."""
    if font(size).getlength(text) <= room:
        return text
    while text and font(size).getlength(text + _ELLIPSIS) > room:
        text = text[:-1]
    return text + _ELLIPSIS


def lines(text: str, room: int, most: int) -> list[str]:
    """Words in lines that have room, at most so many of them."""
    made: list[str] = []
    for word in printable(text)[:500].split():
        longer = f"{made[-1]} {word}" if made else word
        if made and font(SMALL).getlength(longer) <= room:
            made[-1] = longer
        elif len(made) == most:
            made[-1] = cut(longer, room)
            break
        else:
            made.append(cut(word, room))
    return made
