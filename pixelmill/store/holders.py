"""Which files hold a row, or may: the one rule that says whether a content is gone.

A file that changed waits to be read, and may still hold what it held: its times may be all that changed (`chmod -R`, a
restored backup, `rsync` without `-t`). A file that is not where it was may be one of those that wait elsewhere. A row
is gone when no file holds it, and none that waits to be read may.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pixelmill.batches import batched
from pixelmill.store.database import Cell, Database, Row, RowNumber

# No OR REPLACE in a trigger: the conflict clause of the statement that fires it takes its place.
_MAY_HAVE_LEFT = (
    "DELETE FROM stale WHERE row = (SELECT row FROM held WHERE path = NEW.path); "
    "INSERT INTO stale SELECT row, 1 FROM held WHERE path = NEW.path;"
)
_HAS_LEFT = f"{_MAY_HAVE_LEFT} DELETE FROM held WHERE path = NEW.path;"  # noqa: S608 - constants
HELD = (
    "CREATE TABLE held (path BLOB PRIMARY KEY, row INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX held_by_row ON held (row)",
    # What waits in a ledger from before this table: of it is known what was told last.
    "INSERT INTO held SELECT path, previous_row FROM files WHERE row IS NULL AND previous_row >= 0",
    "CREATE TRIGGER content_in_doubt AFTER UPDATE OF row ON files WHEN OLD.row IS NOT NULL AND NEW.row IS NULL "
    "BEGIN DELETE FROM held WHERE path = NEW.path; INSERT INTO held VALUES (NEW.path, OLD.row); END",
    "CREATE TRIGGER content_known AFTER UPDATE OF row ON files WHEN OLD.row IS NULL AND NEW.row IS NOT NULL "  # noqa: S608
    "AND EXISTS (SELECT 1 FROM held WHERE path = NEW.path) "
    f"BEGIN {_HAS_LEFT} END",
    "CREATE TRIGGER doubt_left AFTER UPDATE OF gone ON files WHEN NEW.gone = 1 AND NEW.row IS NULL "
    f"BEGIN {_MAY_HAVE_LEFT} END",
    # Empty now, or too large: whatever it is, it is not what it was.
    f"CREATE TRIGGER refused_unread AFTER INSERT ON quarantine WHEN NEW.row IS NULL BEGIN {_HAS_LEFT} END",
    "CREATE TRIGGER file_forgotten AFTER DELETE ON files BEGIN DELETE FROM held WHERE path = OLD.path; END",
)
"""`held` tells what each file that waits to be read held when it was read last. The triggers keep it, whoever writes:
also a program from before it."""

ADOPTED_AT_ONCE = 16_384
"""Rows that are held in memory while they are recorded or told."""

REFUSED = "path IN (SELECT path FROM quarantine WHERE row IS NULL)"
"""The files that were refused before their content was known."""

IN_DOUBT = "held JOIN files USING (path) WHERE files.row IS NULL AND NOT gone"
"""The files that wait to be read again, each with the row that it may still hold."""

ELSEWHERE = f"""
WITH lost AS (
    SELECT path, coalesce(files.row, held.row) AS row, size, mtime_ns
    FROM files INDEXED BY files_gone LEFT JOIN held USING (path) WHERE gone > 0
), waiting AS (
    SELECT path, size, mtime_ns, previous_row FROM files WHERE row IS NULL AND NOT gone AND NOT {REFUSED}
)
SELECT path, row FROM lost
WHERE row IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM files WHERE files.row = lost.row AND NOT gone)
    AND NOT EXISTS (SELECT 1 FROM {IN_DOUBT} AND held.row = lost.row)
    AND (
        size IN (SELECT size FROM waiting WHERE previous_row IS NULL)
        OR (size, mtime_ns) IN (SELECT size, mtime_ns FROM waiting)
    )
"""  # noqa: S608 - constants
"""The files that are gone whose content nobody else holds, and which one that waits to be read may be: a new one of
their size, or one that was there before and has their size and time now, as after `mv`."""

# From the index alone, which does not tell what is gone; that is seldom much, and is taken away again.
_EVER_HELD = f"SELECT DISTINCT row FROM files WHERE row IS NOT NULL UNION ALL SELECT held.row FROM {IN_DOUBT}"  # noqa: S608
_LOST = f"""
SELECT DISTINCT row FROM files AS lost INDEXED BY files_gone WHERE gone > 0 AND row IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM files WHERE files.row = lost.row AND NOT gone)
    AND NOT EXISTS (SELECT 1 FROM {IN_DOUBT} AND held.row = lost.row)
"""  # noqa: S608 - constants


class Located(NamedTuple):
    """Where a file is: its source root, and its absolute path."""

    source: bytes
    path: bytes


class Lost(NamedTuple):
    """A file that is not where it was, and the row that it held."""

    path: bytes
    row: int


class Holders:
    """Asks a ledger who holds a row. A ledger from before `held` can be asked as well."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._kept = False

    @property
    def are_kept(self) -> bool:
        """Whether the ledger has the table `held`."""
        if not self._kept:
            self._kept = self._db.has_table("held")
        return self._kept

    def keep(self) -> None:
        """Make the table `held`, unless another process has just done so. Within a transaction."""
        for statement in () if self.are_kept else HELD:
            self._db.write(statement)

    def is_live(self, row: int) -> bool:
        """Whether a file holds the content of row `row`, or one that waits to be read may."""
        return self.place(row, b"") is not None or any(row == lost for _, lost in self.elsewhere())

    def place(self, row: int, current: bytes) -> Located | None:
        """A file that holds a row, as (source root, path); else one that may still hold what it held. The path
        `current` comes before others."""
        for query in (
            "SELECT source, path FROM files WHERE row = ? AND NOT gone",
            f"SELECT source, path FROM {IN_DOUBT} AND held.row = ?",  # noqa: S608 - constants
        ):
            found = next(self.ask(Located, f"{query} ORDER BY path <> ?, path LIMIT 1", (row, current)), None)
            if found:
                return found
        return None

    def elsewhere(self) -> list[Lost]:
        """The files that are gone, each with its row, which no other holds, and which one that waits to be read may."""
        return list(self.ask(Lost, ELSEWHERE))

    def live(self, rows: int) -> np.ndarray:
        """(rows,) bool: which of the first `rows` rows a file holds, or one that waits to be read may."""
        live = np.zeros(rows, dtype=bool)
        _mark(live, self.ask(RowNumber, _EVER_HELD), True)
        _mark(live, self.ask(RowNumber, _LOST), False)
        _mark(live, (RowNumber(row) for _, row in self.elsewhere()), True)
        return live

    def unread(self) -> int:
        """How many files there are that no row stands for: refused before they were read, or not read yet."""
        query = "SELECT count(*) FROM files WHERE row IS NULL AND NOT gone AND path NOT IN (SELECT path FROM held)"
        return self._db.number(self._with_held(query))

    def ask(self, shape: type[Row], query: str, values: tuple[Cell, ...] = ()) -> Iterator[Row]:
        """Read what may be about `held`."""
        return self._db.read(shape, self._with_held(query), values)

    def _with_held(self, query: str) -> str:
        if self.are_kept:
            return query
        before = "held(path, row) AS (SELECT path, previous_row FROM files WHERE row IS NULL AND previous_row >= 0)"
        rest = query.lstrip()
        return f"WITH {before}, {rest[5:]}" if rest.startswith("WITH ") else f"WITH {before} {rest}"


def _mark(live: np.ndarray, rows: Iterator[RowNumber], value: bool) -> None:
    for some in batched((row for (row,) in rows), ADOPTED_AT_ONCE):
        live[[row for row in some if row < len(live)]] = value
