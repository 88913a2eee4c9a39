"""Photographs of phones: tiles, turns, mirrors and colours of HEIF come out as libheif and the standard say, damage costs the picture."""

from __future__ import annotations

import io
import random

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, ImageOps

from pixelmill.errors import ImageRejected
from pixelmill.images import profiles
from pixelmill.images.decode import Decoded, DecodeOptions, decode_image
from pixelmill.images.sandbox import decode_in_sandbox
from tests.support.heic import coded, grid, icc, imir, irot, nclx, several
from tests.support.scenes import scene

P3 = profiles.icc_of(((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.3127, 0.3290)))


def smooth(width: int = 192, height: int = 128) -> Image.Image:
    """Without fine structure, which HEVC's subsampled colour would blur."""
    return scene(24, 16).resize((width, height), Image.Resampling.BICUBIC)


def decoded(data: bytes, options: DecodeOptions | None = None) -> Decoded:
    return decode_image(data, options or DecodeOptions(), shortest=None)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decoded(data).upright).astype(int)


def reason(data: bytes) -> str:
    with pytest.raises(ImageRejected) as caught:
        decoded(data)
    return caught.value.reason


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("depth", [8, 10])
def test_pictures_are_libheifs(mode: str, depth: int) -> None:
    """Of 8 and 10 bits, in colour and grey, exactly what libheif decodes to 8 bits."""
    image = smooth().convert(mode)
    if depth == 10:
        array = np.asarray(image).astype(np.uint16) * 257
        image_file = io.BytesIO()
        pillow_heif.from_bytes("RGB;16" if mode == "RGB" else "L;16", image.size, array.tobytes()).save(
            image_file, quality=90
        )
        data = image_file.getvalue()
    else:
        data = coded(image)
    theirs = np.asarray(pillow_heif.open_heif(data, convert_hdr_to_8bit=True))
    if theirs.dtype == np.uint16:  # which libheif leaves grey
        theirs = (theirs / 257).round()
    assert np.abs(pixels(data) - (theirs if mode == "RGB" else theirs[..., None])).max() == 0
    assert decoded(data).format == "HEIC"


def test_tiles_are_one_picture() -> None:
    """A grid of tiles, as phones write it, is the picture, cut to its size."""
    image = smooth(200, 140)
    data = grid(image, 64)
    assert decoded(data).frame.size == (200, 140)
    assert np.abs(pixels(data) - np.asarray(image)).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_are_made_once(orientation: int) -> None:
    """irot and imir are carried out, and the EXIF orientation that says the same is not carried out again."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = coded(smooth(), exif=exif.tobytes())
    stored = smooth()
    stored.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(stored)).astype(int)
    assert pixels(data).shape == upright.shape
    assert np.abs(pixels(data) - upright).mean() < 3
    assert np.array_equal(np.asarray(decoded(data, DecodeOptions(exif_orientation=False)).upright), pixels(data))


@pytest.mark.parametrize(
    ("turn", "seen"),
    [
        (irot(1), lambda a: np.rot90(a)),
        (irot(3), lambda a: np.rot90(a, -1)),
        (imir(0), lambda a: a[::-1]),
        (imir(1), lambda a: a[:, ::-1]),
    ],
)
def test_turns_of_a_grid(turn: bytes, seen: object) -> None:
    """Each transformation does what ISO/IEC 23008-12 says; EXIF that contradicts it has no say."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = grid(smooth(), 64, turn, exif=exif.tobytes())
    assert np.abs(pixels(data) - seen(np.asarray(smooth()).astype(int))).mean() < 3  # type: ignore[operator]


@pytest.mark.parametrize("way", ["icc", "nclx"])
def test_display_p3_becomes_srgb(way: str) -> None:
    """The wide colours of phones come out as littleCMS makes sRGB of them."""
    data = grid(smooth(), 64, icc(P3) if way == "icc" else nclx(12, 13))
    plain = Image.fromarray(pixels(grid(smooth(), 64)).astype(np.uint8))
    theirs = ImageCms.profileToProfile(plain, ImageCms.ImageCmsProfile(io.BytesIO(P3)), ImageCms.createProfile("sRGB"))
    assert theirs is not None
    assert np.abs(pixels(data) - np.asarray(theirs)).max() <= 2
    assert np.abs(pixels(data) - np.asarray(plain)).max() > 20


def test_a_broken_profile_costs_itself() -> None:
    """A profile that nothing can read leaves the colours as they are."""
    assert np.array_equal(pixels(grid(smooth(), 64, icc(b"nonsense" * 20))), pixels(grid(smooth(), 64)))


@pytest.mark.parametrize("transfer", [profiles.PQ, profiles.HLG])
def test_brighter_than_white_is_brought_down(transfer: int) -> None:
    """A grey ramp in PQ or HLG stays grey, keeps its order, and uses the range of sRGB."""
    ramp = np.repeat(np.linspace(0, 255, 128).astype(np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    row = pixels(grid(Image.fromarray(ramp), 64, nclx(9, transfer)))[32]
    assert np.abs(row - row[:, :1]).max() <= 4
    assert (np.diff(row[:, 1]) >= -3).all()
    assert row[0].max() <= 3
    assert row[-1].min() >= 250


def test_200_nits_are_white() -> None:
    """What is dark keeps its light: 50 nits in PQ, of white paper's 203, are that share of sRGB's white."""
    code = 0.4403  # ITU-R BT.2100: 50 cd/m2
    grey = np.full((1, 1, 3), round(code * 65535), np.uint16)
    assert (
        abs(
            int(profiles.toned(grey, profiles.chromaticities_of(1), profiles.PQ)[0, 0, 0])
            - 255 * (1.055 * (50 / 203) ** (1 / 2.4) - 0.055)
        )
        <= 2
    )


def test_transparency_is_over_white() -> None:
    """Alpha shows the background, as in other formats."""
    rgba = smooth()
    rgba.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 192).astype(np.uint8), (128, 1))))
    data = coded(rgba)
    theirs = pillow_heif.open_heif(data).to_pillow()
    white = Image.alpha_composite(Image.new("RGBA", theirs.size, "white"), theirs).convert("RGB")
    assert np.abs(pixels(data) - np.asarray(white)).max() <= 1


def test_the_main_picture_of_several() -> None:
    """A burst gives the picture that it says is the main one, and their number."""
    data = several([smooth(), smooth().rotate(180)], main=1)
    assert decoded(data).frames == 2
    assert np.abs(pixels(data) - np.asarray(smooth().rotate(180))).mean() < 3


@pytest.mark.parametrize("part", [0.05, 0.3, 0.6, 0.97])
def test_cut_off_files_are_refused(part: float) -> None:
    """A file that ends early, or of which a part was never copied, is no half picture."""
    for data in (coded(smooth()), grid(smooth(), 64)):
        end = int(part * len(data))
        words = reason(data[:end])
        assert "cut off" in words or "damaged" in words
        if part > 0.5:
            assert "cut off" in reason(data[:end] + bytes(len(data) - end + 64))


def test_a_size_that_lies_is_refused_by_the_header() -> None:
    """A grid of a claimed gigapixel is never decoded."""
    assert "at most" in reason(grid(smooth(64, 64), 64, shown=(40_000, 40_000)))
    assert reason(grid(smooth(64, 64), 64, shown=(9_000, 9_000)))


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bits_cost_one_picture(seed: int) -> None:
    """Whatever bits flip, in the sandbox a picture comes or a reason in words."""
    choose, data = random.Random(seed), bytearray(grid(smooth(64, 48), 32) if seed % 2 else coded(smooth(64, 48)))
    for _ in range(choose.randint(1, 6)):
        data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
    try:
        decode_in_sandbox(bytes(data), DecodeOptions(max_seconds=20), shortest=32, wanted=[])
    except ImageRejected as rejected:
        words = rejected.reason
        assert words
