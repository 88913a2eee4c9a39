"""A file is an image by its content, and texts that begin with the letters of a format are texts."""

from __future__ import annotations

import struct

import pytest

from pixelmill.sources.formats import describe, kind_of, sniff
from tests.support.pictures import KINDS


@pytest.mark.parametrize(
    "text",
    [
        b"P1 - Mobile Touch - Europe\n",
        b"P1 3 4 reasons to stay\n",
        b"P1\n# Priorities\n\nFirst of all\n",
        b"P2 2024 plan\n",
        b"P3 budget for the meeting\n",
        b"P3 12 30 45 budget lines\n",
        b"P4 2 3 items to do\n",
        b"P5 What we learned\n",
        b"P6",
        b"P7 is a chip\n",
        b"Pf 2020 was a year\n",
        b"GIF89a is a format of 1989\n",
        b"8BPS is how documents begin\n",
        b"DDS configuration of the robot\n",
        b"DDS | notes on middleware\n",
        b"qoif, a format that is quick\n",
        b"BM and so on, for a while yet\n",
        b"FLIF is no more, sadly enough\n",
        "P1 für größere Aufgaben".encode(),
        b"#define logo_width 16\n#define logo_height 16\n",
        b"/* XPM */\nstatic char *x[] = {",
        b"<html><body>404",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"#!/bin/sh\necho P3\n",
        b'{"error": "not found"}',
        "notes".encode("utf-16"),
    ],
)
def test_texts_are_no_pictures(text: bytes) -> None:
    """They are not discovered, unless their names promise an image, and then are told to be texts."""
    assert sniff(text) is None
    assert "unknown format" not in describe(text)


@pytest.mark.parametrize(
    "head",
    [
        b"P1\n2 2\n1 0\n0 1\n",
        b"P1 # a comment\n8 1\n01010101",
        b"P2\n# width\n2 # height\n1\n15\n3 4\n",
        b"P4 8 8\n\0\1\2\3\4\5\6\7",
        b"P5\n# made by hand\n3 1 255\nabc",
        b"P6 1 1 255\n\0\1\2",
        b"P6\n#" + b" a comment longer than any head" * 20,
    ],
)
def test_netpbm_is_known_by_its_numbers(head: bytes) -> None:
    """With comments anywhere, and samples that happen to be letters."""
    assert sniff(head[:256]) == "PPM"


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0", "ICO"),
        (b"DDS |\0\0\0" + bytes(60), "DDS"),
        (b"II\xbc\1\x20\0\0\0", "JPEG XR"),
        (b"PF\n3 4\n-1.0\n\0\0\0\0", "PFM"),
        (b"P7\nWIDTH 3\nHEIGHT 3\n", "PAM"),
        (b"SIMPLE  =                    T", "FITS"),
        (b"\0\0\1\xba!\0\1\0", None),
        (struct.pack("<I", 1 << 16) + b"data", None),
    ],
)
def test_formats_are_known_by_their_heads(head: bytes, name: str | None) -> None:
    """By more than a few letters; other binary files that begin alike are none of them."""
    assert sniff(head) == name


def test_every_kind_of_picture_is_known_by_its_first_bytes() -> None:
    """None of those that other programs wrote is taken for something else; a Targa by all of it."""
    unknown = {kind.format for kind in KINDS for data in kind.files() if sniff(data[:256]) is None}
    assert unknown == {"TGA"}
    assert all(kind_of(data) == "TGA" for kind in KINDS if kind.format == "TGA" for data in kind.files())
