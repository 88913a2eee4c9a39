"""Renders the sample pictures in examples/images: six kinds, four of each, in several formats, modes and orientations.

    python examples/make_images.py [FOLDER]

Everything is drawn here, from numbers, so the pictures belong to the project and come out the same each time.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Array = NDArray[np.float64]
Picture = Image.Image
Painter = Callable[[int, int, Random], Picture]

OVERSAMPLING = 2
ORIENTATION = 0x0112


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


def mountains(width: int, height: int, chance: Random) -> Picture:
    """Ridges that fade into the haze, a sun, and a sky from one of four hours of the day."""
    hours: list[tuple[list[Colour], Colour, Colour]] = [
        ([(40, 52, 104), (222, 120, 110), (255, 205, 140)], (255, 232, 180), (60, 40, 80)),
        ([(70, 140, 215), (190, 222, 245)], (255, 255, 240), (38, 78, 66)),
        ([(20, 24, 60), (70, 70, 130), (150, 130, 160)], (240, 240, 250), (16, 18, 40)),
        ([(250, 190, 120), (255, 226, 170)], (255, 246, 210), (110, 60, 50)),
    ]
    sky, sun, near = hours[chance.randrange(100) % 4]
    picture = gradient(width, height, sky)
    picture = glow(picture, (width * chance.uniform(0.2, 0.8), height * chance.uniform(0.2, 0.4)), height / 7, sun)
    draw = ImageDraw.Draw(picture)
    for layer in range(5):
        base, rough = height * (0.42 + 0.12 * layer), height * (0.16 - 0.02 * layer)
        phases = [chance.uniform(0, 7) for _ in range(7)]
        ridge = [
            (
                x,
                base
                - rough * sum(math.sin(x / width * 3.1 * 1.9**k + phase) / 1.75**k for k, phase in enumerate(phases)),
            )
            for x in range(0, width + 4, 4)
        ]
        draw.polygon([(0, height), *ridge, (width + 4, height)], fill=mix(sky[-1], near, (layer + 1.5) / 6.5))
    return picture


def sea(width: int, height: int, chance: Random) -> Picture:
    """Waves in perspective below clouds, with a sailing boat."""
    dusk = chance.random() < 0.5
    sky: list[Colour] = [(80, 90, 160), (250, 170, 130)] if dusk else [(60, 130, 210), (205, 230, 245)]
    deep: Colour = (40, 50, 100) if dusk else (15, 85, 130)
    picture = blend(gradient(width, height, sky), (255, 250, 245), noise(width, height, width / 3, chance) * 2.4 - 1.1)
    horizon = int(height * chance.uniform(0.4, 0.55))
    rows = np.arange(1, height - horizon + 1)[:, None] / (height - horizon)
    x = np.arange(width)[None] / width - 0.5
    waves = np.sin(24 / (rows + 0.06) + 5 * np.sin(x / (rows + 0.1) * 9 + chance.uniform(0, 6)))
    water = gradient(width, height - horizon, [mix(sky[-1], deep, 0.45), deep])
    water = blend(water, mix(sky[-1], (255, 255, 255), 0.4), (waves * 0.5 + 0.3) * (0.25 + 0.3 * rows))
    picture.paste(water, (0, horizon))
    boat(ImageDraw.Draw(picture), width * chance.uniform(0.25, 0.75), horizon + height * 0.06, height * 0.2)
    return picture


def boat(draw: ImageDraw.ImageDraw, x: float, y: float, size: float) -> None:
    draw.polygon(
        [(x - 0.02 * size, y - size), (x - 0.02 * size, y - 0.12 * size), (x - 0.5 * size, y - 0.12 * size)], "white"
    )
    draw.polygon(
        [(x + 0.03 * size, y - 0.85 * size), (x + 0.03 * size, y - 0.12 * size), (x + 0.4 * size, y - 0.12 * size)],
        (225, 80, 60),
    )
    draw.polygon(
        [
            (x - 0.55 * size, y - 0.08 * size),
            (x + 0.5 * size, y - 0.08 * size),
            (x + 0.36 * size, y + 0.1 * size),
            (x - 0.42 * size, y + 0.1 * size),
        ],
        (90, 50, 35),
    )


def flowers(width: int, height: int, chance: Random) -> Picture:
    """Blossoms of one colour over blurred grass."""
    grass = blend(
        Image.new("RGB", (width, height), (58, 110, 50)), (150, 185, 80), noise(width, height, width / 9, chance)
    )
    picture = grass.filter(ImageFilter.GaussianBlur(width / 60))
    colours: list[Colour] = [(235, 70, 90), (250, 205, 60), (180, 90, 205), (245, 245, 245), (245, 130, 40)]
    colour, petals = chance.choice(colours), chance.choice([5, 6, 8, 11])
    draw = ImageDraw.Draw(picture)
    for size in (0.09, 0.13, 0.17, 0.24):
        for _ in range(max(2, int(0.5 / size))):
            centre = chance.uniform(0.08, 0.92) * width, chance.uniform(0.1, 0.9) * height
            draw.line(
                [centre, (centre[0] + width * 0.03, height)], fill=(44, 88, 40), width=max(2, int(size * width / 14))
            )
            blossom(
                draw, centre, size * min(width, height) * 0.75, petals, mix((58, 110, 50), colour, 0.4 + size * 2.5)
            )
    return picture


def blossom(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, petals: int, colour: Colour) -> None:
    for ring, factor in ((1.0, 0.85), (0.8, 1.0), (0.5, 1.1)):
        for petal in range(petals):
            angle = math.tau * petal / petals + ring
            x, y = (centre[i] + ring * 0.6 * radius * f(angle) for i, f in enumerate((math.cos, math.sin)))
            r = ring * radius * 1.5 / math.sqrt(petals)
            draw.ellipse([x - r, y - r, x + r, y + r], fill=shade(colour, factor), outline=shade(colour, factor * 0.85))
    r = radius * 0.3
    draw.ellipse(
        [centre[0] - r, centre[1] - r, centre[0] + r, centre[1] + r], fill=(250, 190, 40), outline=(170, 110, 20)
    )


def city(width: int, height: int, chance: Random) -> Picture:
    """A skyline at night: lit windows, a moon, and its mirror in the river."""
    picture = gradient(width, height, [(8, 10, 32), (44, 40, 92), (130, 80, 110)])
    picture = glow(picture, (width * chance.uniform(0.1, 0.9), height * 0.16), height / 12, (245, 240, 215))
    draw = ImageDraw.Draw(picture)
    shore = int(height * 0.78)
    for layer, colour in enumerate([(48, 44, 84), (30, 28, 58), (14, 14, 34)]):
        x = -10.0
        while x < width:
            w, h = width * chance.uniform(0.05, 0.11), height * chance.uniform(0.15, 0.62 - 0.12 * layer)
            draw.rectangle([x, shore - h, x + w, shore], fill=colour)
            windows(draw, (x, shore - h, w, h), width / 70, chance)
            x += w + width * chance.uniform(0, 0.02)
    mirror = picture.crop((0, 2 * shore - height, width, shore)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    picture.paste(
        blend(mirror.filter(ImageFilter.BoxBlur(width / 120)), (10, 16, 44), np.full((height - shore, width), 0.45)),
        (0, shore),
    )
    return picture


def windows(draw: ImageDraw.ImageDraw, tower: tuple[float, float, float, float], step: float, chance: Random) -> None:
    left, top, width, height = tower
    for row in range(1, int(height / step)):
        for column in range(int(width / step)):
            if chance.random() < 0.34:
                x, y = left + (column + 0.35) * step, top + row * step
                draw.rectangle(
                    [x, y, x + step * 0.4, y + step * 0.45],
                    fill=chance.choice([(255, 214, 120), (255, 236, 180), (190, 215, 255)]),
                )


def fruit(width: int, height: int, chance: Random) -> Picture:
    """Shaded balls with stalks on a wooden table."""
    wood = noise(width, height, width / 2, chance)
    picture = gradient(width, height, [(196, 180, 160), (226, 214, 196)])
    table = blend(
        gradient(width, height, [(150, 98, 56), (190, 132, 80)]), (112, 66, 34), np.sin(wood * 60) * 0.3 + 0.2
    )
    picture.paste(table.crop((0, height // 2, width, height)), (0, height // 2))
    kinds: list[Colour] = [(205, 36, 40), (240, 140, 30), (130, 178, 50), (245, 205, 60)]
    colour = chance.choice(kinds)
    for index in range(chance.choice([3, 4, 5])):
        radius = min(width, height) * chance.uniform(0.13, 0.18)
        centre = width * (0.18 + 0.17 * index), height * chance.uniform(0.55, 0.72)
        picture = ball(picture, centre, radius, chance.choice([colour, colour, *kinds]))
    return picture


def ball(picture: Picture, centre: tuple[float, float], radius: float, colour: Colour) -> Picture:
    """A sphere lit from the upper left, with a shadow and a stalk."""
    y, x = np.mgrid[0 : picture.height, 0 : picture.width]
    shadow = np.hypot((x - centre[0] - radius * 0.3) / 1.25, (y - centre[1] - radius * 0.85) * 2.6) / radius
    picture = blend(picture, (40, 22, 10), 0.6 * np.clip(1.15 - shadow, 0, 1))
    dx, dy = (x - centre[0]) / radius, (y - centre[1]) / radius
    dz = np.sqrt(np.clip(1 - dx**2 - dy**2, 0, 1))
    light = np.clip(-0.5 * dx - 0.6 * dy + 0.62 * dz, 0, 1)
    lit = np.asarray(colour) * (0.3 + 0.75 * light[..., None]) + 255 * (np.clip(light, 0, 1)[..., None] ** 24) * 0.7
    sphere = Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))
    edge = np.clip((1 - np.hypot(dx, dy)) * radius / 2, 0, 1)
    picture = Image.composite(sphere, picture, Image.fromarray((edge * 255).astype(np.uint8)))
    top = centre[0], centre[1] - radius * 0.82
    ImageDraw.Draw(picture).line(
        [top, (top[0] + radius * 0.14, top[1] - radius * 0.42)], (74, 50, 24), max(3, int(radius / 9))
    )
    return picture


def tiles(width: int, height: int, chance: Random) -> Picture:
    """A wall of patterned tiles in three colours."""
    palettes: list[list[Colour]] = [
        [(246, 240, 226), (26, 74, 140), (90, 150, 200)],
        [(250, 236, 210), (176, 64, 46), (226, 160, 70)],
        [(240, 244, 238), (30, 110, 92), (232, 186, 84)],
    ]
    ground, dark, light = chance.choice(palettes)
    side = min(width, height) // chance.choice([3, 4, 5])
    tile = Image.new("RGB", (side, side), ground)
    draw = ImageDraw.Draw(tile)
    for radius, colour in ((0.5, light), (0.4, ground), (0.3, dark)):
        for x, y in ((0, 0), (side, 0), (0, side), (side, side)):
            draw.ellipse([x - radius * side, y - radius * side, x + radius * side, y + radius * side], fill=colour)
    middle, reach = side / 2, side * chance.uniform(0.2, 0.42)
    draw.polygon(
        [(middle, middle - reach), (middle + reach, middle), (middle, middle + reach), (middle - reach, middle)], dark
    )
    draw.ellipse([middle - reach / 3, middle - reach / 3, middle + reach / 3, middle + reach / 3], fill=light)
    draw.rectangle([0, 0, side - 1, side - 1], outline=shade(ground, 0.86), width=max(1, side // 50))
    picture = Image.new("RGB", (width, height))
    for x in range(0, width, side):
        for y in range(0, height, side):
            picture.paste(tile, (x, y))
    return blend(picture, (60, 50, 40), noise(width, height, width / 2, chance) * 0.5 - 0.12)


def sticker(picture: Picture) -> Picture:
    """Cut out as a disc with a soft edge, on nothing: RGBA."""
    y, x = np.mgrid[0 : picture.height, 0 : picture.width]
    radius = min(picture.size) / 2
    edge = radius - np.hypot(x - picture.width / 2 + 0.5, y - picture.height / 2 + 0.5)
    picture.putalpha(Image.fromarray((np.clip(edge / 4, 0, 1) * 255).astype(np.uint8)))
    return picture


def sideways(picture: Picture) -> tuple[Picture, dict[str, Any]]:
    """As a camera held upright stores it: lying, with the EXIF orientation that turns it back."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return picture.transpose(Image.Transpose.ROTATE_90), {"exif": exif}


def deep_grey(picture: Picture) -> Picture:
    """16 bits a pixel, as scanners and microscopes write it."""
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)


def samples() -> list[tuple[str, Painter, tuple[int, int], int]]:
    """Name, painter, size and seed of each sample. The extension decides how it is stored."""
    return [
        ("mountains/morning.jpg", mountains, (480, 320), 11),
        ("mountains/moonlight.jpg", mountains, (512, 288), 4),
        ("mountains/dusk.webp", mountains, (420, 420), 5),
        ("mountains/upright.jpg", mountains, (300, 450), 8),
        ("sea/morning.jpg", sea, (480, 320), 2),
        ("sea/evening.jpg", sea, (500, 300), 1),
        ("sea/far.webp", sea, (640, 300), 5),
        ("sea/print-cmyk.jpg", sea, (360, 300), 9),
        ("flowers/meadow.jpg", flowers, (420, 315), 1),
        ("flowers/close.jpg", flowers, (360, 360), 6),
        ("flowers/garden.webp", flowers, (400, 500), 3),
        ("flowers/sticker.png", flowers, (130, 130), 12),
        ("city/river.jpg", city, (480, 320), 1),
        ("city/towers.jpg", city, (270, 380), 2),
        ("city/midnight.webp", city, (520, 300), 3),
        ("city/lights.gif", city, (200, 150), 4),
        ("still-life/apples.jpg", fruit, (440, 330), 1),
        ("still-life/table.webp", fruit, (480, 320), 2),
        ("still-life/basket.jpg", fruit, (400, 400), 3),
        ("still-life/scan-16bit.png", fruit, (150, 120), 6),
        ("tiles/blue.png", tiles, (192, 192), 2),
        ("tiles/kitchen.jpg", tiles, (320, 240), 4),
        ("tiles/courtyard.jpg", tiles, (300, 300), 5),
        ("tiles/hall.webp", tiles, (450, 300), 8),
    ]


def rendered(painter: Painter, size: tuple[int, int], seed: int) -> Picture:
    large = painter(size[0] * OVERSAMPLING, size[1] * OVERSAMPLING, Random(seed))
    return large.resize(size, Image.Resampling.LANCZOS)


def save(picture: Picture, path: Path) -> None:
    """Stored as the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    how: dict[str, Any] = {"optimize": True} if path.suffix == ".png" else {"quality": 80}
    if path.stem == "upright":
        picture, extra = sideways(picture)
        how |= extra
    elif path.stem == "sticker":
        picture = sticker(picture)
    elif path.stem.endswith("cmyk"):
        picture = picture.convert("CMYK")
    elif path.stem.endswith("16bit"):
        picture = deep_grey(picture)
    elif path.suffix in (".gif", ".png"):
        picture, how = picture.quantize(48, dither=Image.Dither.NONE), {"optimize": True}
    picture.save(path, **how)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images"
    for name, painter, size, seed in samples():
        save(rendered(painter, size, seed), folder / name)
        print(folder / name)


if __name__ == "__main__":
    main()
