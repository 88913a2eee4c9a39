"""Which of several look-alikes to keep, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

import numpy as np

from pixelmill.errors import UnknownColumn
from pixelmill.store.columns import MISSING_INT
from pixelmill.store.reader import Store
from pixelmill.store.readonly import ledger_of

Keep = Literal["largest", "oldest", "sharpest"]
KEEPS: Final[tuple[Keep, ...]] = get_args(Keep)
UNKNOWN: Final = 2**63 - 1
"""A merit where nothing is known: it comes last."""
_MS: Final = 1_000_000
_STEPS: Final = 1_000_000
"""Steps of sharpness that are told from each other, in one of its unit."""


def merits(store: Store, rows: np.ndarray, keep: Keep) -> np.ndarray:
    """(len(rows), 3) int64: by what rows are put in order; less is better, the first column decides first.

    `largest`: pixels, bytes, the earliest change of a file that holds it. `oldest`: when it was taken, by the clock of
    its camera, in ns; where that is not known, that change. `sharpest`: the fact; of equals the largest. Raises
    UnknownColumn where a store has no facts to go by.
    """
    result = np.zeros((len(rows), 3), np.int64)
    pixels = -store.widths[rows].astype(np.int64) * store.heights[rows]
    if keep == "sharpest":
        if "sharpness" not in store.columns or store.columns.about("sharpness")[1].kind != "float64":
            raise UnknownColumn(
                f"Expected the fact `sharpness` in {store.folder}. It has none: `pixelmill run --facts` makes facts."
            )
        sharp = store.columns.read("sharpness")[rows]
        known = np.isfinite(sharp)
        result[:, 0], result[:, 1] = UNKNOWN, pixels
        result[known, 0] = -np.clip(sharp[known], 0, 1e12) * _STEPS
    elif keep == "largest":
        sizes, since = _of_files(store, rows)
        result[:] = np.stack([pixels, -sizes, since], axis=1)
    else:
        result[:, 0] = taken(store, rows)
        unknown = np.flatnonzero(result[:, 0] == UNKNOWN)
        result[unknown, 0] = _of_files(store, rows[unknown])[1]
    return result


def taken(store: Store, rows: np.ndarray) -> np.ndarray:
    """(len(rows),) ns since 1970 when pictures were taken, by the clock of their cameras; UNKNOWN where nobody says."""
    if "taken_at" not in store.columns or not store.columns.about("taken_at")[1].is_time:
        return np.full(len(rows), UNKNOWN)
    moments = store.columns.read("taken_at")[rows]
    told = (moments != MISSING_INT) & (np.abs(moments // _MS) < UNKNOWN // _MS // _MS)
    return np.where(told, np.where(told, moments, 0) * _MS, UNKNOWN)


def best_first(rows: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """The places in `rows`, the best to keep first: by their merits, and of equals by row."""
    order: np.ndarray = np.lexsort((rows, *judged.T[::-1]))
    return order


def told(merit: Sequence[int], keep: Keep) -> str:
    """What a row is judged by, in words."""
    first = int(merit[0])
    if first == UNKNOWN:
        return {"largest": "size", "oldest": "time", "sharpest": "sharpness"}[keep] + " not known"
    if keep == "oldest":
        return str(np.datetime64(first // (1000 * _MS), "s")).replace("T", " ")
    if keep == "sharpest":
        return f"sharpness {-first / _STEPS:,.1f}"
    return f"{-first:,} pixels" + (f", {-int(merit[1]):,} bytes" if merit[1] else "")


def _of_files(store: Store, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bytes of the files of rows (0: not known), and when the oldest of these was last changed (ns; else UNKNOWN)."""
    sizes, since = np.zeros(len(rows), np.int64), np.full(len(rows), UNKNOWN)
    at = {row: i for i, row in enumerate(rows.tolist())}
    with ledger_of(store.folder) as ledger:
        for place in ledger.contents.places_of(rows.tolist()) if ledger and at else ():
            i = at[place.row]
            sizes[i] = max(sizes[i], place.size)
            since[i] = min(since[i], place.mtime_ns or UNKNOWN)
    return sizes, since
