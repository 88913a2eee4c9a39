"""Contact sheets of a run, drawn small: new images, refused ones, nearest neighbours, and the last nights as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.formatting import printable
from pixelmill.report import draw as pen
from pixelmill.report.draw import BAD, EMPTY, GAP, GOOD, INK, LINE, PAPER, QUIET, SMALL

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

Picture = NDArray[np.uint8]
"""(height, width, 3)"""

MOST_BYTES: Final = 40_000
"""Of the images of a sheet together. Every run leaves them in Prefect's database, as text a third longer."""
EDGE: Final = 112
"""Pixels of a thumbnail's edge: six of them stand side by side."""
_ACROSS = 6
_REFUSED = 2 * EDGE + GAP, 64
"""Width and height of a box for a refused image: three stand side by side."""

_LEVELS: Final = (
    *((1.0, quality) for quality in (75, 60, 45, 32, 22, 14)), (0.7, 14), (0.45, 14), (0.25, 14), (0.1, 14), (0.1, 5),
)  # fmt: skip
"""Which share of the pictures, at which quality of WebP: each needs fewer bytes than the one before."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An image to show: its path, what it looks like, if that is to be had, and words: the reason why it was refused or
    does not show, or how near it is; `link` is where the gallery shows it (see `links`)."""

    path: str
    picture: Picture | None = None
    words: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """A new image and the stored ones nearest to it, the nearest first, with the cosine in words."""

    of: Shown
    nearest: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class Pictures:
    """What there is to show of a run; `model` is that which says what is near, `among` which rows, if not all."""

    new: tuple[Shown, ...] = ()
    refused: tuple[Shown, ...] = ()
    neighbours: tuple[Neighbours, ...] = ()
    model: str = ""
    among: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """One image of a sheet as WebP, what it shows in words, and the images on it in their order, by line; `numbered` as
    on it."""

    title: str
    alt: str
    webp: bytes
    shown: tuple[tuple[Shown, ...], ...] = ()
    note: str = ""
    numbered: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """The figures of a run, of at most `MOST_BYTES` together; `trend` are the last runs."""

    figures: tuple[Figure, ...] = ()
    trend: Figure | None = None


def drawn(pictures: Pictures, most_bytes: int = MOST_BYTES) -> Sheet:
    """The sheet of a run: as good as it can be, and with as many pictures, within `most_bytes` of WebP in all."""
    best, first, last = Sheet(), 0, len(_LEVELS)
    while first < last:
        middle = (first + last) // 2
        made = _at(pictures, *_LEVELS[middle])
        if sum(len(figure.webp) for figure in made.figures) <= most_bytes:
            best, last = made, middle
        else:
            first = middle + 1
    return best


def _at(pictures: Pictures, share: float, quality: int) -> Sheet:
    some = _share(pictures, share)
    canvases = filter(None, (_new(some.new), _refused(some.refused), _near(some.neighbours)))
    return Sheet(tuple(_figures(some, [pen.as_webp(canvas, quality) for canvas in canvases])))


def _share(pictures: Pictures, share: float) -> Pictures:
    def some(number: int) -> int:
        return -int(-number * share // 1)

    return Pictures(
        pictures.new[: some(len(pictures.new))], pictures.refused[: some(len(pictures.refused))],
        pictures.neighbours[: some(len(pictures.neighbours))], pictures.model, pictures.among,
    )  # fmt: skip


def _figures(pictures: Pictures, encoded: Sequence[bytes]) -> list[Figure]:
    remaining, figures = iter(encoded), []
    if pictures.new:
        alt = f"{len(pictures.new)} of the new images, numbered as below"
        figures.append(Figure("New images", alt, next(remaining), (pictures.new,), numbered=True))
    if pictures.refused:
        alt = f"{len(pictures.refused)} refused images, each with its name and the reason"
        figures.append(Figure("Refused", alt, next(remaining), tuple((one,) for one in pictures.refused)))
    if pictures.neighbours:
        alt = f"{len(pictures.neighbours)} new images, each followed by those nearest to it, with their cosines"
        shown = tuple((group.of, *group.nearest) for group in pictures.neighbours)
        among = f" among {pictures.among}" if pictures.among else ""
        note = f"The framed ones are new; beside each, the nearest stored{among} by {pictures.model}, with the cosine."
        figures.append(Figure("Nearest neighbours", alt, next(remaining), shown, note))
    return figures


def _new(shown: Sequence[Shown]) -> Image.Image | None:
    if not shown:
        return None
    across = min(_ACROSS, len(shown))
    canvas, draw = pen.paper(-(-len(shown) // _ACROSS) * (EDGE + GAP) - GAP, across * (EDGE + GAP) - GAP)
    for number, one in enumerate(shown):
        x, y = number % _ACROSS * (EDGE + GAP), number // _ACROSS * (EDGE + GAP)
        _tile(canvas, draw, one, x, y)
        label = str(number + 1)
        width = int(pen.font(SMALL).getlength(label)) + 6
        draw.rectangle((x, y, x + width, y + LINE), fill=INK)
        draw.text((x + 3, y + 1), label, PAPER, pen.font(SMALL))
    return canvas


def _refused(shown: Sequence[Shown]) -> Image.Image | None:
    if not shown:
        return None
    width, height = _REFUSED
    across = min(3, len(shown))
    canvas, draw = pen.paper(-(-len(shown) // across) * (height + GAP) - GAP, across * (width + GAP) - GAP)
    for number, one in enumerate(shown):
        x, y = number % across * (width + GAP), number // across * (height + GAP)
        draw.rectangle((x, y, x + width - 1, y + height - 1), fill=EMPTY)
        if one.picture is None:
            draw.line((x + 22, y + 22, x + 42, y + 42), BAD, 3)
            draw.line((x + 42, y + 22, x + 22, y + 42), BAD, 3)
        else:
            canvas.paste(_square(one.picture, height), (x, y))
        room = width - height - 10
        draw.text((x + height + 6, y + 4), pen.cut(_name(one.path), room, SMALL + 1), INK, pen.font(SMALL + 1))
        for line, words in enumerate(pen.lines(one.words, room, 3)):
            draw.text((x + height + 6, y + 20 + line * (SMALL + 2)), words, QUIET, pen.font(SMALL))
    return canvas


def _near(groups: Sequence[Neighbours]) -> Image.Image | None:
    if not groups:
        return None
    tall = EDGE + LINE + GAP
    canvas, draw = pen.paper(len(groups) * tall - GAP)
    for number, group in enumerate(groups):
        y = number * tall
        for place, one in enumerate((group.of, *group.nearest)):
            x = place * (EDGE + GAP)
            _tile(canvas, draw, one, x, y)
            draw.text((x + 2, y + EDGE), one.words if place else "new", QUIET if place else GOOD, pen.font(SMALL))
        draw.rectangle((0, y, EDGE - 1, y + EDGE - 1), outline=GOOD, width=3)
    return canvas


def _tile(canvas: Image.Image, draw: ImageDraw.ImageDraw, one: Shown, x: int, y: int) -> None:
    if one.picture is not None:
        canvas.paste(_square(one.picture, EDGE), (x, y))
        return
    draw.rectangle((x, y, x + EDGE - 1, y + EDGE - 1), fill=EMPTY)
    for line, words in enumerate(pen.lines(one.words, EDGE - 8, 4)):
        draw.text((x + 4, y + 24 + line * (SMALL + 2)), words, QUIET, pen.font(SMALL))


def _square(picture: Picture, edge: int) -> Image.Image:
    """The middle of a picture, as a square."""
    from PIL import Image, ImageOps

    return ImageOps.fit(Image.fromarray(picture), (edge, edge), Image.Resampling.LANCZOS)


def _name(path: str) -> str:
    return printable(path).rpartition("/")[2]
