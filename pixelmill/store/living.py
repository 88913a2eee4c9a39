"""Which scans belong to a run that lives: what it found and planned stays in the ledger, whatever other runs do.

    STORE/runs/<scan>.lock   locked by the process of the run

An OS lock, which a dead process cannot keep: it tells a run that lives from one that was killed, at once, without
asking a clock, and also after the machine was started anew. Where locks may not reach, a run of another machine is
taken to live for days; in the file stands which one's it is.
Whether a writer lives is another question (`presence.py`): it is one process, and just where locks do not reach it has
to be known, by a heart that beats, lest two of them write.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pixelmill.store.filesystem import is_shared
from pixelmill.store.lock import unwritable
from pixelmill.store.master import home_of
from pixelmill.store.presence import this_kernel

RUNS = "runs"
_SHARED_SECONDS = 7 * 86_400
"""Where a lock may not reach other machines, a sign that nobody holds counts for so long."""
_MOST_BYTES = 256
_DIGITS = 16
"""A name with more of them is no scan's: SQLite's integers end at 19."""

_kept: dict[Path, Sign] = {}
"""What `keep` was asked to hold in this process, by the signs' files."""


class Sign:
    """Says that the run of a scan lives, until it is taken back or the process ends."""

    def __init__(self, folder: Path, scan: int) -> None:
        file = sign_of(folder, scan)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
            os.pwrite(self._descriptor, this_kernel().encode(), 0)
        except OSError as error:
            raise unwritable(folder, error) from error

    def take_back(self) -> None:
        """Once."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # processes forked meanwhile would keep it
        os.close(self._descriptor)


def sign_of(folder: Path, scan: int) -> Path:
    """The file that is locked while the run of a scan lives."""
    return home_of(folder) / RUNS / f"{scan}.lock"


def keep(folder: Path, scan: int) -> None:
    """Say that a run lives, from one step of it to the next, until `holding` ends or the process."""
    if sign_of(folder, scan) not in _kept:
        _kept[sign_of(folder, scan)] = Sign(folder, scan)


@contextmanager
def holding(folder: Path, scan: int) -> Iterator[None]:
    """Say that a run lives while the block runs; takes over from `keep`."""
    sign = _kept.pop(sign_of(folder, scan), None) or Sign(folder, scan)
    try:
        yield
    finally:
        sign.take_back()


def scans(folder: Path) -> list[int]:
    """The scans of which there is a sign, held or not, or a folder."""
    found = (folder / RUNS).iterdir() if (folder / RUNS).is_dir() else ()
    names = (entry.name.removesuffix(".lock") for entry in found)
    return [int(name) for name in names if name.isdecimal() and len(name) < _DIGITS]


def lives(folder: Path, scan: int, *, now: float) -> bool | None:
    """Whether somebody holds the sign of a scan; None if there is no such sign.

    `now` is the time of the file system of the store: the clocks of two machines may differ.
    """
    try:
        descriptor = os.open(sign_of(folder, scan), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.pread(descriptor, _MOST_BYTES, 0) == this_kernel().encode():  # its lock would be seen here
            return False
        return is_shared(folder) and now - os.fstat(descriptor).st_mtime < _SHARED_SECONDS
    except OSError:  # somebody holds it, or nobody knows
        return True
    finally:
        os.close(descriptor)


def remove(folder: Path, scan: int) -> None:
    """Throw away the sign of a run that is over."""
    with suppress(OSError):
        sign_of(folder, scan).unlink()
