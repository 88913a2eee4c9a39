"""Pictures by number: their bytes, and what the stand-in model makes of each."""

from __future__ import annotations

import hashlib
import io
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pixelmill.images.decode import DecodeOptions, decode_image
from pixelmill.images.facts import facts_of
from pixelmill.images.preprocess import normalize, pixels
from tests.support.models import BlockMeans, spec_of

BROKEN = {5, 6}
"""The contents that cannot be decoded."""
OTHERS = range(7, 40)
"""The contents of the other folder: each of its files has one of its own, and never changes."""


def content(number: int) -> bytes:
    """The bytes of a picture by its number; a few of them are broken."""
    random = np.random.default_rng(number)
    buffer = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (10 + number, 12, 3), dtype=np.uint8)).save(buffer, "png")
    return buffer.getvalue()[:60] + b"broken" if number in BROKEN else buffer.getvalue()


NUMBER_OF = {hashlib.sha256(content(number)).digest(): number for number in range(OTHERS.stop)}


@cache
def expected_facts(number: int) -> dict[str, float | int | str]:
    """The facts of a picture, by the function alone; none of one that is broken."""
    if number in BROKEN:
        return {}
    with Image.open(io.BytesIO(content(number))) as picture:
        return facts_of(content(number), "PNG", picture.convert("RGB"), 1)[0]


def is_fact(row: bytes, name: str, value: object) -> bool:
    """Whether a column of facts says that of the picture of that sha256."""
    return expected_facts(NUMBER_OF[row]).get(name) == (value.decode() if isinstance(value, bytes) else value)


@cache
def expected_vector(number: int, model: str, weights: str = "") -> np.ndarray:
    """What the stand-in of that name and weights makes of a picture, by the functions alone."""
    picture = decode_image(content(number), DecodeOptions(), shortest=None)
    fresh = BlockMeans(spec_of(model, Path()), weights)
    seen = BlockMeans.seen
    batch = torch.from_numpy(np.array(pixels(np.array(picture.image), picture.frame, fresh.preprocessing))[None])
    vector: np.ndarray = fresh.encode_image(normalize(batch, fresh.preprocessing, torch.float32))[0].numpy()
    BlockMeans.seen = seen
    return vector
