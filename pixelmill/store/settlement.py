"""What happened to each file since the last settled run."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Set
from itertools import groupby, islice
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from pixelmill.store.database import Cell, Database, RowNumber
from pixelmill.store.folders import FolderCounts
from pixelmill.store.holders import REFUSED, Holders
from pixelmill.store.rows import KINDS, Changes

UNKNOWN = -1
"""Stands in `files.previous_row` for a file that was told of while nobody knew its content."""

# `tell` has marked with a 2 what is told now; what others find meanwhile stays for another time.
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

_WAITS = (
    "SELECT min(held.row) FROM held JOIN files USING (path) "
    "WHERE files.row IS NULL AND NOT gone AND unsettled AND previous_row IS NULL AND held.row >= ?"
)

AT_ONCE = 20_000
"""Rows that are changed at once at the end of a run, for which others have to wait."""

FEW = 24
"""New rows that are named."""

Event = tuple[str, int | None, bytes, bytes]
"""What happened to a file: its kind (see `KINDS`), the row it holds or held, its source root and its path."""


class _Held(NamedTuple):
    row: int | None
    source: bytes
    path: bytes


class _Gone(NamedTuple):
    held: int | None
    source: bytes
    path: bytes


class Step(NamedTuple):
    """A change of all rows of a table for which `which` is true, in the order of `key`, which begins after `first`."""

    change: str
    which: str
    key: str = "path"
    first: Cell = b""

    @property
    def statement(self) -> str:
        return f"{self.change} WHERE {self.which}"

    @property
    def keys(self) -> str:
        table = self.change.removeprefix("UPDATE ").removeprefix("DELETE FROM ").partition(" SET")[0]
        return f"SELECT {self.key} FROM {table} WHERE {self.which} AND {self.key} > ? ORDER BY {self.key}"  # noqa: S608


# By the name of the index: SQLite would rather go through all files.
_MARKS = (
    Step("UPDATE files INDEXED BY files_unsettled SET unsettled = 2",
         f"unsettled AND unsettled = 1 AND (row IS NOT NULL OR {REFUSED})"),
    Step("UPDATE files INDEXED BY files_gone SET gone = 2", "gone > 0 AND gone = 1"),
    Step("UPDATE stale SET told = 2", "told = 1", "row", -1),
)  # fmt: skip
_SETTLED = (
    Step("DELETE FROM quarantine", "row IS NULL AND path IN (SELECT path FROM files WHERE gone = 2)"),
    Step("DELETE FROM files INDEXED BY files_gone", "gone > 0 AND gone = 2"),
    Step("UPDATE files INDEXED BY files_unsettled SET unsettled = 0, previous_row = NULL",
         "unsettled AND unsettled = 2"),
    Step("DELETE FROM stale", "told = 2", "row", -1),
)  # fmt: skip


def tell(db: Database, holders: Holders) -> Changes:
    """What happened to the files since the last settled run. See `Settlement` for the rules.

    What is told is marked first; it is then read without keeping others from writing, which may take minutes.
    """
    for mark in _MARKS:
        _in_stretches(db, mark)
    with db.transaction():
        for mark in _MARKS:
            db.write(mark.statement)
        elsewhere = {path for path, _ in holders.elsewhere()}
        db.write_all("UPDATE files SET gone = 1 WHERE path = ?", ((path,) for path in elsewhere))
        db.write(_MARKS[-1].statement)  # of theirs as well
        db.set_meta("told_rows", _told_rows(db))
    with db.as_of_now():
        return Settlement(db, db.meta_number("settled_rows"), elsewhere).changes()


def _told_rows(db: Database) -> int:
    """Up to which row contents have been told of: not beyond one of a file that is new, and that waits to be read again
    since a run stored its content and died."""
    (first,) = next(db.cells(_WAITS, (db.meta_number("settled_rows"),)), (None,))
    return db.meta_number("rows") if first is None else int(first)


def settle(db: Database) -> None:
    """Take what `tell` told as known from now on, and forget the files that are gone."""
    for step in _SETTLED:
        _in_stretches(db, step)
    with db.transaction():
        for step in _SETTLED:
            db.write(step.statement)
        db.write("DELETE FROM meta WHERE key = 'notice'")
        db.set_meta("settled_rows", db.meta_number("told_rows"))


def _in_stretches(db: Database, step: Step) -> None:
    """Do the most of a step in transactions of their own, so that others get their turn between; the rest, which is
    less than one stretch, is left."""
    last = step.first
    while end := next(db.cells(f"{step.keys} LIMIT 1 OFFSET ?", (last, AT_ONCE - 1)), None):
        with db.transaction():
            db.write(f"{step.statement} AND {step.key} > ? AND {step.key} <= ?", (last, end[0]))
        last = end[0]


class Spread:
    """A few of many rows, evenly from all over them, of which only twice as many are ever kept."""

    def __init__(self) -> None:
        self._kept: list[int] = []
        self._every = 1
        self._seen = 0

    def add(self, row: int) -> None:
        if self._seen % self._every == 0:
            self._kept.append(row)
            if len(self._kept) > 2 * FEW:
                self._kept, self._every = self._kept[::2], 2 * self._every
        self._seen += 1

    def chosen(self) -> tuple[int, ...]:
        number = min(len(self._kept), FEW)
        return tuple(self._kept[i * len(self._kept) // number] for i in range(number))


class Settlement:
    """Tells what happened to each file since the last settled run.

    A known path with another content is *changed*. A path not known before is an arrival: *duplicate* if a file that is
    no arrival holds the same content; else the first arrival (by path) is *new* if the content is new to the store and
    *moved* if not, and further ones are duplicates. A known path that is gone is *removed*, unless a move accounts for
    it (for the first, by path, of those that held the content). A file whose content cannot be had (empty, too large)
    arrives as new, and does not change while it is refused. Of what waits to be read, and of a file that may be
    `elsewhere` (the paths of such files), nothing is told until it is known.
    """

    def __init__(self, db: Database, settled_rows: int, elsewhere: Set[bytes]) -> None:
        self._db = db
        self._settled_rows = settled_rows
        self._elsewhere = elsewhere

    def changes(self) -> Changes:
        stale = array(
            "q", (row for (row,) in self._db.read(RowNumber, "SELECT row FROM stale WHERE told = 2"))
        )  # 8 bytes a row, not 100
        counts, folders, new = dict.fromkeys(KINDS, 0), FolderCounts(), Spread()
        for kind, row, source, path in self._events():
            counts[kind] += 1
            folders.add(kind, source, path)
            if kind in ("changed", "moved", "removed") and row is not None:
                stale.append(row)
            if kind in ("new", "changed") and row is not None:
                new.add(row)
        stale_rows = tuple(np.unique(stale).tolist())
        return Changes(**counts, stale_rows=stale_rows, folders=folders.largest(), new_rows=new.chosen())

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
        query = f"SELECT {_HELD} AS held, source, path FROM files WHERE {_GONE} ORDER BY held, path"  # noqa: S608
        gone = self._db.read(_Gone, query)
        known = (file for file in gone if file[2] not in self._elsewhere)
        for row, files in groupby(known, itemgetter(0)):
            for file in islice(files, int(self._has_moved(row)), None):
                yield "removed", *file

    def _files(self, which: str) -> Iterator[_Held]:
        # By name: SQLite would rather go through all files in the order of their rows, every night.
        query = f"SELECT row, source, path FROM files INDEXED BY files_unsettled WHERE {which}"  # noqa: S608 - constants
        return self._db.read(_Held, query)

    def _first_arrival(self, row: int | None) -> str:
        if any(any(self._db.cells(f"{query} LIMIT 1", (row,))) for query in _HOLDERS):
            return "duplicate"
        return "new" if row is None or row >= self._settled_rows else "moved"

    def _has_moved(self, row: int | None) -> bool:
        query = f"SELECT 1 FROM files WHERE row = ? AND {_ARRIVED} LIMIT 1"  # noqa: S608 - constants
        return any(self._db.cells(query, (row,))) and self._first_arrival(row) == "moved"
