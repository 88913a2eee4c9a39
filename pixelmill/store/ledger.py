"""The index beside the master: which file held which content when, what was refused and why. SQLite; can be rebuilt."""

from __future__ import annotations

import json
import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pixelmill.batches import batched
from pixelmill.errors import StoreDamaged, StoreError, StoreTooNew
from pixelmill.sources.address import archive_kind
from pixelmill.sources.files import Status
from pixelmill.sources.found import FoundFile, below
from pixelmill.store import living
from pixelmill.store.database import connect
from pixelmill.store.filesystem import is_shared
from pixelmill.store.holders import ADOPTED_AT_ONCE, HELD, REFUSED, Holders
from pixelmill.store.ledger_check import (
    BadCells,
    Findings,
    Schema,
    add_functions,
    examine,
    pages_shared,
    schema_made_by,
    schema_of,
    wrong_schema,
)
from pixelmill.store.master import MASTER
from pixelmill.store.places import Place, places_modified, places_of, shared_places
from pixelmill.store.quarantine import QUARANTINED, REFUSED_SEEN, FailureGroup, grouped
from pixelmill.store.reader import Store
from pixelmill.store.rows import Failure
from pixelmill.store.settlement import Changes as Changes
from pixelmill.store.settlement import Settlement
from pixelmill.store.sightings import Sightings
from pixelmill.store.sqlite_errors import explained, what_stopped_it
from pixelmill.version import VERSION

log = logging.getLogger(__name__)

LEDGER = "ledger.sqlite"
SCHEMA_VERSION = 1

# A path is absolute, as the bytes of os.fsencode. `row` is NULL until the file's content is known. `previous_row` is
# what the path held when last told (-1: told, content unknown). `unsettled` marks what is not settled, `gone` what the
# last scan did not find, `stale` holds the rows that lost a file, whose published path may have to change. Of these, 1
# is what no run has told yet, and 2 what one has told and will settle: what another run finds meanwhile stays.
# `seen` holds what each scan found, so that runs over the same store at once do not take each other's files for theirs.
# `work` holds what of that is to be embedded, in the order in which it is to be done. `archives` holds what was known
# of each archive when it was listed, and how many images it had: their paths begin with its own. Ledgers from before
# these two get them.
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE rows (sha256 BLOB PRIMARY KEY, row INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE files (
    path BLOB PRIMARY KEY, source BLOB NOT NULL, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER,
    row INTEGER, previous_row INTEGER,
    unsettled INTEGER NOT NULL DEFAULT 1, gone INTEGER NOT NULL DEFAULT 0, scan INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX files_by_row ON files (row);
CREATE INDEX files_unsettled ON files (path) WHERE unsettled;
CREATE INDEX files_gone ON files (path) WHERE gone > 0;
CREATE TABLE seen (scan INTEGER, path BLOB, PRIMARY KEY (scan, path)) WITHOUT ROWID;
CREATE TABLE stale (row INTEGER PRIMARY KEY, told INTEGER NOT NULL DEFAULT 1);
CREATE TABLE quarantine (
    row INTEGER, path BLOB, fingerprint TEXT NOT NULL, model TEXT NOT NULL,
    stage TEXT NOT NULL, reason TEXT NOT NULL, since REAL NOT NULL
);
CREATE UNIQUE INDEX quarantine_rows ON quarantine (row, fingerprint) WHERE row IS NOT NULL;
CREATE UNIQUE INDEX quarantine_paths ON quarantine (path) WHERE row IS NULL;
CREATE TABLE runs (id INTEGER PRIMARY KEY, started REAL NOT NULL, finished REAL, report TEXT);
"""
_LATER = """
CREATE TABLE IF NOT EXISTS work (scan INTEGER, position INTEGER, path BLOB, PRIMARY KEY (scan, position)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS archives (
    path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, tag INTEGER, images INTEGER
) WITHOUT ROWID
"""
_ASKED_AT_ONCE = 500
"""Values in one question: SQLite admits 32,766 (limits.html, SQLITE_MAX_VARIABLE_NUMBER), and gains nothing beyond some
hundred."""
_AND_FILES = "JOIN files USING (path)"
_OPEN = "NOT gone AND (row IS NOT NULL OR path NOT IN (SELECT path FROM quarantine WHERE row IS NULL))"
# No OR REPLACE in a trigger: the conflict clause of the statement that fires it takes its place.
_TRIGGERS = (
    "CREATE TRIGGER row_left AFTER UPDATE OF row, gone ON files "
    "WHEN OLD.row IS NOT NULL AND (NEW.row IS NOT OLD.row OR NEW.gone = 1) "
    "BEGIN DELETE FROM stale WHERE row = OLD.row; INSERT INTO stale VALUES (OLD.row, 1); END",
    "CREATE TRIGGER file_changed AFTER UPDATE OF size, mtime_ns, ctime_ns ON files "
    "WHEN (OLD.size, OLD.mtime_ns, OLD.ctime_ns) IS NOT (NEW.size, NEW.mtime_ns, NEW.ctime_ns) "
    "BEGIN DELETE FROM quarantine WHERE row IS NULL AND path = NEW.path; END",
)
_RUNS = next(statement for statement in _SCHEMA.split(";") if "TABLE runs" in statement)
_ANEW = "It was made anew from the master, and one run reads every file once to recognise it."
_BUT = {"rows": " AND 0", "meta": " AND key LIKE 'checks %'"}
"""What is not to be dropped of a table."""
_OPTIONAL = ("work", "archives")
"""Tables that ledgers from before them lack until somebody writes to them; `held` as well, with all that is its own."""
SCANS_KEPT = 50
"""Scans of programs that gave no sign of life stay for so many others."""
_FORGOTTEN_AT_ONCE = 100_000
"""Rows of a list that is over that are deleted in one transaction: others wait for its end."""
CHECKS_KEPT = 30
AT_ONCE = 20_000
"""Rows that are changed at once at the end of a run, for which others have to wait."""


class Step(NamedTuple):
    """A change of all rows of a table for which `which` is true, in the order of `key`, which begins after `first`."""

    change: str
    which: str
    key: str = "path"
    first: object = b""

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

_UNEVEN_SECONDS = 3600.0
"""A clock that is set right by less has not jumped."""
_LEFT_ALONE_SECONDS = 60 * 86_400.0
"""Seconds between two writers of a store, at most; what is longer is a clock that jumped."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One image in quarantine, as people read it. `model` '' means every model; `since` in Unix seconds."""

    path: str
    row: int | None
    model: str
    stage: str
    reason: str
    since: float


@explained(lambda ledger, error: ledger.unusable(ledger.path, error))
class Ledger:
    """The ledger of one store. One connection; use from one thread at a time.

    Made and written where it lies, unless a `connection` is given (see `consult.consulted`).
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection | None = None) -> None:
        self.path = folder / LEDGER
        self._signs: dict[int, living.Sign] = {}
        try:
            if connection:
                self._db = connection
                self._sightings, self._holders = Sightings(connection), Holders(connection)
                self._harden()
                self._refuse_newer()
                return
            self._db = connect(self.path)
            self._sightings, self._holders = Sightings(self._db), Holders(self._db)
            # A write-ahead log is shared through memory, which other machines do not see (sqlite.org/wal.html).
            journal = "TRUNCATE" if is_shared(folder) else "WAL"
            self._db.executescript(f"PRAGMA journal_mode = {journal}; PRAGMA synchronous = FULL;")
            self._harden()
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise self.unusable(self.path, error) from error

    def close(self) -> None:
        for scan in list(self._signs):
            self._signs.pop(scan).take_back()
        self._db.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; waits for another writer's transaction."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise self.unusable(self.path, error) from error
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def catch_up(self, store: Store) -> None:
        """Bring the index level with a snapshot: after a crash before the ledger, a loss, or a restored backup. Where
        it was not only behind, that is told by the next report (`notice`)."""
        known = self.row_count()
        if self.belongs_to(store) and self._agrees(store, known):
            if known < len(store):
                with self.transaction():
                    self._adopt(store, known)
            return
        with self.transaction():
            if known and self._shares(store):
                self._replace_rows(store)
                self.notify(f"{self.path} did not fit the store: one of them was put back from a backup. {_ANEW}")
                return
            for table in ("rows", "files", "quarantine", "meta", "seen", "work", "stale", "archives", "held", "runs"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - names from the line above
            self._begin(store)
            if known:
                self.notify(f"{self.path} was the ledger of another store. {_ANEW}")

    def notify(self, notice: str) -> None:
        """Say something aloud, and in the report of the run that settles next."""
        log.warning("%s", notice)
        before = self.notice()
        if notice not in before:
            self._set_meta("notice", f"{before} {notice}".strip())

    def notice(self) -> str:
        """What has happened to the store itself since the last settled run; '' if nothing has."""
        return str(self._meta("notice") or "")

    def _begin(self, store: Store) -> None:
        """Take over all rows of a store."""
        self._set_meta("store_id", store.manifest.store_id)
        self._set_meta("settled_rows", len(store))
        self._set_meta("rows", 0)
        self._adopt(store, 0)

    def _agrees(self, store: Store, known: int) -> bool:
        """Whether the rows on record are rows of `store`. Where there are as many, the last one tells; where the
        ledger is behind, which is rare, all are compared: it may come from a backup that is of another branch."""
        if known > len(store):
            return False
        try:
            if known < len(store):
                return _strangers(self._db.execute("SELECT sha256, row FROM rows"), store.sha256()) == 0
            return known == 0 or self.row_of(store.sha256(known - 1, known)[0].tobytes()) == known - 1
        except StoreDamaged:
            return True  # not this check's to tell

    def _shares(self, store: Store) -> bool:
        """Whether a store holds any of the contents on record."""
        try:
            contents = {content.tobytes() for content in store.sha256()}
        except StoreDamaged:
            return self.belongs_to(store)
        return any(content in contents for (content,) in self._db.execute("SELECT sha256 FROM rows"))

    def _replace_rows(self, store: Store) -> None:
        """Give each content on record the row that it has in `store`. Which file holds what is to be read again; what
        was refused before its content was known stays so while it does not change."""
        self._db.execute(
            "CREATE TEMP TABLE refused AS SELECT sha256, path, fingerprint, model, stage, reason, since "
            "FROM quarantine JOIN rows USING (row)"
        )
        for which in (
            "quarantine WHERE row IS NOT NULL",
            "files WHERE row IS NOT NULL OR gone",
            "rows",
            "stale",
            "held",
        ):
            self._db.execute(f"DELETE FROM {which}")  # noqa: S608 - constants
        self._db.execute("UPDATE files SET previous_row = NULL")
        self._begin(store)
        self._db.execute(
            "INSERT OR IGNORE INTO quarantine SELECT row, path, fingerprint, model, stage, reason, since "
            "FROM temp.refused JOIN rows USING (sha256)"
        )
        self._db.execute("DROP TABLE temp.refused")

    # What a scan found

    def new_scan(self) -> int:
        """A number for a new scan, higher than every one before. While this ledger is open, or somebody else says that
        the run lives (`living.holding`), what belongs to it stays; what dead runs have left is swept away."""
        with self.transaction():
            scan = max(int(self._meta("scan") or 0), *living.scans(self.path.parent), 0) + 1
            self._set_meta("scan", scan)
            self._signs[scan] = living.Sign(self.path.parent, scan)
        self._sweep(scan)
        return scan

    def _sweep(self, newest: int) -> None:
        """Forget what dead runs have left of scans before `newest`."""
        folder = self.path.parent
        now = living.sign_of(folder, newest).stat().st_mtime
        for scan in sorted({*self._scans("seen"), *self._scans("work"), *living.scans(folder)}):
            lives = scan >= newest or living.lives(folder, scan, now=now)
            if lives is False or (lives is None and scan < newest - SCANS_KEPT):
                self.forget_scan(scan)

    def _scans(self, table: str) -> Iterator[int]:
        """The scans that a table has something of, found without reading that."""
        query = f"SELECT min(scan) FROM {table} WHERE scan > ?"  # noqa: S608 - constants
        scan = self._db.execute(query, (-1,)).fetchone()[0]
        while scan is not None:
            yield int(scan)
            scan = self._db.execute(query, (scan,)).fetchone()[0]

    def is_known(self, file: FoundFile) -> bool:
        """Whether the file's size and times are those on record, so that its content need not be looked at."""
        return self._sightings.is_known(file)

    def is_stored(self, path: str) -> bool:
        """Whether a row holds what an absolute path held when it was last read."""
        query = "SELECT EXISTS (SELECT 1 FROM files WHERE path = ? AND row IS NOT NULL AND NOT gone)"
        return bool(self._value(query, os.fsencode(path)))

    def record_scan(self, scan: int, files: Iterable[FoundFile]) -> None:
        """Record the images that a scan found: unchanged ones are seen again, others wait to be read."""
        for some in batched(files, 10_000):
            with self.transaction():
                self._sightings.record(scan, some)

    def forget_scan(self, scan: int) -> None:
        """Drop the list of what a scan found, and of what was to be done of it: the run is over."""
        for table, key in (("seen", "path"), ("work", "position")):
            some = f"SELECT {key} FROM {table} WHERE scan = ?1 LIMIT {_FORGOTTEN_AT_ONCE}"  # noqa: S608 - constants
            query = f"DELETE FROM {table} WHERE scan = ?1 AND {key} IN ({some})"  # noqa: S608 - constants
            while self._db.execute(query, (scan,)).rowcount == _FORGOTTEN_AT_ONCE:
                pass
        if sign := self._signs.pop(scan, None):
            sign.take_back()
        living.remove(self.path.parent, scan)

    def members(self, archive: str, status: Status) -> Iterator[FoundFile] | None:
        """The images of an archive, as they are on record, if that is what is on record of it; None if not."""
        found = self._db.execute(
            "SELECT size, mtime_ns, tag, images FROM archives WHERE path = ?", (os.fsencode(archive),)
        ).fetchone()
        if found != (*status, self.images_under(archive)):
            return None
        query = "SELECT path, source, size, mtime_ns, ctime_ns FROM files WHERE path >= ? AND path < ? AND NOT gone"
        return (_file(*member) for member in self._db.execute(query, _under(archive)).fetchall())

    def record_archives(self, scan: int, archives: Mapping[str, Status]) -> None:
        """Record archives whose images a scan has recorded, all of them: those that it did not find are gone."""
        for archive, status in archives.items():
            self.mark_gone(scan, archive)
            values = (os.fsencode(archive), *status, self.images_under(archive))
            self._db.execute("INSERT OR REPLACE INTO archives VALUES (?, ?, ?, ?, ?)", values)

    def mark_gone(
        self, scan: int, root: str, unreadable: Sequence[str] = (), fitting: Callable[[str], bool] | None = None
    ) -> None:
        """Mark the known files under folder `root` that neither `scan` nor a later one found; of these only those
        `fitting`, by their own path or their archive's.

        Those at or under an `unreadable` path stay: nobody knows whether they are there. So do members of archives
        below the folder, into which nobody looked.
        """

        def looked_for(path: bytes, source: bytes) -> bool:
            if fitting is None:
                return source == os.fsencode(root) or archive_kind(os.fsdecode(source)) is None
            return fitting(os.fsdecode(path)) or fitting(os.fsdecode(source))

        with self.transaction():
            self._db.executemany(
                "UPDATE files SET scan = ?1 WHERE scan < ?1 AND (path = ?2 OR path >= ?3 AND path < ?4)",
                ((scan, os.fsencode(path.rstrip("/")), *_under(path)) for path in unreadable),
            )
            self._db.create_function("looked_for", 2, looked_for)
            self._db.execute(
                "UPDATE files SET gone = 1 WHERE path >= ? AND path < ? AND scan < ? AND gone = 0 "
                "AND looked_for(path, source)",
                (*_under(root), scan),
            )

    def mark_path_gone(self, path: str) -> None:
        """Mark one file, if it is known, as gone."""
        self._db.execute("UPDATE files SET gone = 1 WHERE path = ? AND gone = 0", (os.fsencode(path),))

    def images_under(self, root: str) -> int:
        """How many images are on record below folder `root`."""
        return self._value("SELECT count(*) FROM files WHERE path >= ? AND path < ? AND NOT gone", *_under(root))

    def seen_under(self, scan: int, root: str) -> int:
        """How many images a scan found below folder `root`."""
        return self._value("SELECT count(*) FROM seen WHERE scan = ? AND path >= ? AND path < ?", scan, *_under(root))

    # What is to do

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
        self._db.execute("DELETE FROM work WHERE scan = ?", (scan,))
        values = ((scan, i, file.encoded) for i, file in enumerate(files))
        for some in batched(values, 10_000):
            with self.transaction():
                self._db.executemany("INSERT INTO work VALUES (?, ?, ?)", some)
        if newest_first:
            with self.transaction():
                self._sort_by_time(scan)
        return self._value("SELECT count(*) FROM work WHERE scan = ?", scan)

    def _sort_by_time(self, scan: int) -> None:
        planned = f"work {_AND_FILES} WHERE work.scan = ? ORDER BY mtime_ns DESC, path"
        self._db.execute(f"CREATE TEMP TABLE sorted AS SELECT path FROM {planned}", (scan,))  # noqa: S608 - constants
        self._db.execute("DELETE FROM work WHERE scan = ?", (scan,))
        self._db.execute("INSERT INTO work SELECT ?, rowid - 1, path FROM temp.sorted", (scan,))
        self._db.execute("DROP TABLE temp.sorted")

    def has_plan(self, scan: int, first: int, images: int) -> bool:
        """Whether all that is to be embedded from position `first` on is still on record."""
        query = "SELECT count(*) FROM work WHERE scan = ? AND position BETWEEN ? AND ?"
        return self._value(query, scan, first, first + images - 1) == images

    def planned(self, scan: int, first: int, images: int) -> Iterator[tuple[FoundFile, int | None]]:
        """Of what is to be embedded, `images` from position `first` on, like `images`."""
        which = f"work {_AND_FILES} WHERE work.scan = ? AND work.position BETWEEN ? AND ? AND {_OPEN} ORDER BY position"
        yield from self._images(which, (scan, first, first + images - 1))

    def _images(
        self, which: str, values: tuple[int, ...], wanted: Callable[[int | None], bool] = lambda _row: True
    ) -> Iterator[tuple[FoundFile, int | None]]:
        query = f"SELECT path, source, size, mtime_ns, ctime_ns, row FROM {which}"  # noqa: S608 - constants
        for path, source, size, mtime_ns, ctime_ns, row in self._db.execute(query, values):
            if wanted(row):
                yield _file(path, source, size, mtime_ns, ctime_ns), row

    def contents(
        self, scan: int, most: int, *, after: str = "", until: str | None = None
    ) -> Iterator[list[tuple[FoundFile, int]]]:
        """The images of a scan whose content is known, with their rows, in lists of at most `most` in path order, from
        the one after `after` to `until`. The ledger may be written to between two lists."""
        last, end = os.fsencode(after), b"\xff" if until is None else os.fsencode(until)
        query = (
            "SELECT path, source, size, mtime_ns, ctime_ns, row FROM seen JOIN files USING (path) WHERE seen.scan = ? "
            "AND seen.path > ? AND seen.path <= ? AND NOT gone AND row IS NOT NULL ORDER BY seen.path LIMIT ?"
        )
        while some := self._db.execute(query, (scan, last, end, most)).fetchall():
            last = some[-1][0]
            yield [(_file(*found), row) for *found, row in some]

    def rehashed(self) -> str:
        """The last path that a rehash looked at which was cut off; '' if none was."""
        return os.fsdecode(_blob(self._meta("rehashed") or b""))

    def set_rehashed(self, path: str) -> None:
        """Record the last path that a rehash has looked at; '' when it has seen them all."""
        self._set_meta("rehashed", os.fsencode(path))

    def record_altered(self, files: Iterable[tuple[FoundFile, int]], last: FoundFile) -> None:
        """Record files that hold another content than that of their row, though size and times are those on record:
        they wait to be read like others that changed, and hold their row no more. `last` is the last one that was
        looked at."""
        altered = list(files)
        with self.transaction():
            self._db.executemany(
                "UPDATE files SET previous_row = CASE WHEN unsettled THEN previous_row ELSE row END, unsettled = 1, "
                "row = NULL WHERE path = ? AND row = ? AND (size, mtime_ns, ctime_ns) IS (?, ?, ?)",
                ((f.encoded, row, f.size, f.mtime_ns, f.ctime_ns) for f, row in altered),
            )
            self._db.executemany(
                "DELETE FROM held WHERE (path, row) = (?, ?)", ((f.encoded, row) for f, row in altered)
            )
            self.set_rehashed(last.absolute)

    def row_of(self, sha256: bytes) -> int | None:
        """The row of a content."""
        return self.rows_of([sha256]).get(sha256)

    def rows_of(self, digests: Sequence[bytes]) -> dict[bytes, int]:
        """The rows of those contents that have one, by sha256."""
        rows: dict[bytes, int] = {}
        for at in range(0, len(digests), _ASKED_AT_ONCE):
            asked = digests[at : at + _ASKED_AT_ONCE]
            marks = ", ".join("?" * len(asked))
            rows.update(self._db.execute(f"SELECT sha256, row FROM rows WHERE sha256 IN ({marks})", asked))  # noqa: S608
        for row in rows.values():
            if not (isinstance(row, int) and row >= 0):
                raise ValueError(f"it holds {row!r:.50} for a row")
        return rows

    def seen(self, scan: int) -> int:
        """How many images a scan found."""
        return self._value("SELECT count(*) FROM seen WHERE scan = ?", scan)

    # What was done

    def record_rows(self, rows: Iterable[tuple[bytes, int]]) -> None:
        """Record new rows as (sha256, row); `row` counts on from the last one recorded."""
        new = sorted(rows)  # neighbours in the index one after the other
        self._db.executemany("INSERT OR REPLACE INTO rows (sha256, row) VALUES (?, ?)", new)
        self._set_meta("rows", max([self.row_count(), *(row + 1 for _, row in new)]))

    def record_read(self, files: Iterable[tuple[FoundFile, int]]) -> None:
        """Record files that were read, as (file as it was listed, row of the content).

        The size and times stay those of the scan: if the file changed between, the next scan reads it again. If another
        run's scan has recorded such a change by now, this reading may be of the old content and is not recorded.
        """
        self._db.executemany(
            "UPDATE files SET row = ? WHERE path = ? AND (size, mtime_ns, ctime_ns) IS (?, ?, ?)",
            ((row, file.encoded, file.size, file.mtime_ns, file.ctime_ns) for file, row in files),
        )

    def record_failures(self, failures: Iterable[Failure]) -> None:
        """Put images into quarantine; one that is there already keeps its date."""
        now = time.time()
        for failure in failures:
            row = None if failure.sha256 is None else self.row_of(failure.sha256)
            self._db.execute(
                "INSERT INTO quarantine (row, path, fingerprint, model, stage, reason, since) "
                "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    row,
                    os.fsencode(failure.path),
                    failure.fingerprint,
                    failure.model,
                    failure.stage,
                    failure.reason,
                    now,
                ),
            )

    def quarantined_rows(self, fingerprint: str) -> list[int]:
        """The rows refused for every model or for the matrix named."""
        cursor = self._db.execute(
            "SELECT DISTINCT row FROM quarantine WHERE row IS NOT NULL AND fingerprint IN ('', ?)", (fingerprint,)
        )
        return [row for (row,) in cursor]

    def quarantined_seen(self, scan: int, fingerprints: Sequence[str] = ()) -> int:
        """How many images of a scan are in quarantine, for every model or for one of the matrices named."""
        values = {"scan": scan, "fingerprints": json.dumps(list(fingerprints))}
        found = self._db.execute(f"SELECT count(DISTINCT path) FROM ({REFUSED_SEEN})", values).fetchone()  # noqa: S608
        return int(found[0])

    def failures(self, scan: int, fingerprints: Sequence[str], since: float) -> list[FailureGroup]:
        """The images of a scan in quarantine, as in `quarantined_seen`, by reason; those from `since` on are new."""
        values = {"scan": scan, "fingerprints": json.dumps(list(fingerprints)), "new": since}
        query = f"SELECT path, stage, reason, since >= :new FROM ({REFUSED_SEEN}) ORDER BY since < :new, path"  # noqa: S608
        return grouped(self._db.execute(query, values))

    def quarantine(self) -> list[Quarantined]:
        """Everything in quarantine that a file still holds, or may, by path."""
        cursor = self._holders.ask(f"{QUARANTINED} ORDER BY path, model")
        return [
            Quarantined(os.fsdecode(p), row, model, stage, why, since) for p, row, model, stage, why, since in cursor
        ]

    def release(self) -> int:
        """Empty the quarantine, so that the next run tries those images again; how many images there were."""
        images = len({entry.path for entry in self.quarantine()})
        self._db.execute("DELETE FROM quarantine")
        return images

    # The end of a run

    def changes(self) -> Changes:
        """What happened to the files since the last settled run. See `Settlement` for the rules.

        What is told is marked first; it is then read without keeping others from writing, which may take minutes.
        """
        for mark in _MARKS:
            self._in_stretches(mark)
        with self.transaction():
            for mark in _MARKS:
                self._db.execute(mark.statement)
            elsewhere = {path for path, _ in self._holders.elsewhere()}
            self._db.executemany("UPDATE files SET gone = 1 WHERE path = ?", ((path,) for path in elsewhere))
            self._db.execute(_MARKS[-1].statement)  # of theirs as well
            self._set_meta("told_rows", self.row_count())
        with self._as_of_now():
            return Settlement(self._db, int(self._meta("settled_rows") or 0), elsewhere).changes()

    def settle(self) -> None:
        """Take what `changes` told as known from now on, and forget the files that are gone."""
        for step in _SETTLED:
            self._in_stretches(step)
        with self.transaction():
            for step in _SETTLED:
                self._db.execute(step.statement)
            self._db.execute("DELETE FROM meta WHERE key = 'notice'")
            self._set_meta("settled_rows", int(self._meta("told_rows") or 0))

    def _in_stretches(self, step: Step) -> None:
        """Do the most of a step in transactions of their own, so that others get their turn between; the rest, which is
        less than one stretch, is left."""
        last: object = step.first
        while end := self._db.execute(f"{step.keys} LIMIT 1 OFFSET ?", (last, AT_ONCE - 1)).fetchone():
            with self.transaction():
                self._db.execute(f"{step.statement} AND {step.key} > ? AND {step.key} <= ?", (last, end[0]))
            last = end[0]

    @contextmanager
    def _as_of_now(self) -> Iterator[None]:
        """Read the ledger as it is now, whatever others write meanwhile."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("COMMIT")

    def live_path(self, row: int, current: bytes) -> tuple[bytes, bytes]:
        """Where a row is now, as (source root, absolute path): `current` if that still holds it; (b'', b'') if gone."""
        root, path = self._holders.place(row, current) or (b"", b"")
        return _blob(root), _blob(path)

    def elsewhere(self) -> set[int]:
        """The rows whose files are gone from where they were, and which files that wait to be read may hold."""
        return {row for _, row in self._holders.elsewhere()}

    def live_rows(self, rows: int) -> np.ndarray:
        """(rows,) bool: which of the first `rows` rows are not gone: some file holds them, or may."""
        return self._holders.live(rows)

    def places_of(self, rows: Sequence[int]) -> Iterator[Place]:
        """Every file that holds the content of one of `rows`, or may, in the order of their paths."""
        yield from places_of(self._holders, rows)

    def shared_places(self) -> Iterator[Place]:
        """The files of all contents that more than one file is on record for, and of those that may have moved."""
        yield from shared_places(self._holders)

    def places_modified(self, since_ns: int, until_ns: int) -> Iterator[Place]:
        """The files that hold a row, or may, and were last modified from `since_ns` to before `until_ns` (Unix)."""
        yield from places_modified(self._holders, since_ns, until_ns)

    def unread(self) -> int:
        """How many files there are that no row stands for: refused before their content was known, or not yet read."""
        return self._holders.unread()

    def is_live(self, row: int) -> bool:
        """Whether row `row` is not gone: a file holds its content, or one that waits to be read may."""
        return self._holders.is_live(row)

    def record_check(self, fingerprint: str, compared: int, least_cosine: float) -> None:
        """Keep how near to what is stored a matrix' sample came when it was embedded again just now."""
        kept = [*self.checks(fingerprint), (time.time(), compared, least_cosine)][-CHECKS_KEPT:]
        self._set_meta(f"checks {fingerprint}", json.dumps(kept))

    def checks(self, fingerprint: str) -> list[tuple[float, int, float]]:
        """Those of the last nights, the oldest first: when (Unix seconds), how many vectors, their least cosine."""
        try:
            kept = json.loads(self._meta(f"checks {fingerprint}") or "[]")
            return [(float(when), int(compared), float(cosine)) for when, compared, cosine in kept]
        except (ValueError, TypeError):
            log.warning("the self-checks of earlier runs cannot be read in %s: run `pixelmill repair`", self.path)
            return []

    def record_run(self, started: float, report: dict[str, Any]) -> bool:
        """Keep a run's report; whether that could be done: a run does not fail for a damaged table of reports."""
        values = (started, time.time(), json.dumps(report))
        try:
            self._db.execute("INSERT INTO runs (started, finished, report) VALUES (?, ?, ?)", values)
        except sqlite3.DatabaseError as error:
            if what_stopped_it(self.path, error):
                raise
            log.warning("the report cannot be kept in %s (%s): run `pixelmill repair`", self.path, error)
            return False
        return True

    def steady_since(self, now: float) -> float:
        """Since when the clock, which says `now` (Unix seconds), has not jumped, as far as writers of the store saw; 0
        if it never has. A step back, or one that is longer than stores are left alone, is a jump."""
        last, since = json.loads(self._meta("clock") or "[null, 0]")
        step = 0.0 if last is None else now - last
        if not -_UNEVEN_SECONDS <= step <= _LEFT_ALONE_SECONDS:
            since = now
        if last is None or abs(step) > _UNEVEN_SECONDS:
            self._set_meta("clock", json.dumps([now, since]))
        return float(since)

    def runs(self, most: int = 14) -> list[dict[str, Any]]:
        """The reports of the last runs, newest first; an empty one stands for each that cannot be read."""
        return [_report(report) for (report,) in self._nicety("SELECT report FROM runs ORDER BY id DESC LIMIT ?", most)]

    def last_finished(self) -> float | None:
        """When the last run ended, in Unix seconds; None before there was one."""
        found = self._nicety("SELECT max(finished) FROM runs WHERE typeof(finished) = 'real'")
        return float(found[0][0]) if found and found[0][0] is not None else None

    def _nicety(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What is to be had of earlier runs: nothing of a damaged table, for which no run should fail."""
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            if what_stopped_it(self.path, error):
                raise
            log.warning("earlier runs cannot be read in %s (%s): run `pixelmill repair`", self.path, error)
            return []

    def row_count(self) -> int:
        """How many rows the ledger knows."""
        return int(self._meta("rows") or 0)

    def identities(self, rows: Sequence[int]) -> dict[str, np.ndarray]:
        """The identity columns of `rows`, for a part; sizes in pixels, which the ledger does not know, are 0.

        A row that the ledger does not know gets 24 zero bytes and its number, which no content has for a sha256.
        """
        wanted = {row: i for i, row in enumerate(rows)}
        sha256 = lost_identities(rows)
        for digest, row in self._db.execute("SELECT sha256, row FROM rows"):
            if row in wanted:
                sha256[wanted[row]] = np.frombuffer(digest, np.uint8)
        size = np.zeros(len(rows), dtype=np.int32)
        return {"images/sha256": sha256, "images/width": size, "images/height": size}

    def locations(self, rows: Sequence[int]) -> dict[str, list[bytes]]:
        """The location columns of `rows`, for a part."""
        live = [self.live_path(row, b"") for row in rows]
        paths = [below(path, root) if path else b"" for root, path in live]
        return {"images/path": paths, "images/source": [root for root, _ in live]}

    def compare(self, store: Callable[[], Store]) -> Findings:
        """What does not fit `store`, which is opened last: a ledger is behind it between two steps of a commit, and
        never ahead, however many commits there are meanwhile."""
        ours, known = self._meta("store_id"), self._db.execute("SELECT sha256, row FROM rows")  # stays as it is now
        snapshot = store()
        wrong = _strangers(known, snapshot.sha256())
        if ours is not None and ours != snapshot.manifest.store_id:
            return Findings(("is the ledger of another store",))
        return Findings((f"takes {wrong} rows for other images than {MASTER} holds there",) if wrong else ())

    def count(self, table: str) -> int:
        """How many rows one of its tables has."""
        return self._value(f"SELECT count(*) FROM {table}")  # noqa: S608 - a name of ours

    def is_empty(self) -> bool:
        """Whether nothing was ever written to it: its making was cut off, or the file was emptied."""
        return not self._value("SELECT count(*) FROM sqlite_master")

    def belongs_to(self, store: Store) -> bool:
        """Whether this is the ledger of `store`, and no other's."""
        return bool(self._meta("store_id") == store.manifest.store_id)

    def check(self) -> Findings:
        """What is wrong with it that can be seen without the store."""
        found = examine(self._db, expected_schema(held=self._holders.are_kept), _OPTIONAL)
        # In one question, or a commit might come between two.
        counted = "SELECT (SELECT count(*) FROM rows) <> ifnull((SELECT value FROM meta WHERE key = 'rows'), 0)"
        if not list(found) and self._value(counted):
            return Findings(("it has lost count of its rows",))
        return found

    def mend(self, cells: Iterable[BadCells]) -> int:
        """Put bytes of texts that are none right, and drop rows that make no sense all the same, where the ledger can
        do without; how many these were. Rows of the store that no file holds for it any more are looked after by the
        next run."""
        dropped = 0
        with self.transaction():
            add_functions(self._db)
            for bad in cells:
                for column in bad.texts:
                    self._db.execute(
                        f"UPDATE OR IGNORE {bad.table} SET {column} = as_utf8(CAST({column} AS BLOB)) "  # noqa: S608 - ours
                        f"WHERE typeof({column}) = 'text' AND NOT is_utf8(CAST({column} AS BLOB))"
                    )
                which = f"{bad.table} WHERE ({bad.which}){_BUT.get(bad.table, '')}"
                dropped += self._db.execute(f"DELETE FROM {which}").rowcount  # noqa: S608 - from our own schema
                if bad.table == "files":
                    self._db.execute(
                        "INSERT OR IGNORE INTO stale SELECT row, 1 FROM rows WHERE row NOT IN "
                        "(SELECT row FROM files WHERE row IS NOT NULL)"
                    )
        return dropped

    def carry_over(self, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
        """Take rows of a table from a ledger that cannot be used any more, but for those that are there already."""
        values = f"({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        for some in batched(rows, 10_000):
            with self.transaction():
                self._db.executemany(f"INSERT OR IGNORE INTO {table} {values}", some)

    def take_up(self) -> None:
        """After `carry_over`: let the next scan have a number that no list of an earlier one has, and believe what a
        file held only of those that wait to be read."""
        self._db.execute("DELETE FROM held WHERE path NOT IN (SELECT path FROM files WHERE row IS NULL)")
        last = self._value("SELECT ifnull(max(scan), 0) FROM seen")
        self._set_meta("scan", max(int(self._meta("scan") or 0), last))

    def _adopt(self, store: Store, known: int) -> None:
        for start in range(known, len(store), ADOPTED_AT_ONCE):
            self._adopt_rows(store, start, min(start + ADOPTED_AT_ONCE, len(store)))

    def _adopt_rows(self, store: Store, start: int, stop: int) -> None:
        self.record_rows((sha.tobytes(), start + i) for i, sha in enumerate(store.sha256(start, stop)))
        sources, paths = (store.texts(name, start, stop) for name in ("images/source", "images/path"))
        located = [
            (os.path.join(source, path), source, start + i)  # noqa: PTH118 - bytes, which pathlib does not take
            for i, (source, path) in enumerate(zip(sources, paths, strict=True))
            if path
        ]
        # A path on record may have changed since: the next run reads it, and finds its content stored. One that is not
        # on record gets no size and times, so that the next scan finds it changed.
        self._db.executemany(
            "INSERT INTO files (path, source, row, unsettled) VALUES (?, ?, ?, 0) ON CONFLICT DO NOTHING", located
        )
        self._db.executemany(
            "INSERT OR REPLACE INTO stale SELECT row, 1 FROM held WHERE path = ?", ((p,) for p, *_ in located)
        )
        # Such a path waits to be read; until then it is where the row may be.
        self._db.executemany(
            "INSERT OR REPLACE INTO held SELECT path, ?2 FROM files WHERE path = ?1 AND row IS NULL",
            ((path, row) for path, _, row in located),
        )
        self._db.executemany("INSERT OR REPLACE INTO stale VALUES (?, 1)", ((row,) for row in range(start, stop)))

    def _refuse_newer(self) -> int:
        version = self._value("PRAGMA user_version")
        if version > SCHEMA_VERSION:
            raise too_new(self.path, version, self._value("PRAGMA application_id"))
        return version

    def _prepare(self) -> None:
        if self._refuse_newer() == 0:
            with self.transaction():
                if self._value("PRAGMA user_version") == 0:
                    for statement in (*_SCHEMA.split(";"), *_TRIGGERS, *HELD):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA application_id = {_version_number()}")
                    self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        for statement in _LATER.split(";"):
            self._db.execute(statement)
        if not self._holders.are_kept:
            with self.transaction():
                self._holders.keep()
        self._require_schema()

    def _require_schema(self) -> None:
        """Refuse a ledger that lacks what keeps it true, as a trigger. Old reports are a nicety: it may do without."""
        found = schema_of(self._db)
        if ("table", "runs") not in found:
            self._db.execute(_RUNS)
            log.warning("%s had lost its reports of earlier runs: new ones are kept again", self.path)
            found = schema_of(self._db)
        wrong = [*wrong_schema(found, expected_schema()), *pages_shared(self._db)]
        if [problem for problem in wrong if "table runs " not in problem]:
            raise self.unusable(self.path, sqlite3.DatabaseError(", ".join(wrong)))

    def _harden(self) -> None:
        """Believe nothing that a file from a stranger says of itself (sqlite.org/security.html)."""
        self._db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2**27)
        self._db.executescript("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;")

    @staticmethod
    def unusable(path: Path, error: Exception) -> StoreError:
        """The error for a ledger that SQLite cannot use, or that holds what no ledger holds."""
        return what_stopped_it(path, error) or StoreError(
            f"The ledger {path} cannot be used ({error}). No vectors are lost: if the disk is full, free some space, "
            f"else run `pixelmill repair {path.parent}`."
        )

    def _value(self, query: str, *values: object) -> int:
        return int(self._db.execute(query, values).fetchone()[0])

    def _meta(self, key: str) -> Any:
        found = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return found[0] if found else None

    def _set_meta(self, key: str, value: object) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))


def too_new(path: Path, version: int, made_by: int) -> StoreTooNew:
    """The error for a ledger of a later schema; `made_by` is its `PRAGMA application_id`."""
    program = ".".join(str(made_by >> shift & 0xFF) for shift in (16, 8, 0)) + " or newer" if made_by else "of today"
    return StoreTooNew(
        f"Expected a ledger of version {SCHEMA_VERSION} or older in {path}. Found version {version}: "
        f"install pixelmill {program} to open it. Nothing was touched."
    )


def _version_number() -> int:
    """This program's version as three bytes, which stand in the file's header as its application_id."""
    major, minor, patch = (int(number) for number in re.findall(r"\d+", VERSION)[:3])
    return major << 16 | minor << 8 | patch


def _strangers(known: Iterable[tuple[bytes, int]], contents: np.ndarray) -> int:
    """How many rows on record, as (sha256, row), are those of another content than `contents` (N, 32) has there."""
    return sum(int(row) >= len(contents) or contents[int(row)].tobytes() != _blob(sha256) for sha256, row in known)


@cache
def expected_schema(*, held: bool = True) -> Schema:
    """What this program makes a ledger of; without `held`, what earlier ones did."""
    return schema_made_by([*_SCHEMA.split(";"), *_TRIGGERS, *_LATER.split(";"), *(HELD if held else ())])


def _report(text: object) -> dict[str, Any]:
    """A report as it was kept; {} for one that was damaged since."""
    try:
        report = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return {}
    return report if isinstance(report, dict) else {}


def _file(path: bytes, source: bytes, size: int | None, mtime_ns: int | None, ctime_ns: int | None) -> FoundFile:
    root = source if source.endswith(b"/") else source + b"/"
    return FoundFile(os.fsdecode(source), os.fsdecode(path.removeprefix(root)), size or 0, mtime_ns or 0, ctime_ns or 0)


def _blob(value: object) -> bytes:
    """Bytes as they should be; of a number, `bytes` would make that many."""
    if not isinstance(value, bytes):
        raise TypeError(f"it holds {value!r:.50} for bytes")
    return value


def _under(folder: str) -> tuple[bytes, bytes]:
    """The least path below `folder`, and the least one that is above all of those."""
    prefix = os.fsencode(folder.rstrip("/"))
    return prefix + b"/", prefix + b"0"


def lost_identities(rows: Sequence[int]) -> np.ndarray:
    """What stands for the sha256 of rows whose identity nobody knows: 24 zero bytes and the row's number."""
    result = np.zeros((len(rows), 32), dtype=np.uint8)
    result[:, 24:] = np.asarray(rows, dtype=">u8").reshape(-1, 1).view(np.uint8)
    return result
