"""One way to look at files and to read them, wherever they lie: on a disk, under HTTP, in an object store."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

from pixelmill.sources.address import is_address, is_http
from pixelmill.sources.found import kept

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_T = TypeVar("_T")
DELAYS = (1.0, 4.0)
"""Seconds to wait before a question that failed is asked again."""
READ_AHEAD: Final = 1 << 20
"""Bytes that are asked for at once where somebody reads on: a round trip to an object store costs as much as these."""


class Status(NamedTuple):
    """What gives a change away: the size in bytes, the time of modification in nanoseconds (Unix), and a number that is
    another whenever the etag, or what stands for it, is another. What is not known is 0."""

    size: int
    mtime_ns: int
    tag: int


class Files(Protocol):
    """Files of one kind of place. Safe to use from many threads.

    All raise OSError: FileNotFoundError for what is not there, PermissionError for what needs a login, others for what
    may pass.
    """

    def status(self, address: str) -> Status:
        """What is known of a file without reading it. Raises IsADirectoryError for a folder."""

    def read(self, address: str, start: int = 0, stop: int | None = None, *, most: int) -> bytes:
        """The bytes from `start` to before `stop`, or to the end; one more than `most` if there are more."""


def files_of(address: str) -> Files:
    """Where a path or an address is looked at. Raises SourceError for an address that nothing here understands."""
    if not is_address(address):
        return LocalFiles()
    if is_http(address):
        from pixelmill.sources.http import http_files

        return http_files()
    from pixelmill.sources.fsspec import filesystem_files

    return filesystem_files(address)


def tag_of(text: str) -> int:
    """A number of 63 bits for an etag; 0 for none. SQLite keeps no larger ones."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1 if text else 0


class LocalFiles:
    """Files of this machine."""

    def status(self, address: str) -> Status:
        found = os.stat(address)  # noqa: PTH116 - a path as the file system spells it
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(f"{address!r} is a folder")
        if not stat.S_ISREG(found.st_mode):
            raise OSError("Expected a regular file, but it is a pipe, a socket or a device")
        return Status(*kept(found.st_size, found.st_mtime_ns, found.st_ctime_ns))

    def read(self, address: str, start: int = 0, stop: int | None = None, *, most: int) -> bytes:
        with open(address, "rb") as file:  # noqa: PTH123
            file.seek(start)
            return file.read(min(most + 1, most + 1 if stop is None else stop - start))


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


def patiently(ask: Callable[[], _T], worthwhile: Callable[[], bool] = lambda: True) -> _T:
    """What `ask` gives, asked again after what may pass, if that is `worthwhile`."""
    for delay in DELAYS:
        try:
            return ask()
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            raise
        except OSError:
            if not worthwhile():
                raise
            time.sleep(delay)
    return ask()
