"""EXIF of every container that has it is read as written; what is broken in it costs itself alone, and is told."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pixelmill.images.decode import DecodeOptions
from pixelmill.images.exif import Exif
from pixelmill.images.facts import MISSING_INT, are_facts, facts_of
from pixelmill.images.metadata import _FINDERS
from pixelmill.images.sandbox import Pixels, decode_in_sandbox
from tests.support import heic
from tests.support.exifs import (
    FIRST,
    PLACE,
    TIMES,
    WRITTEN,
    block,
    exif,
    in_cr3,
    in_jpeg,
    in_jxl,
    in_psd,
    in_raf,
    in_tiff,
    rationals,
    text,
)  # fmt: skip
from tests.support.heic import box
from tests.support.pictures import chunk
from tests.support.raws import dng
from tests.support.scenes import encoded, scene

JPEG = encoded(scene(), "JPEG")
PILLOWS = exif().tobytes()
PLAIN = block(FIRST, TIMES, PLACE)
UNHURRIED = settings(deadline=None)  # the machine may be busy
DOT = Image.new("RGB", (1, 1))


def in_png(kind: str, compressed: bool) -> bytes:
    """As ImageMagick writes it: lines of 72 digits."""
    digits = PILLOWS.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    info = PngInfo()
    info.add_text(f"Raw profile type {kind}", f"\n{kind}\n{len(PILLOWS):8}\n{lines}\n", zip=compressed)
    return encoded(scene(), "PNG", pnginfo=info)


DECODED = {
    **{kind: encoded(scene(), kind, exif=PILLOWS) for kind in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "MPO")},
    "TIFF, little-endian": in_tiff(FIRST, TIMES, PLACE),
    "BigTIFF": encoded(scene(), "TIFF", exif=PILLOWS, big_tiff=True),
    "JPEG with the mark twice": encoded(scene(), "JPEG", exif=b"Exif\0\0" + PILLOWS),
    "JPEG behind a profile": encoded(scene(), "JPEG", exif=PILLOWS, icc_profile=bytes(100_000)),
    "JPEG with two, of which the first counts": in_jpeg(JPEG, PLAIN, block([text(0x0110, b"Other\0")])),
    "PNG of ImageMagick": in_png("exif", True),
    "PNG of ImageMagick, not compressed": in_png("APP1", False),
    "HEIC": heic.coded(scene(), exif=PILLOWS),
    "HEIC of tiles": heic.grid(scene(128, 64), 64, exif=PILLOWS),
    "JPEG 2000": encoded(scene(), "JPEG2000") + box(b"uuid", b"JpgTiffExif->JP2" + PILLOWS[6:]),
}
FOUND = {
    "PSD": ("PSD", in_psd(PLAIN)),
    "CR3": ("CR3", in_cr3(block(FIRST), block(TIMES), block(PLACE))),
    "RAF": ("RAF", in_raf(in_jpeg(JPEG, PLAIN))),
    "RW2": ("RW2", block(FIRST, TIMES, PLACE, b"IIU\0")),
    "ORF": ("ORF", block(FIRST, TIMES, PLACE, b"IIRO")),
    "DNG": ("DNG", PLAIN),
    "TIFF/EP": ("TIFF", block([*FIRST, *TIMES], gps=PLACE)),
    "JPEG XL": ("JPEG XL", in_jxl(b"Exif", bytes(4) + PLAIN)),
    "JPEG XL with an offset": ("JPEG XL", in_jxl(b"Exif", struct.pack(">I", 6) + b"Exif\0\0" + PLAIN)),
    "JPEG XL of pillow-jxl-plugin": ("JPEG XL", in_jxl(b"Exif", PLAIN)),
    "JPEG XL of cjxl": ("JPEG XL", in_jxl(b"brob", b"Exif" + brotli.compress(bytes(4) + PLAIN))),
}  # fmt: skip


def decoded(data: bytes) -> Pixels:
    return decode_in_sandbox(data, DecodeOptions(), shortest=40, wanted=[], facts=True)


def facts(kind: str, data: bytes) -> dict[str, float | int | str]:
    """Of metadata alone, and sound whatever it is."""
    made, note = facts_of(data, kind, DOT, 1)
    assert are_facts(made)
    return {**made, "note": note}


def missing(found: dict[str, Any]) -> set[str]:
    """Which of WRITTEN it lacks; the others are as they were written."""
    lacks = {name for name in WRITTEN if found[name] in (MISSING_INT, "") or found[name] != found[name]}
    for name in WRITTEN.keys() - lacks:
        assert found[name] == (pytest.approx(WRITTEN[name], abs=1e-9) if isinstance(WRITTEN[name], float) else WRITTEN[name])  # fmt: skip
    return lacks


@pytest.mark.parametrize("container", DECODED)
def test_exif_of_each_picture_is_read(container: str) -> None:
    """In the sandbox, as Pillow, libheif or a writer by hand put it there."""
    found = decoded(DECODED[container])
    assert found.facts is not None
    assert missing(dict(found.facts)) == set()
    assert found.facts_note == ""


@pytest.mark.parametrize("preview", [scene(400, 300), None])
def test_camera_raw_has_its_facts(preview: Image.Image | None) -> None:
    """By the name of its own format, of the preview or of what was developed."""
    found = decoded(dng(scene(400, 300), preview=preview)).facts
    assert found is not None
    assert (found["format"], found["camera"]) == ("DNG", "Test Camera")
    assert 0 < float(found["contrast"]) < 128


@pytest.mark.parametrize("container", FOUND)
def test_exif_of_each_container_is_found(container: str) -> None:
    """Where its specification says that it is."""
    found = facts(*FOUND[container])
    assert missing(found) == set()
    assert found["note"] == ""


@pytest.mark.parametrize("kind", ["PNG", "JPEG 2000", "HEIC", "JPEG"])
def test_whoever_has_no_exif_has_nothing_to_tell(kind: str) -> None:
    """Of formats that could have it."""
    data = {"HEIC": heic.coded(scene())}.get(kind) or encoded(scene(), kind.replace(" ", ""))
    found = decoded(data)
    assert found.facts is not None
    assert missing(dict(found.facts)) == set(WRITTEN)
    assert found.facts_note == ""


@UNHURRIED
@given(
    texts=st.dictionaries(
        st.sampled_from([0x9003, 0x9004, 0x9010, 0x9011, 0x9290, 0x9291, 0xA434]),
        st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60),
    ),
    parts=st.lists(st.fractions(0, 100_000, max_denominator=1000), min_size=2, max_size=3),
    order=st.sampled_from("<>"),
)
def test_tags_are_those_that_pillow_reads(texts: dict[int, str], parts: list[Any], order: str) -> None:
    """Whatever it wrote, in both byte orders."""
    written = Image.Exif()
    written.endian = order
    written[0x0110], written[0x8769], written[0x8825] = "M", texts, {2: tuple(map(float, parts)), 7: (1.0, 2.0, 3.5)}
    block = written.tobytes()[6:]
    theirs = Image.Exif()
    theirs.load(block)
    ours = Exif()
    ours.add(memoryview(block))
    assert list(ours.texts.values()) == ["M", *(theirs.get_ifd(0x8769)[tag] for tag in sorted(texts))]
    assert ours.numbers["GPSLatitude"] == tuple(map(float, theirs.get_ifd(0x8825)[2]))
    assert ours.numbers["GPSTimeStamp"] == (1.0, 2.0, 3.5)
    assert ours.broken == []


def outside(tag: tuple[int, int, int, bytes]) -> tuple[int, int, int, bytes]:
    """The tag, its value said to be behind the end."""
    return tag[0], tag[1], max(tag[2], 8), b"\xf0\xff\xff\xff"


def endless(tag: tuple[int, int, int, bytes]) -> tuple[int, int, int, bytes]:
    return tag[0], tag[1], 2**32 - 1, tag[3]


BROKEN: dict[str, tuple[bytes, set[str], str]] = {
    "a value outside": (block(FIRST, [outside(TIMES[0]), *TIMES[1:]], PLACE), {"taken_at", "taken_offset"}, "DateTimeOriginal lies outside"),
    "a value without an end": (block(FIRST, [*TIMES[:-1], endless(TIMES[-1])], PLACE), {"lens"}, "LensModel lies outside"),
    "a note of the maker outside": (block(FIRST, [(0x927C, 7, 1 << 31, b"\xf0\xff\xff\xff"), *TIMES], PLACE), set(), ""),
    "a text of numbers": (block(FIRST, [*TIMES[:-1], (0xA434, 4, 1, bytes(4))], PLACE), {"lens"}, "LensModel is no text"),
    "numbers of text": (block(FIRST, TIMES, [PLACE[0], text(2, b"33 51\0"), *PLACE[2:]]), {"latitude", "longitude"}, "GPSLatitude is no number"),
    "a type that nobody knows": (block(FIRST, [*TIMES[:-1], (0xA434, 99, 4, bytes(4))], PLACE), {"lens"}, "LensModel is no text"),
    "no numbers": (block(FIRST, TIMES, [*PLACE[:-1], (6, 5, 0, b"")]), {"altitude"}, "GPSAltitude is empty"),
    "a fraction by zero": (block(FIRST, TIMES, [PLACE[0], rationals(2, (33, 1), (51, 0), (0, 1)), *PLACE[2:]]), {"latitude", "longitude"}, "GPSLatitude is no place"),
    "an altitude by zero": (block(FIRST, TIMES, [*PLACE[:-1], rationals(6, (25, 0))]), {"altitude"}, ""),
    "a latitude beyond the pole": (block(FIRST, TIMES, [PLACE[0], rationals(2, (91, 1), (0, 1), (0, 1)), *PLACE[2:]]), {"latitude", "longitude"}, "GPSLatitude is no place (91, 0, 0 'S')"),
    "no side": (block(FIRST, TIMES, PLACE[1:]), {"latitude", "longitude"}, "GPSLatitude is no place"),
    "no time": (block(FIRST, [text(0x9003, b"2024:13:06 07:08:09\0"), *TIMES[1:]], PLACE), {"taken_at", "taken_offset"}, "DateTimeOriginal is no time ('2024:13:06 07:08:09')"),
    "no offset": (block(FIRST, [TIMES[0], text(0x9011, b"+99:00\0"), *TIMES[2:]], PLACE), {"taken_offset"}, "OffsetTimeOriginal is no offset ('+99:00')"),
    "10,000 tags": (block(FIRST, [*((tag, 3, 1, bytes(4)) for tag in range(10_000, 20_000)), *TIMES], PLACE), set(), ""),
    "10,000 times the same": (block([*FIRST, *[text(0x0110, b"Other\0")] * 10_000], TIMES, PLACE), set(), ""),
    "tags that are not there": (PLAIN[:8] + b"\xff\xff" + PLAIN[10:], set(), "the first directory of EXIF is cut off"),
    "cut off": (PLAIN[:-30], {"latitude", "longitude", "altitude"}, "GPSLongitude lies outside of the data; GPSAltitude lies outside of the data"),
    "cut off in a directory": (PLAIN[:100], set(WRITTEN), "the Exif directory of EXIF is cut off"),
    "cut off in its head": (PLAIN[:7], set(WRITTEN), "EXIF does not begin like a TIFF"),
    "a directory outside": (PLAIN[:4] + b"\xff\xff\xff\xff" + PLAIN[8:], set(WRITTEN), "the first directory of EXIF lies outside"),
    "nothing but zeros": (bytes(4000), set(WRITTEN), "EXIF does not begin like a TIFF"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_broken_costs_itself(kind: str) -> None:
    """The picture is decoded, what is not broken is known, and the note says what is."""
    block, lacks, told = BROKEN[kind]
    found = decoded(in_jpeg(JPEG, block) if len(block) < 60_000 else encoded(scene(), "PNG", exif=block))
    assert found.facts is not None
    assert missing(dict(found.facts)) == lacks
    assert told in found.facts_note
    assert bool(told) == bool(found.facts_note)


@pytest.mark.parametrize("pointer", [0x8769, 0x8825])
@pytest.mark.parametrize("magic", [b"II*\0", b"II+\0"])
def test_directories_that_lead_in_circles_end(pointer: int, magic: bytes) -> None:
    """To the first one, from the first and from the others."""
    round_about = (pointer, 4, 1, struct.pack("<I", 8))
    data = block([*FIRST, round_about], [round_about, *TIMES], [round_about, *PLACE], magic)
    start = time.process_time()
    found = facts("TIFF", data)
    assert time.process_time() - start < 1
    assert (found["camera"] == WRITTEN["camera"]) == (magic == b"II*\0")


@pytest.mark.parametrize(
    ("stored", "kept"),
    [
        (b"RF\0hidden", "RF"), (b"  RF 50mm  \0", "RF 50mm"), (b"RF\n\t\x1b[31m50\x7f", "RF [31m50"), (b"\0\0\0\0\0", ""),
        ("Zuiko µ 📷".encode(), "Zuiko µ 📷"), ("Zuiko µ".encode("latin-1"), "Zuiko µ"), (b"\xed\xa0\x80abc", "í\xa0 abc"),
        (b"x" * 5000, "x" * 256), ("📷".encode() * 1000, "📷" * 256), (b"x" + "📷".encode() * 1000, "x" + "📷" * 255), (b" " * 5000, ""),
    ],
)  # fmt: skip
def test_texts_can_be_shown(stored: bytes, kept: str) -> None:
    """UTF-8, else Latin-1, to the first zero, without what moves a cursor, 256 characters at most."""
    assert facts("TIFF", block(FIRST, [text(0xA434, stored)]))["lens"] == kept


MANY = block([text(0x0110, b"")] * 65_000)


def items_without_end() -> bytes:
    """Of EXIF, each to be looked for among as many, of which each says that it has 65,535 parts of no size."""
    names = b"".join(box(b"infe", struct.pack(">HH4s", 9, 0, b"Exif") + b"\0", 2) for _ in range(60_000))
    places = b"".join(struct.pack(">HHH", number, 0, 0xFFFF) for number in range(10, 60_000))
    iinf, iloc = box(b"iinf", b"\xff\xff" + names, 0), box(b"iloc", b"\0\0\xff\xff" + places, 0)
    return box(b"ftyp", b"heic") + box(b"meta", iinf + iloc, 0)


LARGE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "compressed text": ("PNG", lambda: encoded(scene(), "PNG")[:-12] + chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(1 << 28)))),
    "compressed box": ("JPEG XL", lambda: in_jxl(b"brob", b"Exif" + brotli.compress(bytes(1 << 28), quality=1))),
    "items": ("HEIC", items_without_end),
    "boxes": ("AVIF", lambda: box(b"free", b"") * 8_000_000),
    "chunks": ("WEBP", lambda: b"RIFF\0\0\0\0WEBP" + (b"JUNK" + bytes(4)) * 8_000_000),
    "blocks": ("WEBP", lambda: b"RIFF\0\0\0\0WEBP" + (b"EXIF" + struct.pack("<I", len(MANY)) + MANY) * 100),
}  # fmt: skip


@pytest.mark.parametrize("kind", LARGE)
def test_what_has_no_end_is_not_read_to_the_end(kind: str) -> None:
    """It takes neither time nor memory."""
    name, made = LARGE[kind]
    data = made()
    tracemalloc.start()
    start = time.process_time()
    facts(name, data)
    taken, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 5
    assert peak < 32 << 20


@pytest.mark.parametrize("kind", sorted(_FINDERS))
@UNHURRIED
@given(noise=st.binary(max_size=300), seed=st.integers(0, 2**32), flips=st.integers(0, 40))
def test_no_bytes_make_it_fail(kind: str, noise: bytes, seed: int, flips: int) -> None:
    """Random ones, and those of a sound file of which some are changed or the end is missing, make facts in no time."""
    import random

    chance = random.Random(seed)
    sound = bytearray(SOUND[kind])
    for _ in range(flips):
        sound[chance.randrange(min(len(sound), 1500))] = chance.choice([0, 1, 8, 255, chance.randrange(256)])
    for data in (noise, bytes(sound), bytes(sound)[: chance.randrange(len(sound))], SOUND[kind][:8] + noise):
        start = time.process_time()
        facts(kind, data)
        assert time.process_time() - start < 1


SOUND = {
    **{kind: DECODED[kind] for kind in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "HEIC")},
    **dict(FOUND.values()),
    "JPEG2000": DECODED["JPEG 2000"], "TIFF": PLAIN,
}  # fmt: skip
SOUND = {kind: SOUND.get(kind, PLAIN) for kind in _FINDERS}
