"""What scans found: which files there are, were and are gone, and which scans are still somebody's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pixelmill.batches import batched
from pixelmill.sources.address import archive_kind
from pixelmill.sources.files import Status
from pixelmill.sources.found import FoundFile
from pixelmill.store import living
from pixelmill.store.database import Database
from pixelmill.store.recorded import Recorded, RecordedFiles, recorded_file

SCANS_KEPT = 50
"""Scans of programs that gave no sign of life stay for so many others."""
_FORGOTTEN_AT_ONCE = 100_000
"""Rows of a list that is over that are deleted in one transaction: others wait for its end."""


_GONE = {"files": "gone = 1", "beside": "gone = 1, unsettled = 1"}
"""How each table marks what a scan did not find."""


class _Scan(NamedTuple):
    scan: int | None


class Scans:
    """The scans of a store's sources, and the files that they found."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._folder = db.path.parent
        self._files = RecordedFiles(db)
        self._signs: dict[int, living.Sign] = {}

    def close(self) -> None:
        """Say of no scan any more that its run lives."""
        for scan in list(self._signs):
            self._signs.pop(scan).take_back()

    def begin(self) -> int:
        """A number for a new scan, higher than every one before. While the ledger is open, or somebody else says that
        the run lives (`living.holding`), what belongs to it stays; what dead runs have left is swept away."""
        with self._db.transaction():
            scan = max(self._db.meta_number("scan"), *living.scans(self._folder), 0) + 1
            self._db.set_meta("scan", scan)
            self._signs[scan] = living.Sign(self._folder, scan)
        self._sweep(scan)
        return scan

    def _sweep(self, newest: int) -> None:
        """Forget what dead runs have left of scans before `newest`."""
        folder = self._folder
        now = living.sign_of(folder, newest).stat().st_mtime
        for scan in sorted({*self._scans("seen"), *self._scans("work"), *living.scans(folder)}):
            lives = scan >= newest or living.lives(folder, scan, now=now)
            if lives is False or (lives is None and scan < newest - SCANS_KEPT):
                self.forget(scan)

    def _scans(self, table: str) -> Iterator[int]:
        """The scans that a table has something of, found without reading that."""
        query = f"SELECT min(scan) FROM {table} WHERE scan > ?"  # noqa: S608 - constants
        found = self._db.one(_Scan, query, (-1,))
        while found and found.scan is not None:
            yield found.scan
            found = self._db.one(_Scan, query, (found.scan,))

    def is_known(self, file: FoundFile) -> bool:
        """Whether the file's size and times are those on record, so that its content need not be looked at."""
        return self._files.is_known(file)

    def is_stored(self, path: str) -> bool:
        """Whether a row holds what an absolute path held when it was last read."""
        query = "SELECT EXISTS (SELECT 1 FROM files WHERE path = ? AND row IS NOT NULL AND NOT gone)"
        return bool(self._db.number(query, os.fsencode(path)))

    def record(self, scan: int, files: Iterable[FoundFile]) -> None:
        """Record the images that a scan found: unchanged ones are seen again, others wait to be read."""
        for some in batched(files, 10_000):
            with self._db.transaction():
                self._files.record(scan, some)

    def forget(self, scan: int) -> None:
        """Drop the list of what a scan found, and of what was to be done of it: the run is over."""
        for table, key in (("seen", "path"), ("work", "position")):
            some = f"SELECT {key} FROM {table} WHERE scan = ?1 LIMIT {_FORGOTTEN_AT_ONCE}"  # noqa: S608 - constants
            query = f"DELETE FROM {table} WHERE scan = ?1 AND {key} IN ({some})"  # noqa: S608 - constants
            while self._db.write(query, (scan,)) == _FORGOTTEN_AT_ONCE:
                pass
        if sign := self._signs.pop(scan, None):
            sign.take_back()
        living.remove(self._folder, scan)

    def members(self, archive: str, status: Status) -> Iterator[FoundFile] | None:
        """The images of an archive, as they are on record, if that is what is on record of it; None if not."""
        query = "SELECT size, mtime_ns, tag, images FROM archives WHERE path = ?"
        found = next(self._db.cells(query, (os.fsencode(archive),)), None)
        if found != (*status, self.images_under(archive)):
            return None
        query = "SELECT path, source, size, mtime_ns, ctime_ns FROM files WHERE path >= ? AND path < ? AND NOT gone"
        return (recorded_file(*member) for member in list(self._db.read(Recorded, query, under(archive))))

    def record_archives(self, scan: int, archives: Mapping[str, Status], *, beside: bool = False) -> None:
        """Record archives whose images a scan has recorded, all of them: those that it did not find are gone. So are
        companions, if it looked for what lies `beside` images."""
        for archive, status in archives.items():
            self.mark_gone(scan, archive, beside=beside)
            values = (os.fsencode(archive), *status, self.images_under(archive))
            self._db.write("INSERT OR REPLACE INTO archives VALUES (?, ?, ?, ?, ?)", values)

    def mark_gone(
        self, scan: int, root: str, unreadable: Sequence[str] = (), fitting: Callable[[str], bool] | None = None,
        *, beside: bool = False,
    ) -> None:  # fmt: skip
        """Mark the known files under folder `root` that neither `scan` nor a later one found; of these only those
        `fitting`, by their own path or their archive's. `beside`: so are companions marked.

        Those at or under an `unreadable` path stay: nobody knows whether they are there. So do members of archives
        below the folder, into which nobody looked.
        """

        def looked_for(path: bytes, source: bytes) -> bool:
            if fitting is None:
                return source == os.fsencode(root) or archive_kind(os.fsdecode(source)) is None
            return fitting(os.fsdecode(path)) or fitting(os.fsdecode(source))

        with self._db.transaction():
            self._db.add_function("looked_for", 2, looked_for)
            for table, gone in _GONE.items() if beside else [("files", _GONE["files"])]:
                self._db.write_all(
                    f"UPDATE {table} SET scan = ?1 WHERE scan < ?1 AND (path = ?2 OR path >= ?3 AND path < ?4)",  # noqa: S608
                    ((scan, os.fsencode(path.rstrip("/")), *under(path)) for path in unreadable),
                )
                self._db.write(
                    f"UPDATE {table} SET {gone} WHERE path >= ? AND path < ? AND scan < ? AND gone = 0 "  # noqa: S608
                    "AND looked_for(path, source)",
                    (*under(root), scan),
                )

    def mark_path_gone(self, path: str) -> None:
        """Mark one file, if it is known, as gone."""
        self._db.write("UPDATE files SET gone = 1 WHERE path = ? AND gone = 0", (os.fsencode(path),))

    def images_under(self, root: str) -> int:
        """How many images are on record below folder `root`."""
        return self._db.number("SELECT count(*) FROM files WHERE path >= ? AND path < ? AND NOT gone", *under(root))

    def seen_under(self, scan: int, root: str) -> int:
        """How many images a scan found below folder `root`."""
        return self._db.number(
            "SELECT count(*) FROM seen WHERE scan = ? AND path >= ? AND path < ?", scan, *under(root)
        )

    def seen(self, scan: int) -> int:
        """How many images a scan found."""
        return self._db.number("SELECT count(*) FROM seen WHERE scan = ?", scan)


def under(folder: str) -> tuple[bytes, bytes]:
    """The least path below `folder`, and the least one that is above all of those."""
    prefix = os.fsencode(folder.rstrip("/"))
    return prefix + b"/", prefix + b"0"
