"""Files of this machine, opened and read so that no pipe or device is ever waited for."""

# A path is kept as the file system spells it, and descriptors are checked in ways that pathlib has no words for.
# ruff: noqa: PTH116, PTH123

from __future__ import annotations

import hashlib
import os
import stat
from typing import Final

from pixelmill.errors import ImageRejected
from pixelmill.sources.files import FileChanged, Status, check_size
from pixelmill.sources.formats import HEAD
from pixelmill.sources.found import kept

OPEN: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""How a file or folder of a source is opened: never to wait, nor to be handed on."""


class LocalFiles:
    """Files of this machine."""

    def status(self, address: str) -> Status:
        found = os.stat(address)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(f"{address!r} is a folder")
        if not stat.S_ISREG(found.st_mode):
            raise OSError("Expected a regular file, but it is a pipe, a socket or a device")
        return Status(*kept(found.st_size, found.st_mtime_ns, found.st_ctime_ns))

    def read(self, address: str, start: int = 0, stop: int | None = None, *, most: int) -> bytes:
        with open(address, "rb") as file:
            file.seek(start)
            return file.read(min(most + 1, most + 1 if stop is None else stop - start))


def read_file(path: str, *, max_bytes: int) -> bytes:
    """The bytes of a regular file. Never waits for a pipe or a device.

    Raises ImageRejected for an empty, too large or irregular file, and FileChanged for one that was written to
    meanwhile. Other OSErrors go through: those of the disk or the network may pass.
    """
    _check_regular(os.stat(path).st_mode)
    descriptor = os.open(path, OPEN)
    try:
        before = os.fstat(descriptor)
        _check_regular(before.st_mode)
        check_size(before.st_size, max_bytes)
        data = _read(descriptor, before.st_size)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if (len(data), before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise FileChanged(f"Expected a file at rest. {path!r} was written to while it was read.")
    return data


def digest_here(path: str) -> bytes:
    """The sha256 of a regular file of any size, read piece by piece. Raises OSError, with the reason in words."""
    with open(path, "rb", opener=lambda name, _: os.open(name, OPEN)) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise OSError("it is no regular file any more")
        digest = hashlib.file_digest(file, "sha256").digest()
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise FileChanged("it was written to meanwhile")
    return digest


def head_of(name: str, folder: int) -> bytes:
    """The first HEAD bytes of a regular file in an open folder, or nothing if it is none by now."""
    descriptor = os.open(name, OPEN, dir_fd=folder)
    try:
        return os.read(descriptor, HEAD) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)


def kind_of(mode: int) -> str:
    """What is no regular file, in words."""
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _check_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise ImageRejected("read", "Expected a regular file. It is a folder, a pipe, a socket or a device.")


def _read(descriptor: int, size: int) -> bytes:
    """All bytes, and one more if there is one: what is longer than `size` has changed."""
    chunks = []
    left = size + 1
    while left > 0 and (chunk := os.read(descriptor, left)):
        chunks.append(chunk)
        left -= len(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
