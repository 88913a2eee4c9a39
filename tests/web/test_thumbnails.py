"""Thumbnails: upright, made once, whole, and never too many."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelmill.images.decode import DecodeOptions
from pixelmill.web.thumbnails import Thumbnails, thumbnail

OPTIONS = DecodeOptions()


def encoded(picture: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    assert picture.format == "WEBP"
    return picture.convert("RGB")


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("width", "height", "expected"), [(3000, 2000, (320, 213)), (40, 4000, (3, 320)), (50, 30, (50, 30))]
)
def test_the_whole_picture_is_scaled_down_never_up(width: int, height: int, expected: tuple[int, int]) -> None:
    """The longer edge has the size asked for, the ratio is kept."""
    assert opened(thumbnail(encoded(Image.new("RGB", (width, height)), "PNG"), 320, OPTIONS)).size == expected


def test_it_looks_like_the_picture_and_is_upright() -> None:
    """Of a photograph turned by EXIF, what is left in the file is on top; the colours are those of a plain resize."""
    quarters = np.zeros((900, 1200, 3), np.uint8)
    quarters[:, :600] = (200, 30, 30)
    quarters[:, 600:] = (30, 30, 200)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by 90 degrees
    shown = opened(thumbnail(encoded(Image.fromarray(quarters), exif=exif, quality=95), 160, OPTIONS))
    assert shown.size == (120, 160)
    assert np.abs(np.asarray(shown)[10, 60].astype(int) - (200, 30, 30)).max() < 12
    assert np.abs(np.asarray(shown)[150, 60].astype(int) - (30, 30, 200)).max() < 12


def test_one_is_made_once_and_read_from_disk_afterwards(tmp_path: Path) -> None:
    """The second time not even the file is read, by another server either; another size is another one."""
    data, reads = encoded(noise(300, 200)), []

    def read() -> bytes:
        reads.append(1)
        return data

    for _ in range(2):
        cache = Thumbnails(tmp_path, most_bytes=10**9, options=OPTIONS)
        made = [cache.get(b"\1" * 32, 160, read) for _ in range(2)]
        assert made[0] == made[1] == cache.make(data, 160)
    assert len(reads) == 1
    cache.get(b"\1" * 32, 320, read)
    assert len(reads) == 2


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda _: b"", lambda _: b"nonsense"])
def test_one_that_was_cut_off_is_made_again(tmp_path: Path, damage: object) -> None:
    """A power cut may leave a name without all of its bytes."""
    data = encoded(noise(300, 200))
    cache = Thumbnails(tmp_path, most_bytes=10**9, options=OPTIONS)
    good = cache.get(b"\1" * 32, 160, lambda: data)
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    file.write_bytes(damage(good))  # type: ignore[operator]
    assert cache.get(b"\1" * 32, 160, lambda: data) == good
    assert file.read_bytes() == good


def test_the_cache_is_bounded_and_loses_what_was_not_used_for_longest(tmp_path: Path) -> None:
    """However many are made, the folder stays below its size; those used last are kept."""
    size = len(thumbnail(encoded(noise(160, 160)), 160, OPTIONS))
    cache = Thumbnails(tmp_path, most_bytes=10 * size, options=OPTIONS)
    for number in range(30):
        data = encoded(noise(160, 160, number))
        cache.get(bytes([number]) * 32, 160, lambda data=data: data)  # type: ignore[misc]
        newest = cache._path(bytes([number]) * 32, 160)
        os.utime(newest, (1000 + number, 1000 + number))
        assert sum(path.stat().st_size for path in tmp_path.rglob("*.webp")) <= 11 * size
    left = sorted(int(path.parent.name, 16) for path in tmp_path.rglob("*.webp"))
    assert left == list(range(30 - len(left), 30))
    assert len(left) >= 8


def test_a_folder_that_cannot_be_written_to_costs_no_thumbnail(tmp_path: Path) -> None:
    """It is made each time."""
    (tmp_path / "file").write_text("in the way")
    cache = Thumbnails(tmp_path / "file", most_bytes=10**9, options=OPTIONS)
    assert opened(cache.get(b"\1" * 32, 160, lambda: encoded(noise(300, 200)))).size == (160, 107)


def test_many_threads_get_whole_ones(tmp_path: Path) -> None:
    """Asked for at once, each gets the same bytes, and no temporary file is left."""
    data = encoded(noise(300, 200))
    cache = Thumbnails(tmp_path, most_bytes=10**9, options=OPTIONS)
    made: list[bytes] = []
    threads = [threading.Thread(target=lambda: made.append(cache.get(b"\1" * 32, 160, lambda: data))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(made) == {cache.make(data, 160)}
    assert not list(tmp_path.rglob("*.tmp"))
