"""What of tables was joined to the rows of a store, and which rows may need it anew."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np

from pixelmill.store.database import Database, RowNumber

_KEY = "joined"
_TOUCHED = (
    "SELECT row FROM files INDEXED BY files_unsettled WHERE unsettled AND row IS NOT NULL",
    "SELECT held.row FROM files INDEXED BY files_unsettled JOIN held USING (path) WHERE unsettled",
    "SELECT row FROM stale",
)


class Joins:
    """What a ledger knows of joined tables."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def touched_rows(self) -> np.ndarray:
        """The rows of files that are new, changed, moved or gone since the last settled run, ascending."""
        return np.unique(array("q", (row for query in _TOUCHED for (row,) in self._db.read(RowNumber, query))))

    def known(self) -> dict[str, Any]:
        """What was kept last; empty if that was nothing, or makes no sense."""
        try:
            found = json.loads(str(self._db.meta(_KEY) or "{}"))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def keep(self, known: Mapping[str, Any]) -> None:
        """Keep what is known of tables that were joined."""
        if known != self.known():
            self._db.set_meta(_KEY, json.dumps(known, sort_keys=True))
