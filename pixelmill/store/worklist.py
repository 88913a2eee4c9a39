"""What is to do of a scan: images to embed, in which order, and files to read again that look unchanged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from pixelmill.batches import batched
from pixelmill.sources.found import FoundFile
from pixelmill.store.database import Database
from pixelmill.store.recorded import recorded_file

_AND_FILES = "JOIN files USING (path)"
_OPEN = "NOT gone AND (row IS NOT NULL OR path NOT IN (SELECT path FROM quarantine WHERE row IS NULL))"


class _Listed(NamedTuple):
    path: bytes
    source: bytes
    size: int | None
    mtime_ns: int | None
    ctime_ns: int | None
    row: int | None


class _ListedWithRow(NamedTuple):
    path: bytes
    source: bytes
    size: int | None
    mtime_ns: int | None
    ctime_ns: int | None
    row: int


class Worklist:
    """The images that scans found, as work."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def images(
        self, scan: int, wanted: Callable[[int | None], bool] = lambda _row: True
    ) -> Iterator[tuple[FoundFile, int | None]]:
        """The images of a scan in path order, each with its row if its content is known; of these those `wanted`.

        Files that were refused before their content was known, and have not changed since, are left out.
        """
        yield from self._images(
            f"seen {_AND_FILES} WHERE seen.scan = ? AND {_OPEN} ORDER BY seen.path", (scan,), wanted
        )

    def plan(self, scan: int, files: Iterable[FoundFile], *, newest_first: bool) -> int:
        """Record what of a scan is to be embedded, in the order given or the newest first; how many images that are."""
        self._db.write("DELETE FROM work WHERE scan = ?", (scan,))
        values = ((scan, i, file.encoded) for i, file in enumerate(files))
        for some in batched(values, 10_000):
            with self._db.transaction():
                self._db.write_all("INSERT INTO work VALUES (?, ?, ?)", some)
        if newest_first:
            with self._db.transaction():
                self._sort_by_time(scan)
        return self._db.number("SELECT count(*) FROM work WHERE scan = ?", scan)

    def _sort_by_time(self, scan: int) -> None:
        planned = f"work {_AND_FILES} WHERE work.scan = ? ORDER BY mtime_ns DESC, path"
        self._db.write(f"CREATE TEMP TABLE sorted AS SELECT path FROM {planned}", (scan,))  # noqa: S608 - constants
        self._db.write("DELETE FROM work WHERE scan = ?", (scan,))
        self._db.write("INSERT INTO work SELECT ?, rowid - 1, path FROM temp.sorted", (scan,))
        self._db.write("DROP TABLE temp.sorted")

    def has_plan(self, scan: int, first: int, images: int) -> bool:
        """Whether all that is to be embedded from position `first` on is still on record."""
        query = "SELECT count(*) FROM work WHERE scan = ? AND position BETWEEN ? AND ?"
        return self._db.number(query, scan, first, first + images - 1) == images

    def planned(self, scan: int, first: int, images: int) -> Iterator[tuple[FoundFile, int | None]]:
        """Of what is to be embedded, `images` from position `first` on, like `images`."""
        which = f"work {_AND_FILES} WHERE work.scan = ? AND work.position BETWEEN ? AND ? AND {_OPEN} ORDER BY position"
        yield from self._images(which, (scan, first, first + images - 1))

    def _images(
        self, which: str, values: tuple[int, ...], wanted: Callable[[int | None], bool] = lambda _row: True
    ) -> Iterator[tuple[FoundFile, int | None]]:
        query = f"SELECT path, source, size, mtime_ns, ctime_ns, row FROM {which}"  # noqa: S608 - constants
        for path, source, size, mtime_ns, ctime_ns, row in self._db.read(_Listed, query, values):
            if wanted(row):
                yield recorded_file(path, source, size, mtime_ns, ctime_ns), row

    def known(
        self, scan: int, most: int, *, after: str = "", until: str | None = None
    ) -> Iterator[list[tuple[FoundFile, int]]]:
        """The images of a scan whose content is known, with their rows, in lists of at most `most` in path order, from
        the one after `after` to `until`. The ledger may be written to between two lists."""
        last, end = os.fsencode(after), b"\xff" if until is None else os.fsencode(until)
        query = (
            "SELECT path, source, size, mtime_ns, ctime_ns, row FROM seen JOIN files USING (path) WHERE seen.scan = ? "
            "AND seen.path > ? AND seen.path <= ? AND NOT gone AND row IS NOT NULL ORDER BY seen.path LIMIT ?"
        )
        while some := list(self._db.read(_ListedWithRow, query, (scan, last, end, most))):
            last = some[-1][0]
            yield [(recorded_file(*found[:5]), found.row) for found in some]

    def rehashed(self) -> str:
        """The last path that a rehash looked at which was cut off; '' if none was."""
        last = self._db.meta("rehashed") or b""
        if not isinstance(last, bytes):
            raise self._db.damaged(f"it holds {last!r:.50} for a path")
        return os.fsdecode(last)

    def set_rehashed(self, path: str) -> None:
        """Record the last path that a rehash has looked at; '' when it has seen them all."""
        self._db.set_meta("rehashed", os.fsencode(path))

    def record_altered(self, files: Iterable[tuple[FoundFile, int]], last: FoundFile) -> None:
        """Record files that hold another content than that of their row, though size and times are those on record:
        they wait to be read like others that changed, and hold their row no more. `last` is the last one that was
        looked at."""
        altered = list(files)
        with self._db.transaction():
            self._db.write_all(
                "UPDATE files SET previous_row = CASE WHEN unsettled THEN previous_row ELSE row END, unsettled = 1, "
                "row = NULL WHERE path = ? AND row = ? AND (size, mtime_ns, ctime_ns) IS (?, ?, ?)",
                ((f.encoded, row, f.size, f.mtime_ns, f.ctime_ns) for f, row in altered),
            )
            self._db.write_all("DELETE FROM held WHERE (path, row) = (?, ?)", ((f.encoded, row) for f, row in altered))
            self.set_rehashed(last.absolute)
