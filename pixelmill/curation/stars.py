"""Groups around the picture to keep, over all rows.

Rows are gone through from the best to keep to the worst. One that no kept row looks like is kept; any other is a
duplicate of the best kept row that it looks like. So each duplicate looks like what is kept in its place, whatever
chains of look-alikes there are, and no two kept rows look alike. No list of pairs is made: of pictures that all look
the same there would be too many.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np

from pixelmill.curation.near import TILE, Check, alike, tiles, units
from pixelmill.store.reader import MatrixView

NOBODY: Final = -1
"""In place of a row to keep: the row itself is kept, or is in no group."""
_STRETCH: Final = 1_024
"""Rows of which every two are compared in one array."""


class Earlier(Protocol):
    """Which of the rows that are kept already others are compared with."""

    def first_alike(self, at: np.ndarray, vectors: np.ndarray, kept: np.ndarray, check: Check) -> np.ndarray:
        """For rows `at` (places in the order, with their unit vectors) the first of `kept` (ascending places) that each
        looks like; NOBODY for none."""


class AllEarlier:
    """Every one of them: exact."""

    def __init__(self, view: MatrixView, order: np.ndarray, threshold: float) -> None:
        self._view, self._order, self._threshold = view, order, threshold

    def first_alike(self, at: np.ndarray, vectors: np.ndarray, kept: np.ndarray, check: Check) -> np.ndarray:
        result = np.full(len(at), NOBODY, np.int64)
        left = np.arange(len(at))
        for start, tile in tiles(self._view, self._order[kept]):
            check()
            found = alike(vectors[left], tile, self._threshold)
            hit = found.any(axis=1)
            result[left[hit]] = kept[start + found[hit].argmax(axis=1)]
            left = left[~hit]
            if not len(left):
                break
        return result


def stars(
    view: MatrixView, order: np.ndarray, threshold: float, earlier: Earlier, *, block: int = TILE, check: Check
) -> np.ndarray:
    """(len(order),) int64: for each row of `order`, the best to keep first, the place in it of the row that is kept for
    it; NOBODY for one that is kept itself. In blocks, each compared with what was kept before it and in itself."""
    owners = np.full(len(order), NOBODY, np.int64)
    kept = np.empty(0, np.int64)
    for start in range(0, len(order), block):
        at = np.arange(start, min(start + block, len(order)))
        vectors = units(view, order[at])
        owners[at] = earlier.first_alike(at, vectors, kept, check)
        free = np.flatnonzero(owners[at] == NOBODY)
        within = _within(vectors[free], threshold, check)
        taken = within != NOBODY
        owners[at[free[taken]]] = at[free[within[taken]]]
        kept = np.concatenate([kept, at[free[~taken]]])
    return owners


def _within(vectors: np.ndarray, threshold: float, check: Check) -> np.ndarray:
    """The same within one block (n, dim), in its order."""
    owners = np.full(len(vectors), NOBODY, np.int64)
    for start in range(0, len(vectors), _STRETCH):
        check()
        stop = min(start + _STRETCH, len(vectors))
        kept = np.flatnonzero(owners[:start] == NOBODY)
        if len(kept):
            found = alike(vectors[start:stop], vectors[kept], threshold)
            hit = found.any(axis=1)
            owners[start:stop][hit] = kept[found[hit].argmax(axis=1)]
        _settle(owners[start:stop], alike(vectors[start:stop], vectors[start:stop], threshold), start)
    return owners


def _settle(owners: np.ndarray, found: np.ndarray, start: int) -> None:
    """Let each row that is still free take the later ones that look like it and are free."""
    for i in range(len(owners)):
        if owners[i] == NOBODY:
            later = owners[i + 1 :]
            later[found[i, i + 1 :] & (later == NOBODY)] = start + i
