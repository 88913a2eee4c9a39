"""Since when rows are gone, as far as it was seen: no file holds them any more."""

from __future__ import annotations

import time
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixelmill.store.database import Database

GONE_SINCE: Final = "gone_since"
GONE: Final = """;
CREATE TABLE IF NOT EXISTS gone_since (row INTEGER PRIMARY KEY, since REAL NOT NULL)
"""


class GoneRow(NamedTuple):
    """A row that is gone, and when that was seen first (Unix seconds)."""

    row: int
    since: float


class Gone:
    """The rows of a store that no file holds, with when that was noticed."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def note(self, gone: NDArray[np.int64]) -> None:
        """Take note that these ascending rows are gone now, and no others."""
        known = self.before(np.inf)
        new, back = np.setdiff1d(gone, known, assume_unique=True), np.setdiff1d(known, gone, assume_unique=True)
        if len(new) or len(back):
            with self._db.transaction():
                now = time.time()
                self._db.write_all(
                    "INSERT OR IGNORE INTO gone_since VALUES (?, ?)", ((row, now) for row in new.tolist())
                )
                self._db.write_all("DELETE FROM gone_since WHERE row = ?", ((row,) for row in back.tolist()))

    def before(self, moment: float) -> NDArray[np.int64]:
        """The rows that were gone at a moment (Unix seconds), and are since, ascending."""
        if not self._db.has_table(GONE_SINCE):
            return np.empty(0, np.int64)  # a ledger from before it that nobody has written to since
        found = self._db.read(GoneRow, "SELECT row, since FROM gone_since WHERE since <= ? ORDER BY row", (moment,))
        return np.fromiter((row for row, _ in found), np.int64)
