"""Thumbnails on disk: made once for each content and size by the guarded decoder, and never too many of them."""

from __future__ import annotations

import io
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from pixelmill.images.decode import DecodeOptions
from pixelmill.images.sandbox import scaled_in_sandbox

SIZES = (160, 320, 640, 1600)
"""Longer edges in pixels. The last one is for a look at the whole picture."""
_QUALITY = 80
_FORM = "1"
"""Part of each name. Another one whenever thumbnails are made differently."""
_SWEEP_TO = 0.9
_SWEEP_EVERY = 0.02
"""Shares of the most bytes: how full a sweep leaves the cache, and after how many new ones the next sweep is due."""
_HALF_WRITTEN = 3600
"""Seconds after which nobody writes to a thumbnail any more."""
_USED_AGAIN = 86_400
"""A thumbnail's time of use is noted so often, in seconds."""


class Thumbnails:
    """WebP files in a folder, by the sha256 of the content. Safe to use from many threads and processes.

    When they take more than `most_bytes`, those that were not looked at for longest go. A folder that cannot be written
    to costs time, no thumbnail.
    """

    def __init__(self, folder: Path, *, most_bytes: int, options: DecodeOptions) -> None:
        self.folder = folder
        self._most = most_bytes
        self._options = options
        self._guard = threading.Lock()
        self._unswept = most_bytes  # so that the first one written looks at what is there

    def get(self, sha256: bytes, size: int, read: Callable[[], bytes]) -> bytes:
        """The WebP of a content, its longer edge `size` pixels at most; `read` gives the file if there is none yet.

        Raises what `read` raises, and like `scaled_in_sandbox`.
        """
        path = self._path(sha256, size)
        found = _whole(path)
        if found is not None:
            return found
        made = self.make(read(), size)
        self._keep(path, made)
        return made

    def make(self, data: bytes, size: int) -> bytes:
        """The WebP of a picture, kept nowhere."""
        return thumbnail(data, size, self._options)

    def _path(self, sha256: bytes, size: int) -> Path:
        name = sha256.hex()
        return self.folder / name[:2] / f"{name[2:]}-{size}-{_FORM}.webp"

    def _keep(self, path: Path, content: bytes) -> None:
        with suppress(OSError):
            _write(path, content)
            with self._guard:
                self._unswept += len(content)
                due = self._unswept > self._most * _SWEEP_EVERY
                if due:
                    self._unswept = 0
            if due:
                _sweep(self.folder, self._most)


def forget(folder: Path, contents: Iterable[bytes]) -> int:
    """Delete the thumbnails of contents, by their sha256, and what was left half-written; how many there were."""
    found = [path for sha256 in contents for path in folder.glob(f"{sha256.hex()[:2]}/{sha256.hex()[2:]}-*")]
    old = time.time() - _HALF_WRITTEN
    for path in (*found, *folder.glob("??/*.tmp")):
        with suppress(FileNotFoundError):
            if path.suffix != ".tmp" or path.stat().st_mtime < old:
                path.unlink()
    return len(found)


def thumbnail(data: bytes, size: int, options: DecodeOptions) -> bytes:
    """The picture in `data`, upright, scaled down to a longer edge of `size` pixels, as WebP.

    Only the guarded decoder touches `data`: what is encoded here are its pixels. Raises like `scaled_in_sandbox`.
    """
    from PIL import Image

    picture = scaled_in_sandbox(data, options, longest=size)
    buffer = io.BytesIO()
    Image.fromarray(picture.arrays[0]).save(buffer, "WEBP", quality=_QUALITY, method=2)
    return buffer.getvalue()


def _whole(path: Path) -> bytes | None:
    """A thumbnail's bytes if they are all there (a power cut may leave a name without them); its use is noted."""
    try:
        content = path.read_bytes()
        if int.from_bytes(content[4:8], "little") + 8 != len(content):  # RIFF says how long it is
            return None
        if time.time() - path.stat().st_mtime > _USED_AGAIN:
            os.utime(path)
    except OSError:
        return None
    return content


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _sweep(folder: Path, most_bytes: int) -> None:
    """Delete the files that were not used for longest, until the rest takes clearly less than `most_bytes`."""
    files = []
    for path in folder.glob("??/*"):
        with suppress(OSError):
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    left = sum(size for _, size, _ in files)
    if left <= most_bytes:
        return
    for _, size, path in sorted(files):
        if left <= most_bytes * _SWEEP_TO:
            break
        with suppress(OSError):
            path.unlink()
            left -= size
