"""Of files of several pictures the first is decoded, or the one in the middle, and all are counted."""

from __future__ import annotations

import io
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from pixelmill.errors import ImageRejected
from pixelmill.images.decode import Decoded, DecodeOptions, decode_image
from tests.support.heic import several
from tests.support.scenes import EIGHT_BIT, encoded

COUNT = 5
FRAMES = [Image.new("RGB", (64, 48), (40 * number + 20,) * 3) for number in range(COUNT)]


def pages(*, reduced: bool = False) -> bytes:
    """A TIFF of pages, each of another size; with a reduced one before each."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for number, frame in enumerate(FRAMES):
            array = np.asarray(frame.resize((64 + number, 48)))
            if reduced:
                writer.write(array[::8, ::8], photometric="rgb", subfiletype=1, metadata=None)
            writer.write(array, photometric="rgb", metadata=None)
    return file.getvalue()


def animation(format: str, **how: Any) -> bytes:
    return encoded(FRAMES[0], format, save_all=True, append_images=FRAMES[1:], **how)


FILES = {
    "GIF": animation("GIF"),
    "WEBP": animation("WEBP", lossless=True),
    "PNG": animation("PNG"),
    "AVIF": animation("AVIF", quality=100),
    "TIFF": pages(),
    "TIFF with reduced pages": pages(reduced=True),
    "HEIC": several(FRAMES, main=0),
    "JPEG XL": bytes(imagecodecs.jpegxl_encode(np.stack([np.asarray(frame) for frame in FRAMES]), lossless=True)),
}


def decoded(data: bytes, frames: Any) -> Decoded:
    return decode_image(data, DecodeOptions(frames=frames), shortest=None)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize(("frames", "number"), [("first", 0), ("middle", 2)])
def test_the_first_or_the_middle_one(kind: str, frames: str, number: int) -> None:
    """Of five pictures that is the first or the third, whatever the format; all five are counted."""
    found = decoded(FILES[kind], frames)
    assert np.abs(np.asarray(found.image).astype(int) - (40 * number + 20)).max() <= 3
    assert found.frames == COUNT
    assert found.frame.size == (64 + number if "TIFF" in kind else 64, 48)


@pytest.mark.parametrize("kind", EIGHT_BIT)
def test_a_single_picture_is_its_middle(kind: str) -> None:
    """Where there is one, both choices are the same."""
    first, middle = decoded(EIGHT_BIT[kind], "first"), decoded(EIGHT_BIT[kind], "middle")
    if first.frames == 1:
        assert np.array_equal(np.asarray(first.image), np.asarray(middle.image))


def test_a_page_in_the_middle_is_judged_by_its_own_size() -> None:
    """Nothing too large hides behind a small first page."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(np.zeros((10, 10), np.uint8), photometric="minisblack", metadata=None)
        writer.write(np.zeros((9000, 9000), np.uint8), photometric="minisblack", compression="zlib", metadata=None)
    assert decoded(file.getvalue(), "first").frame.size == (10, 10)
    with pytest.raises(ImageRejected, match="9000 x 9000"):
        decode_image(file.getvalue(), DecodeOptions(frames="middle", max_pixels=10_000_000), shortest=None)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "AVIF", "TIFF", "HEIC", "JPEG XL"])
def test_an_animation_that_is_cut_off_is_a_picture_or_a_reason(kind: str) -> None:
    """Of either choice; what is shown is never half."""
    for part in (0.3, 0.6, 0.9):
        for frames in ("first", "middle"):
            try:
                found = decoded(FILES[kind][: int(part * len(FILES[kind]))], frames)
            except ImageRejected:
                continue
            assert np.ptp(np.asarray(found.image)) <= 3
