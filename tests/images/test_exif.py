"""EXIF of every container that has it is read as written; what is broken in it costs itself alone, and is told."""

from __future__ import annotations

import pytest

from pixelmill.images.decode import DecodeOptions
from pixelmill.images.sandbox import Pixels, decode_in_sandbox
from tests.support import heic
from tests.support.exifs import WRITTEN, exif
from tests.support.scenes import encoded, scene

CONTAINERS = {
    **{kind: encoded(scene(), kind, exif=exif()) for kind in ("JPEG", "PNG", "WEBP", "AVIF", "MPO")},
    "JPEG with the mark twice": encoded(scene(), "JPEG", exif=b"Exif\0\0" + exif().tobytes()),
    "HEIC": heic.coded(scene(), exif=exif().tobytes()),
    "HEIC of tiles": heic.grid(scene(128, 64), 64, exif=exif().tobytes()),
}


def decoded(data: bytes) -> Pixels:
    return decode_in_sandbox(data, DecodeOptions(), shortest=40, wanted=[], facts=True)


@pytest.mark.parametrize("container", CONTAINERS)
def test_exif_of_each_container_is_read(container: str) -> None:
    """As Pillow, or libheif, wrote it there."""
    found = decoded(CONTAINERS[container])
    assert found.facts is not None
    assert {name: found.facts[name] for name in WRITTEN} == pytest.approx(WRITTEN)
    assert found.facts_note == ""
