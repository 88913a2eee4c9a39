"""JPEG XL comes out as libjxl decodes it, upright and in sRGB; its header, which is read here, says the same as libjxl."""

from __future__ import annotations

import io
import random
from typing import Any

import imagecodecs
import numpy as np
import pillow_jxl  # noqa: F401 - registers its plugin, which has a libjxl of its own
import pytest
from PIL import Image, ImageCms

from pixelmill.errors import ImageRejected
from pixelmill.images import jxl, profiles
from pixelmill.images.decode import Decoded, DecodeOptions, decode_image
from pixelmill.images.frame import turned
from pixelmill.images.sandbox import decode_in_sandbox
from tests.support.scenes import encoded, scene

Array = np.ndarray[Any, Any]


def smooth(width: int = 192, height: int = 128) -> Image.Image:
    return scene(24, 16).resize((width, height), Image.Resampling.BICUBIC)


def coded(array: Array, **how: Any) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(array, **how))


def animation(count: int = 5) -> bytes:
    """Frames that are brighter one after the other."""
    return coded(np.stack([np.full((48, 64, 3), 25 * number, np.uint8) for number in range(count)]), lossless=True)


def decoded(data: bytes) -> Decoded:
    return decode_image(data, DecodeOptions(), shortest=None)


def pixels(data: bytes) -> Array:
    return np.asarray(decoded(data).upright).astype(int)


def reason(data: bytes) -> str:
    with pytest.raises(ImageRejected) as caught:
        decoded(data)
    return caught.value.reason


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
@pytest.mark.parametrize("how", [{}, {"lossless": True}, {"use_container": True}])
def test_pictures_are_libjxls(mode: str, how: dict[str, bool]) -> None:
    """Grey and colour, with and without alpha, in boxes or not: as pillow-jxl-plugin decodes them, over white."""
    image = smooth().convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 192).astype(np.uint8), (128, 1))))
    data = encoded(image, "JXL", **how)
    theirs = Image.open(io.BytesIO(data)).convert("RGBA")
    white = Image.alpha_composite(Image.new("RGBA", theirs.size, "white"), theirs).convert("RGB")
    assert np.abs(pixels(data) - np.asarray(white)).max() <= 1
    assert decoded(data).format == "JPEG XL"


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_deep_light_is_srgb(kind: Any) -> None:
    """imagecodecs tags deep samples as light: they come out by the curve of sRGB."""
    light = np.repeat(np.linspace(0, 1, 96)[None, :, None], 32, axis=0).repeat(3, axis=2)
    data = coded(
        (light * 65535).round().astype(np.uint16) if kind is np.uint16 else light.astype(np.float32), lossless=True
    )
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    assert np.abs(pixels(data) - curve).max() <= 1


def with_orientation(data: bytes, orientation: int) -> bytes:
    """An animation has its orientation as 3 bits behind those of its size."""
    bits = int.from_bytes(data, "little")
    at = 16 + 1 + 2 + 9 + 3 + 2 + 9 + 2 if not (data[2] & 1) else 16 + 1 + 5 + 3 + 5 + 2
    if data[2] & 1 and (bits >> 22) & 7:
        at -= 5
    return (bits & ~(7 << at) | (orientation - 1) << at).to_bytes(len(data), "little")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_made_once(orientation: int) -> None:
    """That of the header, by libjxl; width and height are those of the upright picture."""
    picture = np.asarray(smooth(64, 48))
    data = with_orientation(coded(np.stack([picture, picture]), lossless=True), orientation)
    upright = turned(Image.fromarray(picture), orientation)
    assert jxl.header(data).orientation == orientation
    assert jxl.header(data).size == upright.size == decoded(data).frame.size
    assert np.array_equal(pixels(data), np.asarray(upright))


def test_display_p3_becomes_srgb() -> None:
    """Colours that a header names come out as littleCMS makes sRGB of them."""
    p3 = profiles.icc_of(profiles.chromaticities_of(12))
    array = np.asarray(smooth())
    found = jxl.Header((192, 128), chromaticities=profiles.chromaticities_of(12))
    theirs = ImageCms.profileToProfile(
        smooth(), ImageCms.ImageCmsProfile(io.BytesIO(p3)), ImageCms.createProfile("sRGB")
    )
    assert np.abs(np.asarray(jxl._picture(found, array)).astype(int) - np.asarray(theirs)).max() <= 1


@pytest.mark.parametrize(
    "size", [(1, 1), (8, 8), (97, 64), (640, 480), (333, 1000), (256, 256), (3000, 20), (1600, 900), (20, 9000)]
)
def test_sizes_are_those_of_the_header(size: tuple[int, int]) -> None:
    """However they are written: small, by ratio, in few or many bits."""
    assert jxl.header(coded(np.zeros((size[1], size[0], 3), np.uint8))).size == size


@pytest.mark.parametrize("count", [2, 3, 4, 5, 9])
def test_an_animation_is_its_first_frame(count: int) -> None:
    """And its frames are counted."""
    data = animation(count)
    assert decoded(data).frames == count
    assert pixels(data).max() == 0


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.99])
def test_cut_off_files_are_refused(part: float) -> None:
    """A file that ends early, or of which a part was never copied, is no half picture."""
    data = coded(np.asarray(scene(200, 150)))
    end = int(part * len(data))
    assert "cut off" in reason(data[:end])
    assert reason(data[:end] + bytes(len(data) - end))


def test_a_size_that_lies_is_refused_by_the_header() -> None:
    """A gigapixel in a few bytes is never decoded."""
    bits = int.from_bytes(b"\xff\x0a", "little") | (3 << 17) | (99_999 << 19) | (1 << 49)
    assert "at most 200,000,000 pixels" in reason(bits.to_bytes(64, "little"))


@pytest.mark.parametrize("seed", range(30))
def test_flipped_bits_cost_one_picture(seed: int) -> None:
    """Whatever bits flip, in the sandbox a picture comes or a reason in words."""
    choose, data = random.Random(seed), bytearray(coded(np.asarray(scene(64, 48))) if seed % 2 else animation())
    for _ in range(choose.randint(1, 6)):
        data[choose.randrange(min(len(data), 200))] ^= 1 << choose.randrange(8)
    try:
        decode_in_sandbox(bytes(data), DecodeOptions(max_seconds=20), shortest=32, wanted=[])
    except ImageRejected as rejected:
        words = rejected.reason
        assert words
