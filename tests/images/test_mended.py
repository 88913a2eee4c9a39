"""Files with a fault that viewers overlook are pictures, with a note; files whose pixels are missing are not."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from pixelmill.errors import ImageRejected
from pixelmill.images import jpeg
from pixelmill.images.decode import Decoded, DecodeOptions, decode_image
from pixelmill.images.png import chunks
from tests.support.pictures import chunk, png, rows_of, tiff
from tests.support.scenes import encoded

SMOOTH = Image.fromarray(np.random.default_rng(3).integers(0, 256, (24, 32, 3), np.uint8)).resize((320, 240))
BASELINE = encoded(SMOOTH, "JPEG", quality=92)
JPEGS = {
    "baseline": BASELINE,
    "progressive": encoded(SMOOTH, "JPEG", quality=92, progressive=True),
    "grey": encoded(SMOOTH.convert("L"), "JPEG"),
    "restarts": encoded(SMOOTH, "JPEG", restart_marker_rows=1),
    "cmyk": encoded(SMOOTH.convert("CMYK"), "JPEG"),
}
CLOSED = {
    "no subsampling": encoded(SMOOTH, "JPEG", quality=92, subsampling=0),
    "scaled down": encoded(SMOOTH.resize((1280, 960)), "JPEG"),
}
SAMSUNG = (
    b"\0\0\x01\x0a\x0e\0\0\0Image_UTC_Data\0\0\0\x18ftypmp42"
    + np.random.default_rng(5).integers(0, 256, 20000, np.uint8).tobytes()
    + b"SEFHe\0\0\0SEFT"
)
TAILS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda body: body,
    "half a marker": lambda body: body + b"\xff",
    "zeros": lambda body: body + bytes(4096),
    "ones": lambda body: body + b"\xff" * 4096,
    "a trailer": lambda body: body + SAMSUNG,
    "another picture": lambda body: body + BASELINE,
}


def seen(data: bytes, **options: object) -> Decoded:
    return decode_image(data, DecodeOptions(**options), shortest=40)  # type: ignore[arg-type]


def same(one: Decoded, other: Decoded) -> bool:
    return one.frame == other.frame and one.image.tobytes() == other.image.tobytes()


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("kind", JPEGS)
def test_jpegs_complete_but_for_the_end_marker_are_taken(kind: str, tail: str) -> None:
    """Whatever is there instead of the marker, the picture is that of the whole file, and the fault is noted."""
    broken = seen(TAILS[tail](JPEGS[kind][:-2]))
    assert same(broken, seen(JPEGS[kind]))
    assert broken.note.startswith("JPEG with")


@pytest.mark.parametrize("end", ["", "zeros", "ones", "a trailer"])
@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
def test_jpegs_that_are_cut_off_are_refused(kind: str, share: float, end: str) -> None:
    """Some of the picture is missing, at whatever place, and with whatever padding: it is no picture."""
    cut = JPEGS[kind][: int(share * len(JPEGS[kind]))]
    with pytest.raises(ImageRejected, match=r"cut off|damaged"):
        seen(TAILS[end](cut) if end else cut)


@pytest.mark.parametrize("kind", [*JPEGS, "no subsampling", "scaled down"])
@pytest.mark.parametrize("share", [0.3, 0.5])
def test_jpegs_that_are_cut_off_and_closed_are_refused(kind: str, share: float) -> None:
    """An end marker behind half a picture, as webcams and repairs write it: libjpeg fills the rest with grey."""
    whole = CLOSED.get(kind) or JPEGS[kind]
    with pytest.raises(ImageRejected, match="cut off"):
        seen(whole[: int(share * len(whole))] + jpeg.END)


def test_jpegs_with_a_lost_part_between_restart_markers_are_refused() -> None:
    """Each part is sound, but there are too few of them, wherever the one was."""
    whole = JPEGS["restarts"]
    first, second = (whole.index(bytes([0xFF, marker])) for marker in (0xD1, 0xD2))
    last = max(whole.rindex(bytes([0xFF, marker])) for marker in range(0xD0, 0xD8) if bytes([0xFF, marker]) in whole)
    for cut in (whole[:first] + whole[second:], whole[:last] + jpeg.END, whole[:last]):
        with pytest.raises(ImageRejected, match="cut off"):
            seen(cut)


def test_jpegs_with_a_hole_are_refused() -> None:
    """Zeros in the middle, of a download into a file that was made in its full length; blank pages have zeros too."""
    middle = len(BASELINE) // 2
    with pytest.raises(ImageRejected, match="zeros stand where"):
        seen(BASELINE[:middle] + bytes(2048) + BASELINE[middle + 2048 :])
    for blank in (Image.new("RGB", (3000, 2000), "white"), Image.new("L", (3000, 2000), 128)):
        page = encoded(blank, "JPEG", optimize=True)
        assert not seen(page).note
        assert bytes(256) in page
    assert not seen(BASELINE[:20] + b"\xff\xe2\x08\x02" + bytes(2048) + BASELINE[20:]).note


def test_grey_pictures_are_no_cut_ones() -> None:
    """What libjpeg fills in may be what the picture shows."""
    half = SMOOTH.copy()
    half.paste((128, 128, 128), (0, 100, 320, 240))
    assert not any(
        seen(encoded(image, "JPEG", progressive=way)).note
        for image in (half, Image.new("RGB", (90, 70), (128, 128, 128)))
        for way in (False, True)
    )


def test_progressive_jpegs_without_their_last_scans_are_refused() -> None:
    """Cut between two scans, a picture of all its rows comes out, but a coarse one."""
    whole = JPEGS["progressive"]
    scan = whole.rindex(b"\xff\xda")
    tables = whole.rindex(b"\xff\xc4", 0, scan)
    with pytest.raises(ImageRejected, match="cut off"):
        seen(whole[:tables])


def spoiled(kind: bytes, body: bytes) -> bytes:
    whole = chunk(kind, body)
    return whole[:-1] + bytes([whole[-1] ^ 1])


PNG = png(rows_of(np.asarray(SMOOTH.resize((61, 47)))), 8, 2)
AFTER_HEADER = 33


@pytest.mark.parametrize(
    "extra",
    [
        spoiled(b"tEXt", b"Software\0x"),
        spoiled(b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
        spoiled(b"gAMA", struct.pack(">I", 45455)),
        spoiled(b"tRNS", bytes(6)),
        chunk(b"gAMA", b"\1"),
        chunk(b"cHRM", b"\1"),
        chunk(b"acTL", b"\0"),
        chunk(b"fcTL", b"\0"),
        chunk(b"tRNS", b"\0"),
        chunk(b"iCCP", b"profile\0\5zzz"),
    ],
    ids=lambda extra: extra[4:8].decode(),
)
def test_pngs_with_a_damaged_chunk_that_the_picture_does_not_need_are_taken(extra: bytes) -> None:
    """As libpng and browsers do: the chunk is left out and noted, in front of the picture or behind it."""
    early = seen(PNG[:AFTER_HEADER] + extra + PNG[AFTER_HEADER:])
    assert same(early, seen(PNG))
    assert early.note == "PNG with damaged metadata, which was left out"
    assert same(seen(PNG[:-12] + extra + PNG[-12:]), seen(PNG))


@pytest.mark.parametrize("cut", [2, 6, 12, 16])
def test_pngs_without_their_end_are_taken(cut: int) -> None:
    """All pixels are there; so they are if something follows."""
    assert same(seen(PNG[:-cut]), seen(PNG))
    assert same(seen(PNG + b"and more" * 99), seen(PNG))


def test_pngs_without_all_pixels_are_refused() -> None:
    """Cut in the picture, with a damaged chunk before it or not."""
    for data in (PNG, PNG[:AFTER_HEADER] + spoiled(b"tEXt", b"a\0b") + PNG[AFTER_HEADER:]):
        with pytest.raises(ImageRejected, match="cut off"):
            seen(data[:-300])
    with pytest.raises(ImageRejected, match="damaged"):
        seen(PNG[:20] + b"\1" + PNG[21:])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "1", "I;16"])
def test_pngs_whose_data_say_too_early_that_they_end_are_refused(mode: str) -> None:
    """Sound compressed data of half the rows; a picture whose last rows are black is none of these."""
    black = SMOOTH.copy()
    black.paste((0, 0, 0), (0, 120, 320, 240))
    image = black.convert("L").convert("I;16") if mode == "I;16" else black.convert(mode)
    whole = encoded(image, "PNG")
    rows = zlib.decompress(b"".join(bytes(found.body) for found in chunks(whole) if found.kind == b"IDAT"))
    start, end = whole.index(b"IDAT") - 4, whole.index(b"IEND") - 4
    assert not seen(whole).note
    with pytest.raises(ImageRejected, match="cut off"):
        seen(whole[:start] + chunk(b"IDAT", zlib.compress(rows[: len(rows) // 2])) + whole[end:])


def test_pngs_with_zeros_for_their_rest_are_refused() -> None:
    """They have their length, as files that were never wholly copied; a wrong checksum of sound rows is overlooked."""
    whole = encoded(SMOOTH, "PNG")
    half = len(whole) // 2
    for broken in (whole[:half] + bytes(len(whole) - half), whole[:half] + bytes(2000) + whole[half + 2000 :]):
        with pytest.raises(ImageRejected, match=r"zeros stand|damaged|cut off"):
            seen(broken)
    end = whole.index(b"IEND") - 8
    assert same(seen(whole[:end] + b"\0\0\0\0" + whole[end + 4 :]), seen(whole))


def test_avifs_with_zeros_for_their_rest_are_refused() -> None:
    """As these decode, something is seen; zeros behind the whole file, and pictures of one colour, are sound."""
    assert not seen(encoded(Image.new("RGB", (2000, 1000)), "AVIF")).note
    whole = encoded(SMOOTH, "AVIF")
    with pytest.raises(ImageRejected, match=r"cut off"):
        seen(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    assert same(seen(whole + bytes(4096)), seen(whole))


@pytest.mark.parametrize("packing", ["lzw", "zlib", "zstd", "jpeg"])
def test_tiffs_that_were_never_wholly_copied_are_refused(packing: str) -> None:
    """They have their length, and zeros for their second half; or strips of JPEG without their end."""
    whole = tiff(np.asarray(SMOOTH), photometric="rgb", compression=packing, rowsperstrip=240)
    with pytest.raises(ImageRejected, match="cut off"):
        seen(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    if packing == "jpeg":
        with pytest.raises(ImageRejected, match="cut off"):
            seen(whole[:-2])


@pytest.mark.parametrize("off", [-8, -2, -1, 1, 2, 1000])
def test_webps_of_another_length_than_they_say_are_taken(off: int) -> None:
    """Their chunks say how long they are; one whose picture is cut off is refused."""
    whole = encoded(SMOOTH, "WEBP")
    told = int.from_bytes(whole[4:8], "little") + off
    broken = whole[:4] + told.to_bytes(4, "little") + whole[8:]
    assert same(seen(broken), seen(whole))
    assert seen(broken).note == "WebP of another length than it says"
    with pytest.raises(ImageRejected):
        seen(broken[:-50])


def test_sound_files_have_no_note() -> None:
    """Notes are for faults."""
    assert not any(seen(data).note for data in (PNG, BASELINE, encoded(SMOOTH, "WEBP"), BASELINE + b"\0" * 99))


def scan(width: int, height: int) -> bytes:
    """A bilevel page with a few lines of print, fax 4."""
    page = np.full((height, width), 255, np.uint8)
    page[height // 4 : height // 3 : 40, width // 5 : width // 2] = 0
    return encoded(Image.fromarray(page).convert("1"), "TIFF", compression="group4")


def test_large_bilevel_scans_are_no_bombs() -> None:
    """108 megapixels of one bit in a few kilobytes take less than a photograph of 50: they are taken."""
    page = scan(12000, 9000)
    assert len(page) < 25_000
    started = time.monotonic()
    assert seen(page).frame.size == (12000, 9000)
    assert time.monotonic() - started < 20


def test_max_pixels_admits_what_looks_like_a_bomb() -> None:
    """By the header alone: pixels of one byte may be three times as many, and the setting raises all bounds."""
    rows = zlib.compress(bytes(20))
    header = struct.pack(">IIBBBBB", 20000, 15000, 1, 0, 0, 0, 0)
    page = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows)
    with pytest.raises(ImageRejected, match=r"decompression bomb.*max_pixels"):
        seen(page)
    with pytest.raises(ImageRejected, match=r"cut off|damaged"):
        seen(page, max_pixels=1_200_000_000)
    with pytest.raises(ImageRejected, match="at most 240,000,000 pixels"):
        seen(page, max_pixels=80_000_000)


def test_a_little_over_is_clipped_whichever_way_it_is_packed() -> None:
    """One sample in a hundred that reaches far beyond 1 darkens nothing."""
    values = np.tile(np.linspace(0, 1, 200, dtype=np.float32), (100, 1))
    values[0, :100] = 40.0
    shown = np.asarray(seen(tiff(values, photometric="minisblack")).image)[1:, :, 0]
    assert np.abs(shown.astype(int) - np.linspace(0, 255, 200)).max() <= 1
