"""What SQLite says of a broken ledger, in the words of the store."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from pixelmill.errors import StoreBusy, StoreError
from pixelmill.store.durable import FULL, no_space
from pixelmill.store.lock import PATIENCE, unwritable

ROOM = 8 * 2**20
"""Bytes that a ledger should find free: 1000 pages of log, when SQLite empties it, and as many that they fill."""
_NOT_ITS_FAULT = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR)


class LedgerDamaged(StoreError):
    """A ledger that SQLite cannot use, or that holds what no ledger holds."""


def unusable(path: Path, error: sqlite3.Error | str) -> StoreError:
    """The error, in words, for what SQLite says of the ledger `path`, or for what was found in it."""
    stopped = None if isinstance(error, str) else _what_stopped_it(path, error)
    return stopped or LedgerDamaged(
        f"The ledger {path} cannot be used ({error}). No vectors are lost: if the disk is full, free some space, "
        f"else run `pixelmill repair {path.parent}`."
    )


def is_busy(error: BaseException) -> bool:
    """Whether SQLite could not do something because others were at it."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _what_stopped_it(path: Path, error: sqlite3.Error) -> StoreError | None:
    """The error, in words, where something else than the ledger `path` is to blame: others that keep it locked, the
    disk, the file system, too many open files. None where it may be the ledger."""
    extended = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    code = extended & 0xFF if extended != sqlite3.SQLITE_IOERR_SHORT_READ else sqlite3.SQLITE_CORRUPT
    if is_busy(error):
        return StoreBusy(
            f"Expected a turn at the ledger {path} within {PATIENCE} s. Another program keeps it locked: a run, a "
            "backup, a browser of databases. Close that, and run again. Nothing stored is lost."
        )
    if code == sqlite3.SQLITE_FULL or (code in _NOT_ITS_FAULT and _is_full(path)):
        return no_space(path, ROOM)
    if code == sqlite3.SQLITE_READONLY:
        return unwritable(path.parent, OSError(0, str(error)))
    if code in _NOT_ITS_FAULT and (refusal := _refusal(path)):
        return StoreError(f"Expected to use the ledger {path}. The system refuses: {refusal}.")
    return None


def _is_full(path: Path) -> bool:
    """SQLite does not say of a file that it cannot make that the disk is full."""
    try:
        if not path.exists():
            path.open("ab").close()
    except OSError as error:
        return error.errno in FULL
    return shutil.disk_usage(path.parent).free < ROOM


def _refusal(path: Path) -> str:
    """Why a file cannot be opened, which SQLite does not tell; '' if it can."""
    try:
        path.open("rb").close()
    except OSError as error:
        return error.strerror or str(error)
    return ""
