"""Files that are wholly there or not at all, also after a crash or a power cut."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pixelmill.errors import StoreError

BLOCK = 4096
"""Bytes that the smallest file or folder takes."""
FULL = (errno.ENOSPC, errno.EDQUOT)
NO_DAMAGE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM)
"""What reading something sound may be answered: to take it for damaged would lose it."""
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP)
"""What some file systems answer to fsync of a folder: they have no such thing (fsync(2))."""


def write_durably(path: Path, content: bytes | memoryview) -> str:
    """Replace `path` by `content`: temporary name, fsync, rename, fsync of the folder. Returns the sha256 (hex).

    Space is reserved before the first byte is written, so that a full disk raises StoreError and leaves nothing behind.
    """
    with written_aside(path, content) as temporary:
        put_in_place(temporary, path)
    return hashlib.sha256(content).hexdigest()


@contextmanager
def written_aside(path: Path, content: bytes | memoryview) -> Iterator[Path]:
    """`content` under a temporary name beside `path`, durable but for the name; removed again if the block fails.

    Raises StoreError for an OSError of its own or of the block.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write_new(temporary, content)
        yield temporary
    except (OSError, StoreError) as error:
        with suppress(OSError):  # a read-only file system refuses even to look for it
            temporary.unlink(missing_ok=True)
        if isinstance(error, StoreError):
            raise
        raise _explained(error, path, len(content)) from error


def put_in_place(temporary: Path, path: Path) -> None:
    """Give what lies beside `path` its name, durably."""
    temporary.replace(path)
    sync_folder(path.parent)


def make_folder_durably(folder: Path) -> None:
    """Make `folder` with its parents, so that a power cut does not take a new one away with what is written into it."""
    missing = [folder, *(parent for parent in folder.parents if not parent.exists())] if not folder.exists() else []
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_folder(made.parent)


def remove_halves(folder: Path) -> None:
    """Delete what writers that died have left half written in a folder, if there is one. Nobody writes there now."""
    if folder.is_dir():
        for left in folder.glob(".*.tmp"):
            left.unlink(missing_ok=True)
        sync_folder(folder)


def sync_folder(folder: Path, *, strict: bool = False) -> None:
    """Make the names in `folder` durable, where the file system can; where it cannot, raise only if `strict`.

    Whoever opens a store for writing is warned of such a file system (`filesystem.warnings_for`).
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if strict or error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """The sha256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refused(path: Path, error: OSError) -> StoreError:
    """The error for a file that may be sound and cannot be read all the same (`NO_DAMAGE`)."""
    return StoreError(f"Expected to read {path}. The system refuses: {error.strerror or error}. Nothing was touched.")


def no_space(path: Path, needed: int) -> StoreError:
    """The error for a full disk that lacks the `needed` bytes for `path`."""
    place = next(folder for folder in path.parents if folder.is_dir())
    return StoreError(
        f"Expected {needed:,} bytes of free space to write {path}. Found {shutil.disk_usage(place).free:,}. "
        "Nothing stored was touched; free some space and run again."
    )


def write_new(path: Path, content: bytes | memoryview) -> None:
    """Write a file that is not there, durably but for its name. Raises FileExistsError if it is."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        reserve(descriptor, len(content))
        remaining = memoryview(content)
        while remaining:
            remaining = remaining[os.write(descriptor, remaining) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reserve(descriptor: int, size: int) -> None:
    try:
        if size:
            os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # some file systems cannot reserve: the write will tell
            raise


def _explained(error: OSError, path: Path, needed: int) -> StoreError:
    if error.errno in FULL:
        return no_space(path, needed)
    return StoreError(f"Could not write {path}: {error.strerror or error}. The last published snapshot is intact.")
