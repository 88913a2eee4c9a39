"""Every mode of image becomes the RGB picture that people see, and hostile files become a reason."""

from __future__ import annotations

import io
import os
import random
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps, PngImagePlugin

from pixelmill.errors import ImageRejected
from pixelmill.images.colour import percentile
from pixelmill.images.decode import DecodeOptions, decode_image
from pixelmill.images.frame import Frame
from pixelmill.sources.files import FileChanged
from pixelmill.sources.local import read_file
from tests.support.scenes import EIGHT_BIT, encoded, scene

UPSTREAM = DecodeOptions(decode="reference", exif_orientation=False, background="none")


def decoded(data: bytes, options: DecodeOptions = UPSTREAM, shortest: int | None = None) -> np.ndarray[Any, Any]:
    result = decode_image(data, options, shortest=shortest)
    assert result.image.mode == "RGB"
    return np.asarray(result.image)


def reason(data: bytes, options: DecodeOptions | None = None) -> str:
    with pytest.raises(ImageRejected) as caught:
        decode_image(data, options or DecodeOptions(), shortest=224)
    assert caught.value.stage == "decode"
    return caught.value.reason


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def header(width: int, height: int, bits: int = 8, colour: int = 2) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)


@pytest.mark.parametrize("kind", EIGHT_BIT)
def test_reference_is_pillows_own(kind: str) -> None:
    """As stored and with hidden colours, any 8-bit file gives exactly `Image.open(file).convert("RGB")`, frame 0."""
    data = EIGHT_BIT[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decoded(data), theirs)


@pytest.mark.parametrize("share", [1, 99])
def test_percentiles_are_numpys(share: int) -> None:
    """Of any number of samples, to the bit."""
    random = np.random.default_rng(share)
    for count in range(1, 300):
        samples = random.normal(size=count) * 10.0 ** (count % 9)
        assert percentile(samples, share) == np.percentile(samples, share)


@pytest.mark.parametrize("kind", EIGHT_BIT)
def test_size_is_the_files(kind: str) -> None:
    """Width and height are those of the file."""
    result = decode_image(EIGHT_BIT[kind], DecodeOptions(), shortest=8)
    assert result.frame.size == (97, 64)


@pytest.mark.parametrize("kind", ["png palette transparent", "png rgba", "png la", "png rgb with tRNS"])
def test_transparency_is_over_white(kind: str) -> None:
    """Transparent pixels are white and half-transparent ones half white, as Pillow composites them."""
    rgba = Image.open(io.BytesIO(EIGHT_BIT[kind])).convert("RGBA")
    white = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    ours = decoded(EIGHT_BIT[kind], DecodeOptions(decode="reference"))
    assert np.abs(ours.astype(int) - np.asarray(white)).max() <= 1
    assert not np.array_equal(ours, decoded(EIGHT_BIT[kind]))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(format: str, orientation: int) -> None:
    """All eight EXIF orientations come out upright as `exif_transpose` makes them, with width and height that fit."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(scene(), format, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    result = decode_image(data, DecodeOptions(decode="reference"), shortest=None)
    assert np.array_equal(np.asarray(result.upright), upright)
    assert result.frame.size == result.upright.size == ((64, 97) if orientation >= 5 else (97, 64))


def test_broken_exif_does_not_cost_the_picture() -> None:
    """EXIF that cannot be read counts as upright."""
    data = encoded(scene(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40)
    assert decoded(data, DecodeOptions()).shape == (64, 97, 3)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled(format: str) -> None:
    """A 16-bit ramp becomes an 8-bit ramp. Pillow's own conversion clips it to white."""
    ramp = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    ours = decoded(encoded(Image.fromarray(ramp), format))
    assert np.abs(ours[..., 0].astype(int) - np.arange(256).reshape(16, 16)).max() <= 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.linspace(0, 1, 64, dtype=np.float32), 255),
        (np.linspace(0, 255, 64, dtype=np.float32), 255),
        (np.linspace(0, 1e6, 64, dtype=np.float32), 255),
        (np.linspace(-3, 5, 64, dtype=np.float32), 5 + 3),
        (np.array([np.nan] * 32 + [np.inf] * 32, dtype=np.float32), 0),
        (np.linspace(0, 2**31 - 1, 64).astype(np.int32), 255),
        (np.zeros(64, dtype=np.int32), 0),
    ],
)
def test_32_bit_grey_is_scaled(values: np.ndarray[Any, Any], expected: int) -> None:
    """Float and 32-bit grey keep their order and use the range, whatever their full scale; NaN is black."""
    ours = decoded(encoded(Image.fromarray(values.reshape(8, 8)), "TIFF"))[..., 0].ravel()
    assert (np.diff(ours.astype(int)) >= 0).all()
    assert ours.max() == expected


def test_cmyk_is_not_inverted() -> None:
    """Adobe's inverted CMYK JPEG comes out as it looks."""
    ours = decoded(EIGHT_BIT["jpeg cmyk"]).astype(int)
    assert np.abs(ours - np.asarray(scene().convert("CMYK").convert("RGB"))).mean() < 6


def test_fast_scales_jpegs_and_leaves_the_rest() -> None:
    """A large JPEG comes with fewer pixels, never less than five times what is needed; a PNG does not."""
    picture = scene(2400, 1801)
    jpeg, lossless = encoded(picture, "JPEG"), encoded(picture, "PNG", compress_level=1)
    fast = decode_image(jpeg, DecodeOptions(), shortest=180)
    assert fast.image.size == (1200, 901)
    assert fast.frame == Frame(2400, 1801, factor=2)
    assert decode_image(jpeg, DecodeOptions(), shortest=181).image.size == (2400, 1801)
    assert decode_image(jpeg, DecodeOptions(), shortest=90).image.size == (600, 451)
    assert decode_image(jpeg, DecodeOptions(), shortest=None).image.size == (2400, 1801)
    assert decode_image(jpeg, DecodeOptions(decode="reference"), shortest=180).image.size == (2400, 1801)
    assert np.array_equal(decoded(lossless, DecodeOptions(), 180), np.asarray(picture))


@pytest.mark.parametrize(
    ("mode", "subsampling", "width"),
    [
        ("RGB", "4:2:0", 300),
        ("RGB", "4:2:2", 1200),
        ("RGB", "4:4:4", 1200),
        ("L", "4:4:4", 1200),
        ("CMYK", "4:4:4", 1200),
    ],
)
def test_fast_scales_subsampled_colour_only(mode: str, subsampling: str, width: int) -> None:
    """JPEGs with all their colour, or none, lose more of the cosine by being scaled: they are decoded in full."""
    jpeg = encoded(scene(1200, 1000).convert(mode), "JPEG", subsampling=subsampling)
    assert decode_image(jpeg, DecodeOptions(), shortest=50).image.width == width


def test_threads_agree() -> None:
    """Many threads at once decode the same as one."""
    expected = {kind: decoded(data) for kind, data in EIGHT_BIT.items()}
    with ThreadPoolExecutor(8) as pool:
        for kind, ours in pool.map(lambda kind: (kind, decoded(EIGHT_BIT[kind])), list(EIGHT_BIT) * 8):
            assert np.array_equal(ours, expected[kind])


def test_pillow_is_left_as_it_was() -> None:
    """No limit of Pillow that a host program may have set is changed, and none of them decides."""
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("error")
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        assert decoded(EIGHT_BIT["png"]).shape == (64, 97, 3)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK)


def test_pixel_bombs_are_refused_before_they_are_decoded() -> None:
    """169 megapixels in 20 kB, 60,000 by 1, and more pixels than allowed: refused by their headers."""
    rows = zlib.compress(b"\0" * (13000 * (13000 // 8 + 1)), 9)
    bomb = png(header(13000, 13000, bits=1, colour=0), (b"IDAT", rows), (b"IEND", b""))
    assert len(bomb) < 25_000
    assert "decompression bomb" in reason(bomb)
    assert "60000" in reason(encoded(Image.new("L", (1, 60000)), "PNG"))
    assert "at most 1,000 pixels" in reason(EIGHT_BIT["jpeg"], DecodeOptions(max_pixels=1000))


def test_large_pictures_that_are_none_too_large_are_decoded() -> None:
    """A real 54-megapixel picture is no bomb."""
    data = encoded(scene().resize((9000, 6000)), "JPEG", quality=60)
    assert decode_image(data, DecodeOptions(), shortest=224).frame.size == (9000, 6000)


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP", b"iTXt"])
@pytest.mark.parametrize("late", [False, True])
def test_metadata_bombs_do_not_cost_the_picture(kind: bytes, late: bool) -> None:
    """A text or profile that unpacks to 100 MB is not unpacked, and the picture is embedded."""
    packed = zlib.compress(b"\0" * 100_000_000, 9)
    bomb = (kind, b"x\0\1\0\0\0" + packed if kind == b"iTXt" else b"x\0\0" + packed)
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in np.asarray(scene())))
    picture = (b"IDAT", rows)
    data = png(header(97, 64), *([picture, bomb] if late else [bomb, picture]), (b"IEND", b""))
    assert np.array_equal(decoded(data, DecodeOptions()), np.asarray(scene()))


@pytest.mark.parametrize(
    "kind", ["jpeg", "jpeg progressive 4:4:4", "png", "webp", "avif", "tiff lzw", "bmp", "jpeg 2000"]
)
def test_truncated_files_are_refused(kind: str) -> None:
    """A file cut in the middle is refused, not padded with grey."""
    data = EIGHT_BIT[kind]
    words = reason(data[: len(data) // 2])
    assert "cut off" in words or "damaged" in words


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", EIGHT_BIT)
def test_flipped_bits_are_a_picture_or_a_reason(kind: str) -> None:
    """Whatever bits flip, what comes is an RGB picture or ImageRejected, and nothing else."""
    chance = random.Random(kind)
    for _ in range(60):
        data = bytearray(EIGHT_BIT[kind])
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            assert decode_image(bytes(data), DecodeOptions(), shortest=32).image.mode == "RGB"
        except ImageRejected:
            continue


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>404", "HTML text"),
        (b"\n<html>", "HTML text"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "EPS is never opened"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "cut off|damaged"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "video"),
        (b"<?xml version='1.0'?><svg/>", "XML"),
        (b"<svg xmlns=''>", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"\0" * 4096, "zero bytes"),
        (b"hello, world", "text"),
        (bytes(range(200, 256)), "unknown format"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"8BPS\0\1", "cut off"),
        (b"\xff\xd8\xff", "cut off|damaged"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, words: str) -> None:
    """The reason says what the file really is, or what to do about it."""
    with pytest.raises(ImageRejected, match=words):
        decode_image(data, DecodeOptions(), shortest=224)


def test_previews_of_camera_raw_are_not_taken_for_the_photograph() -> None:
    """A TIFF whose first image is a reduced one (NEF, ARW, DNG) is refused: its thumbnail is not the picture."""
    data = encoded(scene(), "TIFF", tiffinfo={254: 1})
    assert "this camera's raw" in reason(data)


def test_files_are_read_whole(tmp_path: Path) -> None:
    """The very bytes come back, up to the limit."""
    (tmp_path / "a").write_bytes(os.urandom(100_000))
    assert read_file(str(tmp_path / "a"), max_bytes=100_000) == (tmp_path / "a").read_bytes()
    with pytest.raises(ImageRejected, match="at most 99,999 bytes"):
        read_file(str(tmp_path / "a"), max_bytes=99_999)


@pytest.mark.timeout(10)
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """Pipes, devices and folders are refused without waiting; a missing file is the caller's FileNotFoundError."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "empty.jpg").touch()
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero"), tmp_path, tmp_path / "empty.jpg"):
        with pytest.raises(ImageRejected) as caught:
            read_file(str(path), max_bytes=1000)
        assert caught.value.stage == "read"
    with pytest.raises(FileNotFoundError):
        read_file(str(tmp_path / "gone.jpg"), max_bytes=1000)


def test_files_that_change_while_read_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that grows, shrinks or is rewritten during the read raises FileChanged, which a retry may cure."""
    path = tmp_path / "a.jpg"
    read = os.read
    for change in (
        lambda: path.write_bytes(b"x" * 500),
        lambda: path.write_bytes(b"x" * 50),
        lambda: os.utime(path, ns=(1, 1)),
    ):
        path.write_bytes(b"y" * 100)

        def meddled(descriptor: int, size: int, change: Any = change) -> bytes:
            data = read(descriptor, size)
            change()
            return data

        monkeypatch.setattr(os, "read", meddled)
        with pytest.raises(FileChanged, match=r"a\.jpg"):
            read_file(str(path), max_bytes=1000)
        monkeypatch.undo()


def test_large_pictures_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures over LARGE are decoded by one thread at a time; the others are not held up."""
    from pixelmill.images import decode

    monkeypatch.setattr(decode, "LARGE", 5000)
    inside, most, lock = [0], [0], threading.Lock()
    original = decode._decoded

    def counted(*given: Any) -> decode.Decoded:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        try:
            return original(*given)
        finally:
            with lock:
                inside[0] -= 1

    monkeypatch.setattr(decode, "_decoded", counted)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: decoded(EIGHT_BIT["avif"]), range(16)))
    assert most == [1]
