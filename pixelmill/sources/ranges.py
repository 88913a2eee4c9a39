"""A file that is read where it lies, a range of bytes at a time, as those who read archives take files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from pixelmill.sources.files import Files

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

READ_AHEAD: Final = 1 << 20
"""Bytes that are asked for at once where somebody reads on: a round trip to an object store costs as much as these."""


class RangeFile(io.RawIOBase):
    """A file that is read piece by piece where it lies; `part` may be called from many threads."""

    def __init__(self, files: Files, address: str, size: int) -> None:
        self._files, self._address, self._size = files, address, size
        self._at = 0
        self._error: OSError | None = None

    @property
    def size(self) -> int:
        """In bytes."""
        return self._size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def part(self, start: int, stop: int) -> bytes:
        """The bytes from `start` to before `stop`, as far as the file goes."""
        stop = min(stop, self._size)
        return self._files.read(self._address, start, stop, most=stop - start) if stop > start else b""

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        try:
            data = self.part(self._at, self._at + len(view))
        except OSError as error:
            self._error = error
            raise
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def check(self) -> None:
        """Raise the error that reading ran into, if it did: some readers take it for damage of the file."""
        if self._error:
            raise self._error


class BufferedRanges(io.BufferedReader):
    """A file that is read ahead where somebody reads on."""

    raw: RangeFile


def opened(files: Files, address: str, size: int) -> BufferedRanges:
    """A file to read on in, from here and there."""
    return BufferedRanges(RangeFile(files, address, size), READ_AHEAD)
