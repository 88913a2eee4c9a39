"""What happened to each file since the last settled run."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

UNKNOWN = -1
"""Stands in `files.previous_row` for a file that was told of while nobody knew its content."""

REFUSED = "path IN (SELECT path FROM quarantine WHERE row IS NULL)"
"""The files that were refused before their content was known."""

_ARRIVED = "unsettled AND NOT gone AND previous_row IS NULL"
_CHANGED = (
    "unsettled AND NOT gone AND previous_row IS NOT NULL AND "
    f"(row IS NOT NULL AND row IS NOT previous_row OR row IS NULL AND previous_row <> {UNKNOWN} AND {REFUSED})"
)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a run found: numbers of files since the last settled run, and the rows whose path must be published anew."""

    new: int = 0
    changed: int = 0
    moved: int = 0
    duplicate: int = 0
    removed: int = 0
    stale_rows: tuple[int, ...] = ()


class Settlement:
    """Tells what happened to each file since the last settled run.

    A known path with another content is *changed*. A path not known before is an arrival: *duplicate* if a file that is
    no arrival holds the same content; else the first arrival (by path) is *new* if the content is new to the store and
    *moved* if not, and further ones are duplicates. A known path that is gone is *removed*, unless a move accounts for
    it. A file whose content cannot be had (empty, too large) arrives as new, and does not change while it is refused.
    """

    def __init__(self, db: sqlite3.Connection, settled_rows: int) -> None:
        self._db = db
        self._settled_rows = settled_rows

    def changes(self) -> Changes:
        stale = {row for (row,) in self._db.execute("SELECT row FROM stale")}
        changed = [row for (row,) in self._db.execute(f"SELECT row FROM files WHERE {_CHANGED}")]  # noqa: S608 - constants
        stale.update(row for row in changed if row is not None)
        gone = self._gone_rows()
        counts = {"new": self._refused_arrivals(), "moved": 0, "duplicate": 0}
        for row, number in self._arrivals():
            kind = self._first_arrival(row)
            counts[kind] += 1
            counts["duplicate"] += number - 1
            if kind == "moved":
                stale.add(row)
                gone[row] = max(gone.get(row, 0) - 1, 0)
        return Changes(**counts, changed=len(changed), removed=sum(gone.values()), stale_rows=tuple(sorted(stale)))

    def _arrivals(self) -> sqlite3.Cursor:
        query = f"SELECT row, count(*) FROM files WHERE {_ARRIVED} AND row IS NOT NULL GROUP BY row"  # noqa: S608 - constants
        return self._db.execute(query)

    def _gone_rows(self) -> dict[int | None, int]:
        # A file that changed and vanished before it was told of counts for what it held when last told.
        cursor = self._db.execute(
            "SELECT CASE WHEN unsettled THEN previous_row ELSE row END AS held, count(*) FROM files "
            "WHERE gone > 0 AND NOT (unsettled AND previous_row IS NULL) GROUP BY held"
        )
        return dict(cursor.fetchall())

    def _first_arrival(self, row: int) -> str:
        holder = self._db.execute(
            "SELECT 1 FROM files WHERE row = ? AND NOT gone AND (NOT unsettled OR previous_row IS NOT NULL) LIMIT 1",
            (row,),
        ).fetchone()
        if holder:
            return "duplicate"
        return "new" if row >= self._settled_rows else "moved"

    def _refused_arrivals(self) -> int:
        query = f"SELECT count(*) FROM files WHERE {_ARRIVED} AND row IS NULL AND {REFUSED}"  # noqa: S608 - constants
        return int(self._db.execute(query).fetchone()[0])
