"""The index beside the master: which file held which content when, what was refused and why. SQLite; can be rebuilt."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from pixelmill.sources.found import FoundFile
from pixelmill.store import catch_up, settlement
from pixelmill.store.beside import Beside
from pixelmill.store.content_sizes import ContentSizes
from pixelmill.store.contents import Contents, different, rows_of_others
from pixelmill.store.database import Database, connect
from pixelmill.store.filesystem import is_shared
from pixelmill.store.forgotten import on_record
from pixelmill.store.gone import Gone
from pixelmill.store.holders import Holders
from pixelmill.store.joins import Joins
from pixelmill.store.ledger_check import Findings, examine
from pixelmill.store.master import MASTER
from pixelmill.store.quarantine import Quarantine
from pixelmill.store.reader import Store
from pixelmill.store.rows import Changes, ShardRows
from pixelmill.store.runs import Runs
from pixelmill.store.scans import Scans
from pixelmill.store.schema import LEDGER as LEDGER
from pixelmill.store.schema import OPTIONAL, expected_schema, prepare, refuse_newer_schema
from pixelmill.store.sqlite_errors import unusable
from pixelmill.store.worklist import Worklist


class Ledger:
    """The ledger of one store. One connection; use from one thread at a time.

    `scans` are what was found, `worklist` what is to be done of it, `contents` which row and which files a content has,
    `sizes` which of them a file may hold, `quarantine` what was refused, `runs` what is kept of runs, `beside` what
    came with images, `joins` what was joined to rows, and `gone` since when rows are gone. Raises StoreError, which
    says what to do, where the file is damaged, locked or newer.

    Made and written where it lies, unless a `connection` is given (see `readonly.open_read_only`).
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection | None = None) -> None:
        self.path = folder / LEDGER
        self.database = Database(self.path, connection or _connected(self.path))
        self._holders = Holders(self.database)
        with self.database.in_words():
            if connection:
                _harden(connection)
                refuse_newer_schema(self.database)
            else:
                _keep_durably(self.database.connection, shared=is_shared(folder))
                _harden(self.database.connection)
                prepare(self.database, self._holders)
        self.scans = Scans(self.database)
        self.worklist = Worklist(self.database)
        self.contents = Contents(self.database, self._holders)
        self.sizes = ContentSizes(self.database)
        self.quarantine = Quarantine(self.database, self.contents, self._holders)
        self.runs = Runs(self.database)
        self.beside = Beside(self.database)
        self.joins = Joins(self.database)
        self.gone = Gone(self.database)

    def close(self) -> None:
        self.scans.close()
        self.database.connection.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing; waits for another writer's transaction."""
        return self.database.transaction()

    def catch_up(self, store: Store) -> None:
        """Bring the index level with a snapshot: after a crash before the ledger, a loss, or a restored backup. Where
        it was not only behind, that is told by the next report (`Runs.notice`)."""
        catch_up.catch_up(self.database, self.contents, self.runs, store)

    def record_shard(self, shard: ShardRows, rows: np.ndarray, first_new: int) -> tuple[FoundFile, ...]:
        """Record what a shard has told, whose content i has row `rows[i]`, new ones from `first_new` on; the copies of
        contents that have no row."""
        with self.transaction():
            pairs = list(zip(shard.contents, rows.tolist(), strict=True))
            self.contents.record_rows((content.sha256, row) for content, row in pairs if row >= first_new)
            self.contents.record_read((content.file, row) for content, row in pairs)
            known = self.contents.rows_of([sha256 for _, sha256 in shard.copies])
            self.contents.record_read((file, known[sha256]) for file, sha256 in shard.copies if sha256 in known)
            self.quarantine.record(shard.failures)
        return tuple(file for file, sha256 in shard.copies if sha256 not in known)

    def changes(self) -> Changes:
        """What happened to the files since the last settled run. See `Settlement` for the rules."""
        return settlement.tell(self.database, self._holders)

    def settle(self) -> None:
        """Take what `changes` told as known from now on, and forget the files that are gone."""
        settlement.settle(self.database)

    def is_empty(self) -> bool:
        """Whether nothing was ever written to it: its making was cut off, or the file was emptied."""
        return not self.database.number("SELECT count(*) FROM sqlite_master")

    def belongs_to(self, store: Store) -> bool:
        """Whether this is the ledger of `store`, and no other's."""
        return catch_up.belongs_to(self.database, store)

    def check(self) -> Findings:
        """What is wrong with it that can be seen without the store."""
        with self.database.in_words():
            return examine(self.database.connection, expected_schema(held=self._holders.are_kept), OPTIONAL)

    def compare(self, store: Callable[[], Store]) -> Findings:
        """What does not fit `store`, which is opened last: a ledger is behind it between two steps of a commit, and
        never ahead, however many commits there are meanwhile."""
        with self.database.as_of_now():
            ours, counted = self.database.meta("store_id"), self.contents.row_count()
            snapshot = store()
            contents = snapshot.sha256()
            leaving = set(
                on_record(snapshot.folder).numbers.tolist()
            )  # the master forgets a row before the ledger does
            wrong = rows_of_others(self.contents.known(), contents, but=leaving)
            known = self.database.number("SELECT count(*) FROM rows")
        if ours is not None and ours != snapshot.manifest.store_id:
            return Findings(("is the ledger of another store",))
        if wrong:
            return Findings((f"takes {wrong} rows for other images than {MASTER} holds there",))
        # Not the rows: one that a ledger lost without a trace may have been stored twice, and it knows a content once.
        lost = counted > len(contents) or known != different(contents[:counted])
        return Findings(("has lost count of its rows",) if lost else ())


def _connected(path: Path) -> sqlite3.Connection:
    try:
        return connect(path)
    except sqlite3.DatabaseError as error:
        raise unusable(path, error) from error


def _keep_durably(connection: sqlite3.Connection, *, shared: bool) -> None:
    # A write-ahead log is shared through memory, which other machines do not see (sqlite.org/wal.html).
    journal = "TRUNCATE" if shared else "WAL"
    connection.executescript(f"PRAGMA journal_mode = {journal}; PRAGMA synchronous = FULL;")


def _harden(connection: sqlite3.Connection) -> None:
    """Believe nothing that a file from a stranger says of itself (sqlite.org/security.html)."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2**27)
    connection.executescript("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;")
