"""The bytes of an image, wherever it lies: how large they may be, and when they are not those that were listed."""

from __future__ import annotations

import hashlib
import os

from pixelmill.errors import ImageRejected, SourceError
from pixelmill.sources.address import is_address, is_archive
from pixelmill.sources.archives import read_member
from pixelmill.sources.files import FileChanged, Status
from pixelmill.sources.found import FoundFile
from pixelmill.sources.local import digest_here, read_file
from pixelmill.sources.open import files_of


def is_elsewhere(file: FoundFile) -> bool:
    """Whether reading an image waits for something else than a file of this machine."""
    return is_address(file.source) or is_archive(file.source)


def read_image(file: FoundFile, *, max_bytes: int) -> bytes:
    """The bytes of an image. Raises like `local.read_file`: ImageRejected for one that is empty or too large,
    FileChanged for one that is not as it was listed, other OSErrors for what may pass."""
    try:
        if is_archive(file.source):
            return read_member(file, max_bytes=max_bytes)
        if is_address(file.source):
            return _read_object(file, max_bytes)
    except SourceError as error:  # this machine lacks a package
        raise OSError(str(error)) from error
    return read_file(file.absolute, max_bytes=max_bytes)


def digest_of(file: FoundFile, *, max_bytes: int) -> bytes:
    """The sha256 of an image. Raises like `read_image`; one of this machine may be of any size, as it is read piece by
    piece."""
    if not is_elsewhere(file):
        return digest_here(file.absolute)
    return hashlib.sha256(read_image(file, max_bytes=max_bytes)).digest()


def is_there(file: FoundFile) -> bool:
    """Whether something is at an image's place, whatever it holds; of a member of an archive, whether that is."""
    if not is_elsewhere(file):
        return os.path.lexists(file.absolute)
    try:
        _status_of(file)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def modified_ns(file: FoundFile) -> int:
    """When an image, or the archive that it is in, was last modified, in nanoseconds (Unix); 0: unknown."""
    try:
        return _status_of(file).mtime_ns
    except OSError:
        return 0


def _status_of(file: FoundFile) -> Status:
    place = file.source if is_archive(file.source) else file.absolute
    return files_of(place).status(place)


def _read_object(file: FoundFile, max_bytes: int) -> bytes:
    _check_size(file.size, max_bytes)
    data = files_of(file.absolute).read(file.absolute, most=max_bytes)
    _check_size(len(data), max_bytes)
    if file.size and len(data) != file.size:
        _check_stable(file, data, max_bytes)
    if not data:
        raise ImageRejected("read", "The file is empty.")
    return data


def _check_stable(file: FoundFile, data: bytes, max_bytes: int) -> None:
    """Raise FileChanged for a file of another length than announced, unless that is how it is: a server that announces
    the same as before, and gives the same whole bytes once more, announces wrongly."""
    files = files_of(file.absolute)
    if (
        files.status(file.absolute) != (file.size, file.mtime_ns, file.ctime_ns)
        or files.read(file.absolute, most=max_bytes) != data
    ):
        raise FileChanged(f"{file.size:,} bytes were announced, {len(data):,} came")


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ImageRejected("read", f"Expected at most {max_bytes:,} bytes. The file has {size:,} or more.")
