"""Reading a ledger without writing to its folder, which may be read-only media or belong to somebody else."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote_from_bytes

from pixelmill.store.database import connect
from pixelmill.store.ledger import Ledger
from pixelmill.store.newer import refuse_newer
from pixelmill.store.reader import Store
from pixelmill.store.schema import LEDGER
from pixelmill.store.sqlite_errors import unusable


@contextmanager
def open_read_only(folder: Path) -> Iterator[Ledger]:
    """The ledger of the store in `folder`, for reading only, with everything that was committed to it.

    Where the folder can be written, SQLite reads beside whoever writes to it now, and clears up after itself. Where it
    cannot, SQLite has no room for the index of a write-ahead log: without a log the file is all there is (`immutable`,
    which would ignore a log); with one, both are read as a copy in a temporary folder. Raises StoreError for a ledger
    that cannot be used.
    """
    with _readable(folder, folder / LEDGER) as database, closing(Ledger(folder, database)) as ledger:
        yield ledger


@contextmanager
def ledger_of(folder: Path) -> Iterator[Ledger | None]:
    """The ledger of the store in `folder`, for reading only; None if it has none of its own. Raises StoreError where
    there is no store."""
    store = Store(folder)
    refuse_newer(store.folder)
    if not (store.folder / LEDGER).exists():
        yield None
        return
    with open_read_only(store.folder) as ledger:
        yield None if ledger.is_empty() or not ledger.belongs_to(store) else ledger


@contextmanager
def _readable(folder: Path, path: Path) -> Iterator[sqlite3.Connection]:
    with ExitStack() as copies:
        try:
            connection = _opened(folder, path, copies)
        except sqlite3.DatabaseError as error:
            raise unusable(path, error) from error
        yield connection


def _opened(folder: Path, path: Path, copies: ExitStack) -> sqlite3.Connection:
    if os.access(folder, os.W_OK) and os.access(path, os.W_OK):
        return _connected(path, "mode=rw")
    try:
        return _connected(path, "mode=ro")
    except sqlite3.OperationalError:
        log = path.with_name(f"{LEDGER}-wal")
        if log.is_file() and log.stat().st_size:
            return _connected(copies.enter_context(_copied(path, log)), "mode=rw")
        return _connected(path, "immutable=1")


def _connected(path: Path, how: str) -> sqlite3.Connection:
    uri = f"file:{quote_from_bytes(bytes(path.absolute()))}?{how}"
    database = connect(uri, uri=True)
    try:
        database.execute("PRAGMA query_only = ON")
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def _copied(path: Path, log: Path) -> Iterator[Path]:
    with TemporaryDirectory(prefix="pixelmill-") as scratch:
        for file in (path, log):
            shutil.copyfile(file, Path(scratch) / file.name)
        yield Path(scratch) / path.name
