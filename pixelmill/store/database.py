"""A connection to SQLite that waits for others as long as for the store's lock, and says what it waits for."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pixelmill.store.lock import PATIENCE, TELL_AFTER

log = logging.getLogger(__name__)

_AT_ONCE: Final = 1.0
"""Seconds that SQLite itself waits: no signal, as Ctrl-C sends one, is heard meanwhile."""


class PatientConnection(sqlite3.Connection):
    """Tries a statement again while others keep the database locked, outside of a transaction or at its end.

    Inside a transaction that began with BEGIN IMMEDIATE nobody else is in the way.
    """

    def execute(self, *statement: Any) -> sqlite3.Cursor:
        return self._patiently(lambda: sqlite3.Connection.execute(self, *statement))

    def executescript(self, *script: Any) -> sqlite3.Cursor:
        return self._patiently(lambda: sqlite3.Connection.executescript(self, *script))

    def _patiently(self, do: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        begun, told = time.monotonic(), False
        while True:
            try:
                return do()
            except sqlite3.OperationalError as error:
                waited = time.monotonic() - begun
                if not is_busy(error) or waited >= PATIENCE:
                    raise
                if not told and waited >= TELL_AFTER:
                    log.warning("waiting for the ledger %s: another program keeps it locked", self._file())
                    told = True
                time.sleep(0.05)

    def _file(self) -> str:
        return str(sqlite3.Connection.execute(self, "PRAGMA database_list").fetchone()[2])


def connect(where: Path | str, *, uri: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode, for one thread at a time. What is no UTF-8 in a text is read as U+FFFD: a reason
    or a report with a damaged byte is still worth reading, and `ledger_check` names it."""
    db = sqlite3.connect(
        where, timeout=_AT_ONCE, isolation_level=None, check_same_thread=False, uri=uri, factory=PatientConnection
    )
    db.text_factory = lambda text: text.decode("utf-8", "replace")
    return db


def is_busy(error: BaseException) -> bool:
    """Whether SQLite could not do something because others were at it."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
