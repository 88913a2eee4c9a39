"""Camera raw is its preview where that has the pixels that a model needs, else what LibRaw develops, upright either way."""

from __future__ import annotations

import io
import random
import struct

import numpy as np
import pytest
import rawpy
from PIL import Image, ImageOps

from pixelmill.errors import ImageRejected
from pixelmill.images.decode import Decoded, DecodeOptions, decode_image
from pixelmill.images.directories import directories
from pixelmill.images.sandbox import decode_in_sandbox
from tests.support.raws import dng
from tests.support.scenes import encoded, scene

FAST, REFERENCE = DecodeOptions(), DecodeOptions(decode="reference")


def photograph(width: int = 640, height: int = 480) -> Image.Image:
    return scene(24, 16).resize((width, height), Image.Resampling.BICUBIC)


def decoded(data: bytes, options: DecodeOptions = FAST, shortest: int | None = 100) -> Decoded:
    return decode_image(data, options, shortest=shortest)


def reason(data: bytes) -> str:
    with pytest.raises(ImageRejected) as caught:
        decoded(data)
    return caught.value.reason


def other() -> Image.Image:
    """A preview that can be told from the picture."""
    return ImageOps.invert(photograph(320, 240))


def test_a_development_is_libraws() -> None:
    """Without a preview it is LibRaw's half-size development with the camera's white balance, and near the picture."""
    data = dng(photograph())
    made = decoded(data)
    with rawpy.imread(io.BytesIO(data)) as raw:
        theirs = raw.postprocess(half_size=True, use_camera_wb=True, gamma=(2.4, 12.92))
    assert np.array_equal(np.asarray(made.upright), theirs)
    assert (made.made, made.format, made.frame.size, made.frame.factor) == ("developed", "DNG", (640, 480), 2)
    assert np.corrcoef(theirs.ravel(), np.asarray(photograph(320, 240)).ravel())[0, 1] > 0.98


def test_white_is_what_the_camera_says() -> None:
    """A grey picture that a sensor saw greenish is grey."""
    grey = Image.merge("RGB", [photograph().convert("L")] * 3)
    made = np.asarray(decoded(dng(grey, neutral=(0.5, 1, 0.7))).image).astype(int)
    assert np.abs(made - made.mean(axis=-1, keepdims=True)).mean() < 4


@pytest.mark.parametrize(
    ("options", "shortest", "made"),
    [
        (FAST, 100, "preview"),
        (FAST, 120, "preview"),
        (FAST, 121, "developed"),
        (FAST, None, "preview"),
        (REFERENCE, 100, "preview"),
    ],
)
def test_a_preview_is_taken_if_it_has_the_pixels(options: DecodeOptions, shortest: int | None, made: str) -> None:
    """Twice what the model resizes to, or, by reference, as many as the development has."""
    found = decoded(dng(photograph(), preview=other()), options, shortest)
    assert found.made == made
    seen = other() if made == "preview" else photograph(320, 240)
    assert np.corrcoef(np.asarray(found.image).ravel(), np.asarray(seen).ravel())[0, 1] > 0.98


def test_by_reference_a_small_preview_is_none() -> None:
    """What scales nothing down takes no preview of fewer pixels than the development has."""
    assert decoded(dng(photograph(), preview=other().resize((310, 232))), REFERENCE, 100).made == "developed"
    assert decoded(dng(photograph(), preview=other().resize((310, 232))), FAST, 100).made == "preview"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("with_preview", [False, True])
def test_raws_own_orientation(orientation: int, with_preview: bool) -> None:
    """The raw's orientation turns the development and the preview, which is stored like it, once."""
    small = photograph(320, 240)
    data = dng(photograph(), preview=small if with_preview else None, orientation=orientation)
    small.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(small)
    found = decoded(data)
    assert found.made == ("preview" if with_preview else "developed")
    assert found.upright.size == upright.size
    assert np.corrcoef(np.asarray(found.upright).ravel(), np.asarray(upright).ravel())[0, 1] > 0.98
    as_stored = decoded(data, DecodeOptions(exif_orientation=False))
    assert np.array_equal(np.asarray(as_stored.upright), np.asarray(found.image))


def test_a_preview_that_is_upright_already_is_not_turned() -> None:
    """One whose edges are those of the upright picture is left as it is."""
    upright = photograph(240, 320)
    found = decoded(dng(photograph(), preview=upright, orientation=6))
    assert found.made == "preview"
    assert np.corrcoef(np.asarray(found.upright).ravel(), np.asarray(upright).ravel())[0, 1] > 0.98


def test_how_it_was_made_comes_out_of_the_sandbox() -> None:
    """With the facts of the raw file itself."""
    for preview, made in ((other(), "preview"), (None, "developed")):
        found = decode_in_sandbox(dng(photograph(), preview=preview), FAST, shortest=100, wanted=[], facts=True)
        assert found.made == made
        assert found.facts is not None
        assert (found.facts["format"], found.facts["camera"]) == ("DNG", "Test Camera")


def test_a_tiff_of_a_picture_is_no_raw() -> None:
    """What describes no sensor is the picture that it is, also with a camera's name in it."""
    made = decoded(encoded(photograph(), "TIFF", tiffinfo={271: "NIKON"}))
    assert (made.format, made.made) == ("TIFF", "")


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("with_preview", [False, True])
def test_cut_off_files_are_refused(part: float, with_preview: bool) -> None:
    """A raw file that ends early is no half picture."""
    data = dng(photograph(), preview=other() if with_preview else None)
    assert "cut off" in reason(data[: int(part * len(data))])


def test_files_that_were_never_wholly_copied_are_refused() -> None:
    """Zeros where the sensor's rows should be are no black bar."""
    data = dng(photograph())
    assert "cut off" in reason(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))


def test_a_damaged_preview_is_none() -> None:
    """The raw is developed then."""
    data = bytearray(dng(photograph(), preview=other()))
    at = data.index(b"\xff\xda")
    data[at + 2000 : at + 3000] = bytes(1000)
    assert decoded(bytes(data)).made == "developed"


def test_a_size_that_lies_is_refused_by_the_header() -> None:
    """Of 60,000 by 60,000 pixels nothing is decoded."""
    data = dng(photograph())
    for tag in (256, 257):
        at = (
            data.index(struct.pack("<HHI", tag, 4, 1))
            if struct.pack("<HHI", tag, 4, 1) in data
            else data.index(struct.pack("<HHI", tag, 3, 1))
        )
        data = data[: at + 2] + struct.pack("<HII", 4, 1, 60_000) + data[at + 12 :]
    assert "at most" in reason(data) or "not supported" in reason(data).lower()


@pytest.mark.parametrize(
    "head",
    [
        b"IIU\0",
        b"IIRO",
        b"MMOR",
        b"FUJIFILMCCD-RAW 0201",
        b"II*\0\x10\0\0\0CR\2\0",
        b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    ],
)
def test_what_libraw_does_not_know_is_told(head: bytes) -> None:
    """A head of a camera's format with nothing behind it costs that file."""
    assert reason(head + bytes(2000))


@pytest.mark.parametrize("seed", range(30))
def test_flipped_bits_cost_one_picture(seed: int) -> None:
    """Whatever bits flip in the head, in the sandbox a picture comes or a reason in words."""
    choose = random.Random(seed)
    data = bytearray(dng(photograph(64, 48), preview=photograph(32, 24) if seed % 2 else None))
    for _ in range(choose.randint(1, 6)):
        data[choose.randrange(min(700, len(data)))] ^= 1 << choose.randrange(8)
    try:
        decode_in_sandbox(bytes(data), DecodeOptions(max_seconds=20), shortest=32, wanted=[])
    except ImageRejected as rejected:
        words = rejected.reason
        assert words


def test_directories_are_tifffiles() -> None:
    """The integers and texts of each directory, also of those below another."""
    import tifffile

    data = dng(photograph(), preview=other())
    ours = list(directories(data))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        pages = [file.pages[0], *file.pages[0].pages]  # type: ignore[union-attr]
        assert [tags[256][0] for tags in ours] == [page.imagewidth for page in pages]  # type: ignore[union-attr]
    assert bytes(ours[0][271]).rstrip(b"\0") == b"Test"
