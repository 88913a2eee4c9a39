"""Photoshop documents, icons, Targas, QOI, DDS and Radiance HDR: as other readers see them, and refused when damaged."""

from __future__ import annotations

import io
import random
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms

from pixelmill.errors import ImageRejected
from pixelmill.images import profiles
from pixelmill.images.decode import Decoded, DecodeOptions, decode_image
from pixelmill.images.sandbox import decode_in_sandbox
from pixelmill.sources.formats import kind_of, sniff
from tests.support.documents import BITMAP, CMYK, GREY, INDEXED, LAB, RGB, icon, icon_bitmap, psd
from tests.support.pictures import reinhard
from tests.support.scenes import encoded, scene

Array = np.ndarray[Any, Any]
PICTURE = np.asarray(scene())
GREYS = np.asarray(scene().convert("L"))
ALPHA = np.tile(np.linspace(0, 255, 97).astype(np.uint8), (64, 1))
SQUARE = np.asarray(scene(48, 48))
LIGHT = ((PICTURE / 255) ** 2.2 * 40).astype(np.float32)


def decoded(data: bytes) -> Decoded:
    return decode_image(data, DecodeOptions(), shortest=None)


def pixels(data: bytes) -> Array:
    return np.asarray(decoded(data).upright).astype(int)


def reason(data: bytes) -> str:
    with pytest.raises(ImageRejected) as caught:
        decoded(data)
    return caught.value.reason


def planes(array: Array) -> list[Array]:
    return list(np.atleast_3d(array).transpose(2, 0, 1))


def hdr(light: Array = LIGHT) -> bytes:
    found, coded = cv2.imencode(".hdr", light[..., ::-1])
    assert found
    return coded.tobytes()


GOOD = {
    "PSD": psd(planes(PICTURE), RGB, packed=True),
    "ICO": icon([((48, 48), icon_bitmap(np.dstack([SQUARE, np.full((48, 48), 255, np.uint8)])))]),
    "QOI": bytes(imagecodecs.qoi_encode(PICTURE)),
    "DDS": encoded(scene(), "DDS"),
    "Radiance HDR": hdr(),
    "TGA": encoded(scene(), "TGA", compression="tga_rle"),
}


@pytest.mark.parametrize("kind", GOOD)
def test_formats_are_known_by_their_content(kind: str) -> None:
    """Whatever the file is called."""
    assert kind_of(GOOD[kind]) == decoded(GOOD[kind]).format == kind


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("big", [False, True])
def test_documents_in_colour_and_grey(packed: bool, big: bool) -> None:
    """Of 8 and 16 bits, in run lengths or not, in documents and large ones: the channels that were written."""
    how: dict[str, Any] = {"packed": packed, "big": big}
    for array, mode in ((PICTURE, RGB), (GREYS, GREY)):
        seen = array if mode == RGB else array[..., None].repeat(3, axis=2)
        assert np.array_equal(pixels(psd(planes(array), mode, **how)), seen)
        assert np.array_equal(pixels(psd(planes(array.astype(np.uint16) * 257), mode, depth=16, **how)), seen)
        if not big:
            theirs = Image.open(io.BytesIO(psd(planes(array), mode, **how))).convert("RGB")
            assert np.array_equal(np.asarray(theirs), seen)


def test_documents_of_light() -> None:
    """32 bits are light: by the curve of sRGB."""
    light = np.where(PICTURE / 255 <= 0.04045, PICTURE / 255 / 12.92, ((PICTURE / 255 + 0.055) / 1.055) ** 2.4)
    assert np.abs(pixels(psd(planes(light), RGB, depth=32)) - PICTURE).max() <= 1


def test_documents_of_other_colours() -> None:
    """CMYK, L*a*b*, palettes and bits: as Pillow and littleCMS see them."""
    inks = np.asarray(scene().convert("CMYK"))
    assert np.abs(pixels(psd(planes(255 - inks), CMYK)) - np.asarray(scene().convert("CMYK").convert("RGB"))).max() <= 1
    lab = ImageCms.profileToProfile(
        scene(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    bands = [np.asarray(band) for band in lab.split()]
    assert np.abs(pixels(psd(bands, LAB)) - PICTURE).mean() < 2
    few = scene().quantize(256)
    palette = np.zeros((256, 3), np.uint8)
    used = np.array(few.getpalette(), np.uint8).reshape(-1, 3)
    palette[: len(used)] = used
    assert np.array_equal(
        pixels(psd([np.asarray(few)], INDEXED, palette=palette.T.tobytes())), np.asarray(few.convert("RGB"))
    )
    bits = np.random.default_rng(1).integers(0, 256, (64, 12), np.uint8)
    assert np.array_equal(pixels(psd([bits], BITMAP, depth=1))[..., 0], 255 - 255 * np.unpackbits(bits, axis=1))


def test_transparency_and_selections_of_documents() -> None:
    """A channel behind the colours is transparency if the layers say so, else it is left out."""
    with_alpha = [*planes(PICTURE), ALPHA]
    share = ALPHA[..., None] / 255
    assert np.abs(pixels(psd(with_alpha, RGB, alpha=True)) - (PICTURE * share + 255 * (1 - share))).max() <= 1
    assert np.array_equal(pixels(psd(with_alpha, RGB)), PICTURE)


def test_profiles_of_documents_are_applied() -> None:
    """Display P3 becomes sRGB, as littleCMS makes it."""
    p3 = profiles.icc_of(profiles.chromaticities_of(12))
    theirs = ImageCms.profileToProfile(
        scene(), ImageCms.ImageCmsProfile(io.BytesIO(p3)), ImageCms.createProfile("sRGB")
    )
    assert np.array_equal(pixels(psd(planes(PICTURE), RGB, resources={1039: p3})), np.asarray(theirs))


def test_a_document_without_its_picture_is_refused() -> None:
    """Saved for layers alone, it holds a white page."""
    assert "maximal compatibility" in reason(psd(planes(PICTURE), RGB, resources={1057: b"\0\0\0\1\0" + bytes(12)}))
    assert "colour mode 7" in reason(psd(planes(PICTURE), 7))


def test_icons_are_their_largest_picture() -> None:
    """Of PNGs and bitmaps, over white; how many there are is told."""
    small, rgba = encoded(scene(16, 16), "PNG"), np.dstack([SQUARE, ALPHA[:48, :48]])
    for large in (encoded(Image.fromarray(rgba), "PNG"), icon_bitmap(rgba)):
        data = icon([((16, 16), small), ((48, 48), large), ((16, 16), small)])
        share = rgba[..., 3:] / 255
        assert np.abs(pixels(data) - (SQUARE * share + 255 * (1 - share))).max() <= 1
        assert decoded(data).frames == 3


def test_an_icon_that_lies_of_its_size_is_refused() -> None:
    """What counts is what the picture in it says: no bomb hides behind an entry of 16 pixels."""
    bomb = encoded(Image.new("1", (30_000, 30_000)), "PNG")
    assert "Expected at most" in reason(icon([((16, 16), bomb)])) or "bomb" in reason(icon([((16, 16), bomb)]))
    bitmap = bytearray(icon_bitmap(np.dstack([SQUARE, SQUARE[..., :1]])))
    bitmap[4:12] = (40_000).to_bytes(4, "little") + (80_000).to_bytes(4, "little")
    assert "Expected at most" in reason(icon([((16, 16), bytes(bitmap))]))


@pytest.mark.parametrize("how", [{}, {"compression": "tga_rle"}, {"orientation": 1}])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_targas_are_pillows(mode: str, how: dict[str, Any]) -> None:
    """Plain and in run lengths, from the top and from the bottom, also without the signature of version 2."""
    image = scene().convert(mode) if mode != "P" else scene().quantize(200)
    data = encoded(image, "TGA", **how)
    theirs = np.asarray(image.convert("RGB"))
    assert np.array_equal(pixels(data), theirs)
    assert np.array_equal(pixels(data[:-26]), theirs)
    assert sniff(data[:256]) is None


@pytest.mark.parametrize("seed", range(5))
def test_other_binary_files_are_no_targas(seed: int) -> None:
    """Neither noise, nor zeros with some numbers, nor what begins like one but has fields that none has."""
    noise = random.Random(seed)
    assert kind_of(noise.randbytes(4000)) is None
    assert kind_of(bytes(4000)) is None
    head = bytearray(encoded(scene(), "TGA")[:-26])
    for at, value in ((1, 7), (2, 5), (16, 12), (17, 0xC0), (5, 9)):
        changed = bytes(head[:at]) + bytes([value]) + bytes(head[at + 1 :])
        assert kind_of(changed) is None


@pytest.mark.parametrize("array", [PICTURE, np.dstack([PICTURE, np.full((64, 97), 255, np.uint8)])])
def test_qoi_is_pillows(array: Array) -> None:
    """With and without alpha."""
    data = bytes(imagecodecs.qoi_encode(array))
    assert np.array_equal(pixels(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("how", [{}, {"pixel_format": "DXT1"}, {"pixel_format": "DXT5"}])
def test_textures_are_as_another_reader_sees_them(how: dict[str, Any]) -> None:
    """Plain and in blocks."""
    image = scene(96, 64).convert("RGBA") if how else scene(96, 64)
    data = encoded(image, "DDS", **how)
    theirs = (
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) if not how else imagecodecs.dds_decode(data)[..., :3]
    )
    assert np.abs(pixels(data) - theirs).max() <= 4


@pytest.mark.parametrize("scale", [1e-3, 1, 1e4])
def test_light_of_any_brightness_is_a_picture(scale: float) -> None:
    """The curve of Reinhard et al. of what OpenCV reads, whatever the unit of the light is."""
    data = hdr(LIGHT * np.float32(scale))
    light = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1].astype(np.float64)
    assert np.abs(pixels(data) - reinhard(light)).max() <= 1
    assert 80 < pixels(data).mean() < 180


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_cut_off_files_are_refused(kind: str, part: float) -> None:
    """None is shown half."""
    whole = GOOD[kind].removesuffix(GOOD[kind][-26:]) if kind == "TGA" else GOOD[kind]
    words = reason(whole[: int(part * len(whole))])
    assert "cut off" in words or "damaged" in words


def test_sizes_that_lie_are_refused_by_the_header() -> None:
    """A gigapixel in a few bytes is never decoded."""
    assert "at most" in reason(psd(planes(PICTURE), RGB, size=(30_000, 30_000)))
    assert "at most" in reason(GOOD["QOI"][:4] + (40_000).to_bytes(4, "big") * 2 + GOOD["QOI"][12:])
    assert "at most" in reason(GOOD["Radiance HDR"].replace(b"-Y 64 +X 97", b"-Y 40000 +X 40000"))
    assert "at most" in reason(GOOD["TGA"][:12] + b"\xff\xff\xff\xff" + GOOD["TGA"][16:])
    assert "at most" in reason(GOOD["DDS"][:12] + (40_000).to_bytes(4, "little") * 2 + GOOD["DDS"][20:])


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("seed", range(12))
def test_flipped_bits_cost_one_picture(kind: str, seed: int) -> None:
    """Whatever bits flip, in the sandbox a picture comes or a reason in words."""
    choose, data = random.Random(f"{kind}{seed}"), bytearray(GOOD[kind])
    for _ in range(choose.randint(1, 6)):
        data[choose.randrange(min(len(data), 300))] ^= 1 << choose.randrange(8)
    try:
        decode_in_sandbox(bytes(data), DecodeOptions(max_seconds=20), shortest=32, wanted=[])
    except ImageRejected as rejected:
        words = rejected.reason
        assert words
