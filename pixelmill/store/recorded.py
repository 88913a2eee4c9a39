"""Files beside what the ledger has on record of them: compared and recorded in stretches, not one by one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pixelmill.sources.found import FoundFile
from pixelmill.store.database import Cell, Database
from pixelmill.store.settlement import UNKNOWN

READ_AHEAD = 4096
"""Files on record that are read at once while a walk asks for one after the other."""
STRETCH = 1000
"""Files that are compared with the record at once; one that changed costs as many statements as these are."""

# An unchanged file is only seen again. Any other waits to be read (row NULL), and keeps what it held when last told.
_CHANGED = "(files.size, files.mtime_ns, files.ctime_ns) IS NOT (excluded.size, excluded.mtime_ns, excluded.ctime_ns)"
_FOUND = f"""
INSERT INTO files (path, source, size, mtime_ns, ctime_ns, scan) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (path) DO UPDATE SET
    previous_row = CASE WHEN {_CHANGED} AND NOT files.unsettled
        THEN ifnull(files.row, {UNKNOWN}) ELSE files.previous_row END,
    row = CASE WHEN {_CHANGED} THEN NULL ELSE files.row END,
    unsettled = CASE WHEN {_CHANGED} THEN 1 ELSE files.unsettled END,
    size = excluded.size, mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns,
    scan = max(files.scan, excluded.scan), gone = 0
"""  # noqa: S608 - a constant
_SEEN = "INSERT OR IGNORE INTO seen (path, scan) VALUES (?, ?)"
_ON_RECORD = "SELECT path, size, mtime_ns, ctime_ns FROM files WHERE path BETWEEN ? AND ? AND NOT gone LIMIT ?"
_ALL_FOUND = "UPDATE files SET scan = ?1 WHERE scan < ?1 AND path BETWEEN ?2 AND ?3"
_ALL_SEEN = (
    "INSERT OR IGNORE INTO seen (path, scan) SELECT path, ?1 FROM files WHERE path BETWEEN ?2 AND ?3 AND NOT gone"
)

Times = tuple[Cell, ...]
"""Size, mtime_ns, ctime_ns."""


class Recorded(NamedTuple):
    """A file as it is on record."""

    path: bytes
    source: bytes
    size: int | None
    mtime_ns: int | None
    ctime_ns: int | None


@dataclass(frozen=True, slots=True)
class _Ahead:
    """What is on record of all paths from `first` to `last` (None: to the end)."""

    first: bytes
    last: bytes | None
    times: dict[Cell, Times]

    def covers(self, path: bytes) -> bool:
        return self.first <= path and (self.last is None or path <= self.last)


_Values = tuple[bytes, bytes, int, int, int, int]
"""Path, source, size, mtime_ns, ctime_ns, scan."""
_NOTHING = _Ahead(b"\1", b"", {})


class KnownTimes:
    """The sizes and times that a table has on record, read ahead: quick for files in the order of their paths."""

    def __init__(self, db: Database, table: str) -> None:
        self._db = db
        self._query = f"SELECT path, size, mtime_ns, ctime_ns FROM {table} WHERE path >= ? ORDER BY path LIMIT ?"  # noqa: S608 - ours
        self._ahead = _NOTHING

    def is_known(self, file: FoundFile) -> bool:
        """Whether the file's size and times are those on record."""
        path = file.encoded
        if not self._ahead.covers(path):
            self._ahead = self._read_ahead(path)
        return self._ahead.times.get(path) == (file.size, file.mtime_ns, file.ctime_ns)

    def forget(self) -> None:
        """Read anew from now on: the table has changed."""
        self._ahead = _NOTHING

    def _read_ahead(self, path: bytes) -> _Ahead:
        times = {found: tuple(seen) for found, *seen in self._db.cells(self._query, (path, READ_AHEAD))}
        last = next(reversed(times)) if len(times) == READ_AHEAD else None
        return _Ahead(path, last if isinstance(last, bytes) else None, times)


class RecordedFiles:
    """Reads and writes the tables `files` and `seen` of a ledger."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._times = KnownTimes(db, "files")
        self.is_known = self._times.is_known

    def record(self, scan: int, files: Sequence[FoundFile]) -> None:
        """Record what a scan found."""
        self._times.forget()
        for start in range(0, len(files), STRETCH):
            self._record([_values(scan, file) for file in files[start : start + STRETCH]])

    def _record(self, found: Sequence[_Values]) -> None:
        """A stretch of paths of which just these are on record, unchanged, takes two statements."""
        first, last, scan = min(found)[0], max(found)[0], found[0][-1]
        on_record = set(self._db.cells(_ON_RECORD, (first, last, len(found) + 1)))  # lists may be in any order
        if on_record == {(path, size, mtime, ctime) for path, _, size, mtime, ctime, _ in found}:
            self._db.write(_ALL_FOUND, (scan, first, last))
            self._db.write(_ALL_SEEN, (scan, first, last))
            return
        self._db.write_all(_FOUND, found)
        self._db.write_all(_SEEN, ((values[0], scan) for values in found))


def _values(scan: int, file: FoundFile) -> _Values:
    return file.encoded, os.fsencode(file.source), file.size, file.mtime_ns, file.ctime_ns, scan


def recorded_file(
    path: bytes, source: bytes, size: int | None, mtime_ns: int | None, ctime_ns: int | None
) -> FoundFile:
    """A file on record as a scan finds it."""
    root = source if source.endswith(b"/") else source + b"/"
    return FoundFile(os.fsdecode(source), os.fsdecode(path.removeprefix(root)), size or 0, mtime_ns or 0, ctime_ns or 0)
