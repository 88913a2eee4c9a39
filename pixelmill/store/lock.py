"""One writer at a time: an OS lock, which a killed process cannot keep, and the words for where it cannot be had."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pixelmill.errors import StoreBusy, StoreError
from pixelmill.store.durable import BLOCK, FULL, no_space

log = logging.getLogger(__name__)

LOCK = ".lock"
PATIENCE = 600
"""Seconds that whoever reads or writes a store waits for others, for its lock or for its ledger; what a dead process
held is free at once."""
TELL_AFTER = 10
"""Seconds after which somebody who waits says for what."""

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)


@contextmanager
def store_lock(folder: Path, lock: FileLock | None = None) -> Iterator[None]:
    """Hold the lock of the store in `folder`; `lock` is the process's own, if it takes it more than once.

    Raises StoreError where the lock cannot be had in time, or at all.
    """
    lock = lock or new_lock(folder)
    try:
        _ask_for_locks(folder)
        _acquire(lock)
    except Timeout as error:
        raise StoreBusy(
            f"Expected a turn to write to {folder} within {PATIENCE} s. Another process holds its lock: "
            "wait until that has finished, and run again. Nothing stored is lost."
        ) from error
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def new_lock(folder: Path) -> FileLock:
    """The lock of the store in `folder`, not yet taken."""
    return FileLock(folder / LOCK)


def _acquire(lock: FileLock) -> None:
    try:
        lock.acquire(timeout=min(TELL_AFTER, PATIENCE))
    except Timeout:
        log.warning("waiting for the lock %s: another process writes to the store", lock.lock_file)
        lock.acquire(timeout=max(PATIENCE - TELL_AFTER, 0))


def check_lock_excludes(folder: Path) -> None:
    """With the lock held, make sure that nobody else can take it. Raises StoreError where two could.

    Some network and shared file systems accept locks and ignore them; two writers would then lose each other's rows.
    """
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR)
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return
    except OSError as error:
        raise _no_locks(folder, str(error.strerror)) from error
    finally:
        os.close(descriptor)
    raise _no_locks(folder, "it gave the same lock twice")


def _ask_for_locks(folder: Path) -> None:
    """Raise OSError where there is no flock at all: FileLock would use the file itself as a lock, and a killed process
    would keep that for ever."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


@contextmanager
def in_words(folder: Path) -> Iterator[None]:
    """Whatever the system refuses of a store that is to be written, a descriptor for one, is told as that."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise unwritable(folder, error) from error


def unwritable(folder: Path, error: OSError) -> StoreError:
    """The error for a store that cannot be written, or locked."""
    if error.errno in FULL:
        return no_space(folder / LOCK, BLOCK)
    if error.errno in _NO_LOCKS:
        return _no_locks(folder, str(error.strerror))
    return StoreError(
        f"Expected to write to the store in {folder}. It cannot be written ({error.strerror or error}). It can be read "
        "where it is; to write, copy the folder to a disk that can be written, or mount this one so."
    )


def _no_locks(folder: Path, what: str) -> StoreError:
    return StoreError(
        f"Expected a file system with working locks under {folder}. Its locks do not exclude anybody ({what}), so two "
        "writers could lose rows. Nothing was written; keep the store on a local disk (ext4, XFS, Btrfs, ZFS)."
    )
