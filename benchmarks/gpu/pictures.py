"""Pictures to measure with, where there is no network: photographs cut to size, or what compresses like them."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

FOLDERS = 2
"""That the pictures of a size lie in: so many processes share them."""
_DIFFERENT = 6
"""Pictures of a size; the others are copies whose bytes differ in a comment."""
_QUALITY = 90
_PATCHES = (192, 48, 12, 3)
"""Across a picture, at each scale of its noise, the finest first."""
_GRAIN = 6.0
"""Of the sensor, in grey levels: a JPEG of 12 megapixels comes to 3 to 4 MB."""


def make(folder: Path, size: tuple[int, int], images: int, photographs: Path | None) -> None:
    """So many JPEGs of one size, in `FOLDERS` folders, each with a content of its own to whoever takes a digest."""
    found = _cut(photographs, size) if photographs else _painted(size)
    originals = [_encoded(picture) for picture in itertools.islice(found, _DIFFERENT)]
    if not originals:
        raise SystemExit(f"Expected JPEGs below {photographs}. There are none.")
    for number in range(FOLDERS):
        (folder / str(number)).mkdir(parents=True)

    def write(number: int) -> None:
        data = _numbered(originals[number % len(originals)], number)
        (folder / str(number % FOLDERS) / f"{number:07}.jpg").write_bytes(data)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(images)))


def _cut(folder: Path, size: tuple[int, int]) -> Iterator[Image.Image]:
    for path in sorted(one for one in folder.rglob("*") if one.suffix.lower() in (".jpg", ".jpeg")):
        with Image.open(path) as photograph:
            yield ImageOps.fit(photograph.convert("RGB"), size, Image.Resampling.BICUBIC)


def _painted(size: tuple[int, int]) -> Iterator[Image.Image]:
    """Soft noise of several scales, shapes with hard edges, and grain, as photographs have them."""
    numbers = np.random.default_rng(1)
    while True:
        picture = Image.new("RGB", size, "grey")
        for patches in _PATCHES:
            cells = numbers.integers(0, 256, (max(1, patches * size[1] // size[0]), patches, 3), dtype=np.uint8)
            picture = Image.blend(picture, Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC), 0.35)
        draw = ImageDraw.Draw(picture)
        for _ in range(30):
            colour = tuple(map(int, numbers.integers(0, 256, 3)))
            left, top, across = numbers.uniform((-0.1, -0.1, 0.02), (1, 1, 0.15)) * size[0]
            shape = draw.ellipse if numbers.random() < 0.5 else draw.rectangle
            shape((left, top, left + across, top + across * numbers.uniform(0.3, 1.5)), fill=colour)
        grain = numbers.normal(0, _GRAIN, (size[1], size[0], 1)).astype(np.float32)
        yield Image.fromarray((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8))


def _encoded(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _numbered(jpeg: bytes, number: int) -> bytes:
    """The same picture with a comment of its own behind its first segment (JFIF's APP0)."""
    said = b"%08d" % number
    at = 4 + int.from_bytes(jpeg[4:6], "big")
    return jpeg[:at] + b"\xff\xfe" + (2 + len(said)).to_bytes(2, "big") + said + jpeg[at:]
