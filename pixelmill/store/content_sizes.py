"""Which stored contents a planned file may hold whose own is not known: those of its size in bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pixelmill.batches import batched
from pixelmill.store.database import Database, RowNumber
from pixelmill.store.extents import extents_holding
from pixelmill.store.reader import Store

_AT_ONCE = 16_384
"""Rows that are held in memory while they are marked."""

_UNKNOWN = "FROM work JOIN files USING (path) WHERE work.scan = ? AND row IS NULL"
_OF_SIZES = "size IN (SELECT size FROM temp.planned_sizes)"
_ADD = "INSERT OR IGNORE INTO temp.content_sizes (size, row)"
_KNOWN = f"{_ADD} SELECT size, row FROM files WHERE {_OF_SIZES}"  # noqa: S608
# Of what waits to be read again the times may be all that changed: a copy of it may be read after it.
_HELD = f"{_ADD} SELECT size, held.row FROM held JOIN files USING (path) WHERE files.row IS NULL AND {_OF_SIZES}"  # noqa: S608


class UnknownFiles(NamedTuple):
    """Planned files whose content is not known: how many, and how many of them whose size is not known either."""

    files: int
    unsized: int


class ContentSizes:
    """The sizes of stored contents, as far as a plan asks for them.

    SQLite keeps them in temporary tables of this connection: in no memory, in nobody's way, and gone with it.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._next = 0

    def gather(self, scan: int) -> UnknownFiles:
        """Look up the stored contents of all sizes that planned files of a scan have whose content is not known."""
        for table, columns in (("planned_sizes", "size"), ("content_sizes", "size, row")):
            self._db.write(f"DROP TABLE IF EXISTS temp.{table}")
            self._db.write(f"CREATE TEMP TABLE {table} ({columns}, PRIMARY KEY ({columns})) WITHOUT ROWID")
        self._db.write(f"INSERT OR IGNORE INTO temp.planned_sizes SELECT size {_UNKNOWN} AND size > 0", (scan,))
        self._db.write(_HELD)
        self._next = 0
        self.add()
        query = f"SELECT count(*), count(CASE WHEN size > 0 THEN NULL ELSE 1 END) {_UNKNOWN}"
        return self._db.one(UnknownFiles, query, (scan,)) or UnknownFiles(0, 0)

    def add(self) -> None:
        """Look up the contents that have got their row since this was done last."""
        after = self._db.number("SELECT coalesce(max(row), -1) + 1 FROM files")
        self._db.write(f"{_KNOWN} AND row >= ? AND row < ?", (self._next, after))
        self._next = after

    def rows(self, size: int, most: int, *, first: int = 0, before: int) -> list[int]:
        """The rows of a size from `first` on and `before` one, at most so many, the newest first."""
        query = "SELECT row FROM temp.content_sizes WHERE size = ? AND row >= ? AND row < ? ORDER BY row DESC LIMIT ?"
        return [row for (row,) in self._db.read(RowNumber, query, (size, first, before, most))]

    def held(self, scan: int, first: int, images: int) -> list[int]:
        """The rows of what planned files held that wait to be read again, `images` files from position `first` on."""
        query = (
            "SELECT held.row FROM work JOIN held USING (path) JOIN files USING (path) "
            "WHERE work.scan = ? AND work.position BETWEEN ? AND ? AND files.row IS NULL"
        )
        return [row for (row,) in self._db.read(RowNumber, query, (scan, first, first + images - 1))]

    def crowded(self, most: int, rows: int) -> np.ndarray:
        """(rows,) bool: which of the first `rows` rows have a size that more than `most` have."""
        sizes = "SELECT size FROM temp.content_sizes GROUP BY size HAVING count(*) > ?"
        query = f"SELECT row FROM temp.content_sizes WHERE size IN ({sizes})"  # noqa: S608
        return _marked(self._db.read(RowNumber, query, (most,)), rows)

    def sized(self, rows: int) -> np.ndarray:
        """(rows,) bool: which of the first `rows` rows have a size on record that is certain: that of a file that holds
        or held their content when it was seen last."""
        return _marked(self._db.read(RowNumber, "SELECT row FROM files WHERE row IS NOT NULL AND size > 0"), rows)


def _marked(found: Iterator[RowNumber], rows: int) -> np.ndarray:
    marked = np.zeros(rows, dtype=bool)
    for some in batched((row for (row,) in found), _AT_ONCE):
        marked[[row for row in some if row < rows]] = True
    return marked


def sha256_of(store: Store, rows: np.ndarray) -> np.ndarray:
    """(len(rows), 32) uint8: the sha256 of the contents of ascending `rows`."""
    gathered = np.empty((len(rows), 32), np.uint8)
    for extent, first, last in extents_holding(store.manifest.identity, rows):
        gathered[first:last] = store.parts.array(extent, "images/sha256")[rows[first:last] - extent.row]
    return gathered
