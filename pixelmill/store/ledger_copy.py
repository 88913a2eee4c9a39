"""A copy of a store's ledger to try things out on: nothing of the store is written to, be it on read-only media."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pixelmill.errors import StoreError
from pixelmill.store.ledger import Ledger
from pixelmill.store.reader import Store
from pixelmill.store.schema import LEDGER
from pixelmill.store.sqlite_errors import unusable

_FILES = (LEDGER, f"{LEDGER}-wal", f"{LEDGER}-journal")
_TRIES = 10
_WAIT = 0.2

Stamps = dict[str, tuple[int, int, int]]
"""Inode, size and time of modification (ns) of each of a ledger's files."""


@contextmanager
def ledger_to_try_on(store: Store | None) -> Iterator[Ledger]:
    """A ledger that can be written to and is thrown away: it knows what that of `store` knows, and is level with it; an
    empty one without a store. Raises StoreError for a ledger that cannot be used or copied."""
    with TemporaryDirectory(prefix="pixelmill-", ignore_cleanup_errors=True) as scratch:
        try:
            if store is not None:
                _copy(store.folder, Path(scratch))
            with Ledger(Path(scratch)) as ledger:
                if store is not None:
                    ledger.catch_up(store)
                yield ledger
        except StoreError as error:
            if store is None or scratch not in str(error):
                raise
            raise type(error)(str(error).replace(scratch, str(store.folder))) from error


def _copy(folder: Path, scratch: Path) -> None:
    """Copy a ledger at rest, file by file. SQLite, which would make files beside it to read it, is asked only for one
    that others write to all the time: then these files are there."""
    for _ in range(_TRIES):
        try:
            if _copied_at_rest(folder, scratch):
                return
        except FileNotFoundError:
            pass  # SQLite has just removed its log
        except OSError as error:
            raise StoreError(
                f"Expected to copy {folder / LEDGER} to {scratch}, where a dry run tries things out. {error.strerror}. "
                "TMPDIR names another folder for that."
            ) from error
        time.sleep(_WAIT)
    _copy_beside_writers(folder / LEDGER, scratch / LEDGER)


def _copied_at_rest(folder: Path, scratch: Path) -> bool:
    """Whether no file of a ledger has changed while all were copied."""
    for name in _FILES:
        (scratch / name).unlink(missing_ok=True)
    before = _stamps(folder)
    for name in before:
        shutil.copyfile(folder / name, scratch / name)
    return before == _stamps(folder)


def _stamps(folder: Path) -> Stamps:
    found = {name: (folder / name).stat() for name in _FILES if (folder / name).exists()}
    return {name: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


def _copy_beside_writers(path: Path, target: Path) -> None:
    for name in _FILES:
        target.with_name(name).unlink(missing_ok=True)
    try:
        where = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(where, uri=True)) as ledger, closing(sqlite3.connect(target)) as copy:
            ledger.backup(copy)
    except sqlite3.Error as error:
        raise unusable(path, error) from error
