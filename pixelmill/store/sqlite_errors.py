"""What SQLite says of a broken ledger, in the words of the store."""

from __future__ import annotations

import inspect
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from pixelmill.errors import PixelmillError, StoreBusy, StoreError
from pixelmill.store.database import is_busy
from pixelmill.store.durable import FULL, no_space
from pixelmill.store.lock import PATIENCE, unwritable

_Class = TypeVar("_Class", bound=type)
_TROUBLE = (sqlite3.Error, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)
"""What a file that is no ledger of ours can lead to; SQLite itself lets any column hold any type."""

ROOM = 8 * 2**20
"""Bytes that a ledger should find free: 1000 pages of log, when SQLite empties it, and as many that they fill."""
_NOT_ITS_FAULT = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR)


def what_stopped_it(path: Path, error: Exception) -> StoreError | None:
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


def explained(unusable: Callable[[Any, Exception], PixelmillError]) -> Callable[[_Class], _Class]:
    """Let the public methods of a class raise `unusable(self, error)` where SQLite, or a value it gave, is wrong."""

    def decorate(cls: _Class) -> _Class:
        for name, method in list(vars(cls).items()):
            if inspect.isfunction(method) and not name.startswith("_"):
                setattr(cls, name, _wrapped(method, unusable))
        return cls

    return decorate


def _wrapped(method: Callable[..., Any], unusable: Callable[[Any, Exception], PixelmillError]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: object, *values: Any, **named: Any) -> Any:
        try:
            return method(self, *values, **named)
        except PixelmillError:
            raise
        except _TROUBLE as error:
            raise unusable(self, error) from error

    @wraps(method)
    def generate(self: object, *values: Any, **named: Any) -> Iterator[Any]:
        try:
            yield from method(self, *values, **named)
        except PixelmillError:
            raise
        except _TROUBLE as error:
            raise unusable(self, error) from error

    if hasattr(method, "__wrapped__"):  # a context manager: what happens inside it is not the ledger's
        return method
    return generate if inspect.isgeneratorfunction(method) else call
