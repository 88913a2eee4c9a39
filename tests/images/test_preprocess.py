"""Pixels are those of torchvision's and clip's own transforms."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from clip.clip import _transform
from PIL import Image
from torchvision.transforms import v2

from pixelmill.images.decode import DecodeOptions, decode_image
from pixelmill.images.frame import Frame, turned
from pixelmill.images.preprocess import Preprocessing, normalize, pixels

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def scene(width: int, height: int) -> Image.Image:
    """Smooth shapes, hard edges and noise, so that every way of resampling shows."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = np.stack([np.sin(x / 17) + np.cos(y / 11), np.sin((x + y) / 29), (x // 23 + y // 19) % 2], axis=-1)
    noise = np.random.default_rng(width * 7919 + height).normal(0, 0.2, waves.shape)
    return Image.fromarray(((waves + noise + 2) / 4.5 * 255).clip(0, 255).astype(np.uint8))


def made(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray[Any, Any]:
    return pixels(np.array(image), Frame(*image.size), preprocessing)


def upstream(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray[Any, Any]:
    size = [preprocessing.resize] * 2 if preprocessing.resize_mode == "squash" else preprocessing.resize
    transform = v2.Compose(
        [v2.Resize(size, v2.InterpolationMode(preprocessing.interpolation)), v2.CenterCrop(preprocessing.image_size)]
    )
    return np.asarray(transform(image))


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    "size", [(640, 480), (481, 640), (224, 224), (1000, 301), (301, 3000), (97, 64), (1, 1), (3, 250), (225, 224)]
)
@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(224, 224, MEAN, STD),
        Preprocessing(224, 256, MEAN, STD, interpolation="bilinear"),
        Preprocessing(256, 256, MEAN, STD, resize_mode="squash"),
        Preprocessing(96, 97, MEAN, STD),
        Preprocessing(128, 96, MEAN, STD),
    ],
    ids=lambda preprocessing: f"{preprocessing.resize}-{preprocessing.image_size}-{preprocessing.resize_mode}",
)
def test_pixels_are_torchvisions(size: tuple[int, int], orientation: int, preprocessing: Preprocessing) -> None:
    """Ours differ from torchvision's of the upright picture, which Pillow resizes, by a grey level in few values, and by
    two in next to none."""
    image = scene(*size)
    ours = pixels(np.array(image), Frame(*size, orientation=orientation), preprocessing)
    theirs = upstream(turned(image, orientation), preprocessing)
    assert ours.shape == theirs.shape == (preprocessing.image_size, preprocessing.image_size, 3)
    assert ours.dtype == np.uint8
    difference = np.abs(ours.astype(int) - theirs)
    assert difference.max() <= 2
    assert (difference > 1).mean() < 2e-4
    assert (difference > 0).mean() < 0.02


def test_normalized_pixels_are_clips() -> None:
    """pixels + normalize give what OpenAI's own transform gives, to within a grey level."""
    images = [scene(333, 500), scene(640, 427)]
    preprocessing = Preprocessing(224, 224, MEAN, STD)
    batch = torch.from_numpy(np.stack([made(image, preprocessing) for image in images]))
    ours = normalize(batch, preprocessing, torch.float32)
    theirs = torch.stack([_transform(224)(image) for image in images])
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1.01 / 255 / min(STD)
    assert (ours - theirs).abs().mean() < 1e-4


def test_normalize_is_the_formula() -> None:
    """All 256 values come out as (x / 255 - mean) / std, and half precision is rounded once, from float32."""
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).expand(1, 16, 16, 3)
    preprocessing = Preprocessing(16, 16, MEAN, STD)
    exact = ((values.double() / 255 - torch.tensor(MEAN).double()) / torch.tensor(STD).double()).permute(0, 3, 1, 2)
    assert torch.allclose(normalize(values, preprocessing, torch.float32).double(), exact, atol=1e-6)
    half = normalize(values, preprocessing, torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, normalize(values, preprocessing, torch.float32).to(torch.bfloat16))


def test_geometry_is_what_decides_pixels() -> None:
    """Models that differ in mean and std only share pixels; all else has its own."""
    base = Preprocessing(224, 224, MEAN, STD)
    assert base.geometry == Preprocessing(224, 224, (0.5,) * 3, (0.5,) * 3).geometry
    others = [
        Preprocessing(224, 256, MEAN, STD),
        Preprocessing(192, 224, MEAN, STD),
        Preprocessing(224, 224, MEAN, STD, interpolation="bilinear"),
        Preprocessing(224, 224, MEAN, STD, resize_mode="squash"),
    ]
    assert len({base.geometry, *(other.geometry for other in others)}) == 5


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(1801, 2003), (1797, 1795)])
def test_scaled_decoding_does_not_shift(size: tuple[int, int], orientation: int) -> None:
    """A JPEG whose edges are no multiple of the scale gives the same pixels fast and as the reference, turned or not.

    Without the frame's factor the picture is stretched by the part of a pixel at its edge, and this fails.
    """
    smooth = scene(size[0] // 30, size[1] // 30).resize(size, Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    smooth.save(file, "JPEG", quality=95, exif=exif)
    preprocessing = Preprocessing(224, 224, MEAN, STD)
    fast = decode_image(file.getvalue(), DecodeOptions(), shortest=179)
    reference = decode_image(file.getvalue(), DecodeOptions(decode="reference"), shortest=179)
    assert max(fast.image.size) * 2 <= max(reference.image.size) + 1
    expected = upstream(reference.upright, preprocessing).astype(int)
    difference = np.abs(pixels(np.array(fast.image), fast.frame, preprocessing) - expected)
    shifted = np.abs(pixels(np.array(fast.image), Frame(*fast.image.size, 1, orientation), preprocessing) - expected)
    assert difference.mean() < 0.5
    assert difference.mean() < shifted.mean()
