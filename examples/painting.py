"""What scenes are painted with, and a painted picture with the phrases that are true of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Colour = tuple[int, int, int]
Array = NDArray[np.float64]
Picture = Image.Image
Painter = Callable[[int, int, Random], "Painted"]

OVERSAMPLING = 2
INKS: dict[str, Colour] = {
    "red": (214, 40, 40), "orange": (240, 140, 30), "yellow": (245, 212, 60), "green": (50, 150, 70),
    "blue": (45, 90, 200), "purple": (130, 60, 170), "pink": (240, 130, 170), "brown": (120, 75, 40),
    "black": (20, 20, 24), "white": (245, 245, 242),
}  # fmt: skip


@dataclass(frozen=True)
class Painted:
    """A picture and phrases that are true of it: the first says what it shows, the others what else is to be seen."""

    picture: Picture
    phrases: tuple[str, ...]

    @property
    def caption(self) -> str:
        """All phrases in a row."""
        return ", ".join(self.phrases)


def rendered(painter: Painter, size: tuple[int, int], seed: int) -> Painted:
    """What the painter makes of the seed, painted at twice the size and scaled down, as edges look best."""
    large = painter(size[0] * OVERSAMPLING, size[1] * OVERSAMPLING, Random(seed))
    return replace(large, picture=large.picture.resize(size, Image.Resampling.LANCZOS))


def grey(painted: Painted) -> Painted:
    """In black and white; nothing is said of colours any more."""
    first, *others = painted.phrases
    words = [word for word in first.split() if word not in INKS]
    subject = " ".join(["a", *words[1:]] if words[0] == "an" else words)
    colourless = [phrase for phrase in others if not set(INKS) & set(phrase.split())]
    return Painted(painted.picture.convert("L"), (subject, *colourless, "black and white"))


def sticker(painted: Painted) -> Painted:
    """Cut out as a disc with a soft edge, on nothing: RGBA."""
    picture = painted.picture.copy()
    y, x = np.mgrid[0 : picture.height, 0 : picture.width]
    radius = min(picture.size) / 2
    edge = radius - np.hypot(x - picture.width / 2 + 0.5, y - picture.height / 2 + 0.5)
    picture.putalpha(Image.fromarray((np.clip(edge / 4, 0, 1) * 255).astype(np.uint8)))
    return Painted(picture, (*painted.phrases, "a round sticker"))


def article(word: str) -> str:
    """The indefinite one."""
    return "an" if word[0] in "aeiou" else "a"


def side(share: float) -> str:
    """Where something lies whose middle is at this share of the width."""
    return "on the left" if share < 0.42 else "on the right" if share > 0.58 else "in the middle"


def gradient(width: int, height: int, stops: list[Colour], power: float = 1.0) -> Picture:
    """From the first colour at the top to the last at the bottom."""
    at = np.linspace(0, len(stops) - 1, len(stops))
    rows = (np.linspace(0, 1, height) ** power) * (len(stops) - 1)
    column = np.stack([np.interp(rows, at, [stop[c] for stop in stops]) for c in range(3)], axis=-1)
    return Image.fromarray(np.repeat(column[:, None], width, axis=1).astype(np.uint8))


def noise(width: int, height: int, cell: float, chance: Random) -> Array:
    """Smooth noise in [0, 1] with features of `cell` pixels, five octaves."""
    total, weight = np.zeros((height, width)), 0.0
    for octave in range(5):
        size = max(cell / 2**octave, 1)
        shape = (int(height / size) + 3, int(width / size) + 3)
        coarse = np.array([[chance.random() for _ in range(shape[1])] for _ in range(shape[0])], dtype=np.float32)
        fine = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(fine, dtype=np.float64) / 2**octave
        weight += 1 / 2**octave
    return np.clip(total / weight, 0, 1)


def blend(below: Picture, colour: Colour, strength: Array) -> Picture:
    """`colour` over a picture, by a strength in [0, 1] for each pixel."""
    mask = Image.fromarray((np.clip(strength, 0, 1) * 255).astype(np.uint8))
    return Image.composite(Image.new("RGB", below.size, colour), below, mask)


def glow(below: Picture, centre: tuple[float, float], radius: float, colour: Colour) -> Picture:
    y, x = np.mgrid[0 : below.height, 0 : below.width]
    distance = np.hypot(x - centre[0], y - centre[1]) / radius
    return blend(below, colour, np.where(distance < 0.35, 1.0, np.exp(-2.2 * (distance - 0.35))))


def shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, max(0, int(value * factor))) for value in colour)
    return red, green, blue


def mix(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (int(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def outline(shape: str, centre: tuple[float, float], reach: float) -> list[tuple[float, float]]:
    """The corners of a shape that lies within `reach` of its centre; a circle has many."""
    radii = {"circle": [1.0] * 72, "square": [1.0] * 4, "triangle": [1.0] * 3, "star": [1.0, 0.42] * 5}[shape]
    turn = math.tau / 8 if shape == "square" else 0.0
    angles = [turn + math.tau * index / len(radii) for index in range(len(radii))]
    return [
        (centre[0] + reach * radius * math.sin(angle), centre[1] - reach * radius * math.cos(angle))
        for radius, angle in zip(radii, angles, strict=True)
    ]


def wavering(colour: Colour, chance: Random) -> Colour:
    """Nearly the colour."""
    return mix(colour, (chance.randrange(256), chance.randrange(256), chance.randrange(256)), 0.12)
