"""Paints scenes and shapes from numbers, and says what they show: the project's own pictures, and their captions.

Everything follows from the `Random` that a painter is given, so each picture comes out the same each time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import numpy as np
from painting import (
    INKS,
    Colour,
    Painted,
    Painter,
    Picture,
    article,
    blend,
    glow,
    gradient,
    mix,
    noise,
    outline,
    shade,
    side,
    wavering,
)
from PIL import Image, ImageDraw, ImageFilter

COUNTS = {3: "three", 4: "four", 5: "five"}
SHAPES = ("circle", "square", "triangle", "star")


def mountains(width: int, height: int, chance: Random) -> Painted:
    """Ridges that fade into the haze, a sun, and a sky from one of four hours of the day."""
    hours: list[tuple[str, list[Colour], Colour, Colour]] = [
        ("at sunset", [(40, 52, 104), (222, 120, 110), (255, 205, 140)], (255, 232, 180), (60, 40, 80)),
        ("by day", [(70, 140, 215), (190, 222, 245)], (255, 255, 240), (38, 78, 66)),
        ("at night", [(20, 24, 60), (70, 70, 130), (150, 130, 160)], (240, 240, 250), (16, 18, 40)),
        ("in golden light", [(250, 190, 120), (255, 226, 170)], (255, 246, 210), (110, 60, 50)),
    ]
    hour, sky, sun, near = hours[chance.randrange(100) % 4]
    picture = gradient(width, height, sky)
    across, down = chance.uniform(0.2, 0.8), chance.uniform(0.2, 0.4)
    picture = glow(picture, (width * across, height * down), height / 7, sun)
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
    light = "moon" if hour == "at night" else "sun"
    return Painted(picture, (f"mountains {hour}", f"the {light} {side(across)}"))


def sea(width: int, height: int, chance: Random) -> Painted:
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
    across = chance.uniform(0.25, 0.75)
    boat(ImageDraw.Draw(picture), width * across, horizon + height * 0.06, height * 0.2)
    return Painted(picture, (f"the sea {'at sunset' if dusk else 'by day'}", f"a boat {side(across)}"))


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


def flowers(width: int, height: int, chance: Random) -> Painted:
    """Blossoms of one colour over blurred grass."""
    grass = blend(
        Image.new("RGB", (width, height), (58, 110, 50)), (150, 185, 80), noise(width, height, width / 9, chance)
    )
    picture = grass.filter(ImageFilter.GaussianBlur(width / 60))
    colours: list[tuple[str, Colour]] = [
        ("red", (235, 70, 90)), ("yellow", (250, 205, 60)), ("purple", (180, 90, 205)), ("white", (245, 245, 245)),
        ("orange", (245, 130, 40)),
    ]  # fmt: skip
    (name, colour), petals = chance.choice(colours), chance.choice([5, 6, 8, 11])
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
    return Painted(picture, (f"{name} flowers", "green grass"))


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


def city(width: int, height: int, chance: Random) -> Painted:
    """A skyline at night: lit windows, a moon, and its mirror in the river."""
    picture = gradient(width, height, [(8, 10, 32), (44, 40, 92), (130, 80, 110)])
    across = chance.uniform(0.1, 0.9)
    picture = glow(picture, (width * across, height * 0.16), height / 12, (245, 240, 215))
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
    return Painted(picture, ("a city at night", f"the moon {side(across)}"))


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


def fruit(width: int, height: int, chance: Random) -> Painted:
    """Shaded balls with stalks on a wooden table."""
    wood = noise(width, height, width / 2, chance)
    picture = gradient(width, height, [(196, 180, 160), (226, 214, 196)])
    table = blend(
        gradient(width, height, [(150, 98, 56), (190, 132, 80)]), (112, 66, 34), np.sin(wood * 60) * 0.3 + 0.2
    )
    picture.paste(table.crop((0, height // 2, width, height)), (0, height // 2))
    kinds: dict[str, Colour] = {
        "red": (205, 36, 40), "orange": (240, 140, 30), "green": (130, 178, 50), "yellow": (245, 205, 60),
    }  # fmt: skip
    most, number, colours = chance.choice([*kinds]), chance.choice([*COUNTS]), []
    for index in range(number):
        radius = min(width, height) * chance.uniform(0.13, 0.18)
        centre = width * (0.18 + 0.17 * index), height * chance.uniform(0.55, 0.72)
        colours.append(chance.choice([most, most, *kinds]))
        picture = ball(picture, centre, radius, kinds[colours[-1]])
    return Painted(
        picture, (f"{COUNTS[number]} fruits on a table", *(f"{colour} fruit" for colour in dict.fromkeys(colours)))
    )


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


def tiles(width: int, height: int, chance: Random) -> Painted:
    """A wall of patterned tiles in three colours."""
    palettes: list[tuple[str, Colour, Colour, Colour]] = [
        ("blue", (246, 240, 226), (26, 74, 140), (90, 150, 200)),
        ("red", (250, 236, 210), (176, 64, 46), (226, 160, 70)),
        ("green", (240, 244, 238), (30, 110, 92), (232, 186, 84)),
    ]
    name, ground, dark, light = chance.choice(palettes)
    rows = chance.choice([3, 4, 5])
    edge = min(width, height) // rows
    tile = Image.new("RGB", (edge, edge), ground)
    draw = ImageDraw.Draw(tile)
    for radius, colour in ((0.5, light), (0.4, ground), (0.3, dark)):
        for x, y in ((0, 0), (edge, 0), (0, edge), (edge, edge)):
            draw.ellipse([x - radius * edge, y - radius * edge, x + radius * edge, y + radius * edge], fill=colour)
    middle, reach = edge / 2, edge * chance.uniform(0.2, 0.42)
    draw.polygon(
        [(middle, middle - reach), (middle + reach, middle), (middle, middle + reach), (middle - reach, middle)], dark
    )
    draw.ellipse([middle - reach / 3, middle - reach / 3, middle + reach / 3, middle + reach / 3], fill=light)
    draw.rectangle([0, 0, edge - 1, edge - 1], outline=shade(ground, 0.86), width=max(1, edge // 50))
    picture = Image.new("RGB", (width, height))
    for x in range(0, width, edge):
        for y in range(0, height, edge):
            picture.paste(tile, (x, y))
    aged = blend(picture, (60, 50, 40), noise(width, height, width / 2, chance) * 0.5 - 0.12)
    return Painted(aged, (f"{name} tiles", f"{'big' if rows == 3 else 'small'} tiles"))


def shapes(width: int, height: int, chance: Random) -> Painted:
    """One or two flat shapes, each of one colour, on a ground of another."""
    ground, *colours = chance.sample([*INKS], 3)
    picture = Image.new("RGB", (width, height), wavering(INKS[ground], chance))
    names = [f"{article(colour)} {colour} {chance.choice(SHAPES)}" for colour in colours[: chance.choice([1, 1, 2])]]
    for index, name in enumerate(names):
        room = width / len(names)
        reach = min(room, height) * chance.uniform(0.26, 0.44)
        centre = chance.uniform(index * room + reach, (index + 1) * room - reach), chance.uniform(reach, height - reach)
        _, colour, shape = name.split()
        ImageDraw.Draw(picture).polygon(outline(shape, centre, reach), wavering(INKS[colour], chance))
    return Painted(picture, (*names, f"{article(ground)} {ground} background"))


PAINTERS: Sequence[Painter] = (mountains, sea, flowers, city, fruit, tiles, shapes)
