"""What happened to each file since the last settled run."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator, Set
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter

import numpy as np

from pixelmill.store.folders import KINDS, FolderCount, FolderCounts
from pixelmill.store.holders import REFUSED

UNKNOWN = -1
"""Stands in `files.previous_row` for a file that was told of while nobody knew its content."""

# `changes` of the ledger has marked with a 2 what is told now; what others find meanwhile stays for another time.
_ARRIVED = "unsettled AND unsettled = 2 AND NOT gone AND previous_row IS NULL"
_CHANGED = (
    "unsettled AND unsettled = 2 AND NOT gone AND previous_row IS NOT NULL AND "
    f"(row IS NOT NULL AND row IS NOT previous_row OR row IS NULL AND previous_row <> {UNKNOWN} AND {REFUSED})"
)
# A file that changed and vanished before it was told of counts for what it held when last told.
_GONE = "gone > 0 AND gone = 2 AND NOT (unsettled AND previous_row IS NULL)"
_HELD = "CASE WHEN unsettled THEN previous_row ELSE row END"
# Those that are no arrivals and hold a row; one that changed and waits to be read may still hold what it held.
_HOLDERS = (
    "SELECT 1 FROM files WHERE row = ?1 AND NOT gone AND (NOT unsettled OR previous_row IS NOT NULL)",
    "SELECT 1 FROM held JOIN files USING (path) "
    "WHERE held.row = ?1 AND files.row IS NULL AND NOT gone AND previous_row IS NOT NULL",
)

Event = tuple[str, int | None, bytes, bytes]
"""What happened to a file: its kind (see `KINDS`), the row it holds or held, its source root and its path."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a run found: numbers of files since the last settled run, in all and by folder, and the rows whose path must
    be published anew."""

    new: int = 0
    changed: int = 0
    moved: int = 0
    duplicate: int = 0
    removed: int = 0
    stale_rows: tuple[int, ...] = ()
    folders: tuple[FolderCount, ...] = ()


class Settlement:
    """Tells what happened to each file since the last settled run.

    A known path with another content is *changed*. A path not known before is an arrival: *duplicate* if a file that is
    no arrival holds the same content; else the first arrival (by path) is *new* if the content is new to the store and
    *moved* if not, and further ones are duplicates. A known path that is gone is *removed*, unless a move accounts for
    it (for the first, by path, of those that held the content). A file whose content cannot be had (empty, too large)
    arrives as new, and does not change while it is refused. Of what waits to be read, and of a file that may be
    `elsewhere` (the paths of such files), nothing is told until it is known.
    """

    def __init__(self, db: sqlite3.Connection, settled_rows: int, elsewhere: Set[bytes]) -> None:
        self._db = db
        self._settled_rows = settled_rows
        self._elsewhere = elsewhere

    def changes(self) -> Changes:
        stale = array(
            "q", (row for (row,) in self._db.execute("SELECT row FROM stale WHERE told = 2"))
        )  # 8 bytes a row, not 100
        counts, folders = dict.fromkeys(KINDS, 0), FolderCounts()
        for kind, row, source, path in self._events():
            counts[kind] += 1
            folders.add(kind, source, path)
            if kind in ("changed", "moved", "removed") and row is not None:
                stale.append(row)
        return Changes(**counts, stale_rows=tuple(np.unique(stale).tolist()), folders=folders.largest())

    def _events(self) -> Iterator[Event]:
        for file in self._files(_CHANGED):
            yield "changed", *file
        for file in self._files(f"{_ARRIVED} AND row IS NULL AND {REFUSED}"):
            yield "new", *file
        yield from self._arrivals()
        yield from self._removals()

    def _arrivals(self) -> Iterator[Event]:
        arrived = self._files(f"{_ARRIVED} AND row IS NOT NULL ORDER BY row, path")
        for row, files in groupby(arrived, itemgetter(0)):
            kind = self._first_arrival(row)
            for file in files:
                yield kind, *file
                kind = "duplicate"

    def _removals(self) -> Iterator[Event]:
        gone = self._db.execute(f"SELECT {_HELD} AS held, source, path FROM files WHERE {_GONE} ORDER BY held, path")  # noqa: S608
        known = (file for file in gone if file[2] not in self._elsewhere)
        for row, files in groupby(known, itemgetter(0)):
            for file in islice(files, int(self._has_moved(row)), None):
                yield "removed", *file

    def _files(self, which: str) -> Iterator[tuple[int | None, bytes, bytes]]:
        # By name: SQLite would rather go through all files in the order of their rows, every night.
        query = f"SELECT row, source, path FROM files INDEXED BY files_unsettled WHERE {which}"  # noqa: S608 - constants
        return self._db.execute(query)

    def _first_arrival(self, row: int | None) -> str:
        if any(self._db.execute(f"{query} LIMIT 1", (row,)).fetchone() for query in _HOLDERS):
            return "duplicate"
        return "new" if row is None or row >= self._settled_rows else "moved"

    def _has_moved(self, row: int | None) -> bool:
        query = f"SELECT 1 FROM files WHERE row = ? AND {_ARRIVED} LIMIT 1"  # noqa: S608 - constants
        return self._db.execute(query, (row,)).fetchone() is not None and self._first_arrival(row) == "moved"
