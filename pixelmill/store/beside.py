"""What came with images: which companions there are, which of them wait to be read, and what they say."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pixelmill.batches import batched
from pixelmill.sources.companions import Companion, key_of
from pixelmill.sources.said import Said, Value
from pixelmill.store import said
from pixelmill.store.database import Database
from pixelmill.store.recorded import STRETCH, KnownTimes, recorded_file
from pixelmill.store.scans import under

# `key` says of which images a companion speaks (`companions.keys_of`). `unread`: 1 waits to be read; 2 does not, as no
# image has its key. `unsettled`: 1 its values have changed since they were joined to rows, or it is gone; 2 that was
# told and will be settled. Its values lie in `said`, as a JSON object, so that what every scan writes stays small.
BESIDE = """
CREATE TABLE IF NOT EXISTS beside (
    path BLOB PRIMARY KEY, source BLOB NOT NULL, key BLOB NOT NULL, kind TEXT NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
    unread INTEGER NOT NULL DEFAULT 1, unsettled INTEGER NOT NULL DEFAULT 0, gone INTEGER NOT NULL DEFAULT 0,
    scan INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS beside_by_key ON beside (key);
CREATE INDEX IF NOT EXISTS beside_unread ON beside (unread, path) WHERE unread > 0;
CREATE INDEX IF NOT EXISTS beside_unsettled ON beside (path) WHERE unsettled > 0;
CREATE TABLE IF NOT EXISTS said (
    path BLOB PRIMARY KEY, origin TEXT NOT NULL, said TEXT NOT NULL, problem TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS said_problem ON said (path) WHERE problem IS NOT NULL
"""
BESIDE_NAMES = ("beside", "beside_by_key", "beside_unread", "beside_unsettled", "said", "said_problem")
"""Tables and indexes that ledgers from before them lack."""

_TIMES = "beside.size, beside.mtime_ns, beside.ctime_ns"
_CHANGED = f"({_TIMES}) IS NOT (excluded.size, excluded.mtime_ns, excluded.ctime_ns)"
_FOUND = f"""
INSERT INTO beside (path, source, key, kind, size, mtime_ns, ctime_ns, scan) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (path) DO UPDATE SET
    unread = CASE WHEN {_CHANGED} THEN 1 ELSE unread END,
    source = excluded.source, key = excluded.key, kind = excluded.kind,
    size = excluded.size, mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns,
    scan = max(beside.scan, excluded.scan), gone = 0
"""  # noqa: S608 - a constant
_ON_RECORD = "SELECT path, size, mtime_ns, ctime_ns FROM beside WHERE path BETWEEN ? AND ? AND NOT gone LIMIT ?"
_ALL_FOUND = "UPDATE beside SET scan = ?1 WHERE scan < ?1 AND path BETWEEN ?2 AND ?3 AND NOT gone"
_WAITS = (
    "SELECT path, source, size, mtime_ns, ctime_ns, key, kind FROM beside "
    "WHERE unread = 1 AND path > ? AND NOT gone ORDER BY path LIMIT ?"
)


class _Place(NamedTuple):
    path: bytes
    source: bytes


class _Waiting(NamedTuple):
    path: bytes
    source: bytes
    size: int
    mtime_ns: int
    ctime_ns: int
    key: bytes
    kind: str


class _Problem(NamedTuple):
    path: bytes
    problem: str


class Beside:
    """The companions of a store's images. Their values: `changed_rows`, `of_rows`, `settle`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._times = KnownTimes(db, "beside")
        self.is_known = self._times.is_known

    def is_empty(self) -> bool:
        """Whether no companion is on record: nothing can be joined."""
        return not self._db.number("SELECT EXISTS (SELECT 1 FROM beside)")

    def record(self, scan: int, companions: Sequence[Companion]) -> None:
        """Record companions that a scan found: those that are new or have changed wait to be read."""
        self._times.forget()
        with self._db.transaction():
            for some in batched(companions, STRETCH):
                self._record(scan, some)

    def see_archives(self, scan: int, archives: Iterable[str]) -> None:
        """Record that a scan found archives unchanged: what is on record of them is there."""
        with self._db.transaction():
            self._db.write_all(
                "UPDATE beside SET scan = ?1 WHERE scan < ?1 AND path >= ?2 AND path < ?3 AND NOT gone",
                ((scan, *under(archive)) for archive in archives),
            )

    def look_again(self) -> None:
        """Let those wait to be read that nobody needed, of which an image is new by now."""
        if not self._db.number("SELECT EXISTS (SELECT 1 FROM beside WHERE unread = 2)"):
            return
        query = "SELECT path, source FROM files INDEXED BY files_unsettled WHERE unsettled AND NOT gone"
        for some in batched(self._db.read(_Place, query), STRETCH):
            keys = [(key,) for image in some for of in said.image_keys(*image) for key in of]
            with self._db.transaction():
                self._db.write_all("UPDATE beside SET unread = 1 WHERE key = ? AND unread = 2", keys)

    def to_read(self, most: int) -> Iterator[list[Companion]]:
        """The companions of images that wait to be read, in lists of at most `most`, by path. The ledger may be written
        to between two lists."""
        last = b""
        while some := list(self._db.read(_Waiting, _WAITS, (last, most))):
            last = some[-1].path
            needed = [self._has_image(one) for one in some]
            idle = [(one.path,) for one, is_needed in zip(some, needed, strict=True) if not is_needed]
            if idle:
                with self._db.transaction():
                    self._db.write_all("UPDATE beside SET unread = 2 WHERE path = ? AND unread = 1", idle)
            wanted = [one for one, is_needed in zip(some, needed, strict=True) if is_needed]
            yield [Companion(*recorded_file(*one[:5])) for one in wanted]

    def record_said(self, given: Sequence[tuple[Companion, Said]]) -> None:
        """Record what companions say. One that has changed again meanwhile waits to be read once more."""
        with self._db.transaction():
            for companion, says in given:
                self._record_said(companion, says)

    def problems(self, most: int) -> tuple[int, list[str]]:
        """How many companions could not be read, wholly or in part, and a few of them with the reason."""
        which = "FROM said INDEXED BY said_problem JOIN beside USING (path) WHERE problem IS NOT NULL AND NOT gone"
        number = self._db.number(f"SELECT count(*) {which}")
        few = self._db.read(_Problem, f"SELECT path, problem {which} LIMIT ?", (most,))
        return number, [f"{os.fsdecode(path)}: {problem}" for path, problem in few]

    def changed_rows(self) -> Iterator[int]:
        """The rows whose values may be others than when they were settled, ascending: of companions that say something
        else or are gone, and of images that are new, changed, moved or gone since the last settled run."""
        return said.changed_rows(self._db)

    def of_rows(self, located: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, Mapping[str, Value]]]:
        """What came with the images of rows, each given with its published absolute path (b'': none is known).

        The published path counts first, then other files of that content by their paths; of one path what
        `said.ORIGINS` has first. A row is left out where nothing can be said: it has no file, or has one that nobody
        looked at since the ledger was made anew.
        """
        return said.of_rows(self._db, located)

    def names(self) -> dict[str, int]:
        """How many companions say something by each name, the commonest first. Goes through all of them."""
        return said.names(self._db)

    def settle(self) -> None:
        """Take what `changed_rows` told of companions as joined."""
        with self._db.transaction():
            gone = "SELECT path FROM beside WHERE unsettled > 0 AND unsettled = 2 AND gone"
            self._db.write(f"DELETE FROM said WHERE path IN ({gone})")  # noqa: S608 - a constant
            self._db.write("DELETE FROM beside WHERE unsettled > 0 AND unsettled = 2 AND gone")
            self._db.write("UPDATE beside SET unsettled = 0 WHERE unsettled > 0 AND unsettled = 2")

    def _record(self, scan: int, some: Sequence[Companion]) -> None:
        """A stretch of paths of which just these are on record, unchanged, takes one statement."""
        seen = {(one.encoded, one.size, one.mtime_ns, one.ctime_ns) for one in some}
        first, last = min(seen)[0], max(seen)[0]
        if set(self._db.cells(_ON_RECORD, (first, last, len(seen) + 1))) == seen:
            self._db.write(_ALL_FOUND, (scan, first, last))
            return
        self._db.write_all(_FOUND, (_values(scan, one) for one in some))

    def _has_image(self, one: _Waiting) -> bool:
        return any(True for _ in said.images_of(self._db, one.key, one.kind))

    def _record_said(self, companion: Companion, says: Said) -> None:
        path, new = companion.encoded, json.dumps(says.values, ensure_ascii=False, sort_keys=True)
        (old,) = next(self._db.cells("SELECT said FROM said WHERE path = ?", (path,)), ("{}",))
        touched = self._db.write(
            "UPDATE beside SET unread = 0, unsettled = CASE WHEN ?1 THEN 1 ELSE unsettled END "
            "WHERE path = ?2 AND (size, mtime_ns, ctime_ns) IS (?3, ?4, ?5)",
            (new != old, path, companion.size, companion.mtime_ns, companion.ctime_ns),
        )
        if touched:
            values = (path, says.origin, new, says.problem or None)
            self._db.write("INSERT OR REPLACE INTO said (path, origin, said, problem) VALUES (?, ?, ?, ?)", values)


def _values(scan: int, one: Companion) -> tuple[bytes, bytes, bytes, str, int, int, int, int]:
    path, kind = one.encoded, one.kind
    return path, os.fsencode(one.source), key_of(path, kind), kind, one.size, one.mtime_ns, one.ctime_ns, scan
