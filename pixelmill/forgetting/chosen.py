"""Which rows are to be forgotten: by a condition, or as no file has held them for a while."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from pixelmill.search.where import rows_where
from pixelmill.store.forgotten import Rows, forgotten
from pixelmill.store.ledger import Ledger
from pixelmill.store.reader import Store


@dataclass(frozen=True, slots=True)
class Which:
    """What to forget: rows that fulfil the condition `where`, and that have been gone for `gone_for` seconds; None asks
    for nothing."""

    where: str | None = None
    gone_for: float | None = None


def chosen(store: Store, ledger: Ledger, which: Which) -> Rows:
    """The rows of a snapshot that are to be forgotten, ascending, but for those that were. Raises QueryError."""
    mask = ~forgotten(store)
    if which.where is not None:
        mask &= rows_where(store, which.where)
    if which.gone_for is not None:
        mask &= _gone(store, ledger, time.time() - which.gone_for)
    return np.flatnonzero(mask)


def still_there(ledger: Ledger, rows: Rows, total: int) -> int:
    """How many of `rows` some file holds, or may, of the `total` of a store."""
    return int(np.count_nonzero(ledger.contents.live_rows(total)[rows]))


def _gone(store: Store, ledger: Ledger, since: float) -> np.ndarray:
    """(N,) bool: which rows no file holds, nor has since a moment (Unix seconds)."""
    gone = np.zeros(len(store), bool)
    rows = ledger.gone.before(since)
    gone[rows[rows < len(store)]] = True
    result: np.ndarray = gone & ~store.present & ~ledger.contents.live_rows(len(store))
    return result
