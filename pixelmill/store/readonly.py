"""Reading a ledger without writing to its folder, which may be read-only media or belong to somebody else."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote_from_bytes

from pixelmill.store.database import connect
from pixelmill.store.ledger import LEDGER, Ledger
from pixelmill.store.newer import refuse_newer
from pixelmill.store.reader import Store


@contextmanager
def consulted(folder: Path) -> Iterator[Ledger]:
    """The ledger of the store in `folder`, for reading only, with everything that was committed to it.

    Where the folder can be written, SQLite reads beside whoever writes to it now, and clears up after itself. Where it
    cannot, SQLite has no room for the index of a write-ahead log: without a log the file is all there is (`immutable`,
    which would ignore a log); with one, both are read as a copy in a temporary folder. Raises StoreError for a ledger
    that cannot be used.
    """
    path = folder / LEDGER
    try:
        with _readable(folder, path) as database, closing(Ledger(folder, database)) as ledger:
            yield ledger
    except sqlite3.DatabaseError as error:
        raise Ledger.unusable(path, error) from error


@contextmanager
def ledger_of(folder: Path) -> Iterator[Ledger | None]:
    """The ledger of the store in `folder`, for reading only; None if it has none of its own. Raises StoreError where
    there is no store."""
    store = Store(folder)
    refuse_newer(store.folder)
    if not (store.folder / LEDGER).exists():
        yield None
        return
    with consulted(store.folder) as ledger:
        yield None if ledger.is_empty() or not ledger.belongs_to(store) else ledger


@contextmanager
def _readable(folder: Path, path: Path) -> Iterator[sqlite3.Connection]:
    if os.access(folder, os.W_OK) and os.access(path, os.W_OK):
        yield _connected(path, "mode=rw")
        return
    try:
        database = _connected(path, "mode=ro")
    except sqlite3.OperationalError:
        log = path.with_name(f"{LEDGER}-wal")
        if log.is_file() and log.stat().st_size:
            with _copied(path, log) as copy:
                yield _connected(copy, "mode=rw")
            return
        database = _connected(path, "immutable=1")
    yield database


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
