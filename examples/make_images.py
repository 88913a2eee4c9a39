"""Renders the sample pictures in examples/images: seven kinds in several formats, modes and orientations.

    python examples/make_images.py [FOLDER]

`captions.csv` beside the folder says what each shows. Everything is painted from numbers (scenes.py), so the pictures
belong to the project and come out the same each time.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
from painting import Painted, Painter, Picture, grey, rendered, sticker
from PIL import Image
from scenes import city, flowers, fruit, mountains, sea, shapes, tiles

ORIENTATION = 0x0112


def sideways(picture: Picture) -> tuple[Picture, dict[str, Any]]:
    """As a camera held upright stores it: lying, with the EXIF orientation that turns it back."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return picture.transpose(Image.Transpose.ROTATE_90), {"exif": exif}


def taken_at_sea() -> Image.Exif:
    """What a camera writes beside a picture: when, by which clock, where, and with what."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Pixelmill", "Painter 1"
    exif.get_ifd(0x8769).update({0x9003: "2024:08:17 20:41:05", 0x9011: "+02:00"})
    exif.get_ifd(0x8825).update({1: "N", 2: (54.0, 10.0, 57.0), 3: "E", 4: (7.0, 53.0, 7.0)})
    return exif


def deep(picture: Picture) -> Picture:
    """16 bits a pixel, as scanners and microscopes write it."""
    return Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)


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
        ("flowers/meadow.heic", flowers, (420, 315), 1),
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
        ("shapes/red-circle.png", shapes, (160, 120), 724),
        ("shapes/yellow-circle.png", shapes, (160, 120), 7),
        ("shapes/white-square.png", shapes, (160, 120), 26),
        ("shapes/blue-triangle.png", shapes, (160, 120), 27),
        ("shapes/blue-star.png", shapes, (160, 120), 30),
        ("shapes/red-and-green.png", shapes, (160, 120), 22),
        ("shapes/blue-and-purple.png", shapes, (160, 120), 5),
        ("shapes/yellow-and-green.png", shapes, (160, 120), 24),
    ]


def paint(name: str, painter: Painter, size: tuple[int, int], seed: int) -> Painted:
    """A sample's picture, and what it shows as it will be stored."""
    painted = rendered(painter, size, seed)
    if "sticker" in name:
        return sticker(painted)
    return grey(painted) if "16bit" in name else painted


def save(picture: Picture, path: Path) -> None:
    """Stored as the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    how: dict[str, Any] = {"optimize": True} if path.suffix == ".png" else {"quality": 80}
    if path.stem == "upright":
        picture, extra = sideways(picture)
        how |= extra
    elif path.stem.endswith("cmyk"):
        picture = picture.convert("CMYK")
    elif picture.mode == "L":
        picture = deep(picture)
    elif path.suffix in (".gif", ".png") and picture.mode == "RGB":
        picture, how = picture.quantize(48, dither=Image.Dither.NONE), {"optimize": True}
    if path.suffix == ".heic":  # as phones store it
        import pillow_heif

        pillow_heif.register_heif_opener()
    if path.name == "evening.jpg":
        how["exif"] = taken_at_sea()
    picture.save(path, **how)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images"
    captions = []
    for name, *how in samples():
        painted = paint(name, *how)
        save(painted.picture, folder / name)
        captions.append((name, painted.caption))
        print(f"{folder / name}: {painted.caption}")
    with (folder.parent / "captions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("path", "caption"), *captions])


if __name__ == "__main__":
    main()
