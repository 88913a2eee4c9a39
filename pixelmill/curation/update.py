"""Groups brought up to date: only what is new or gone, and what hangs on it, is looked at again.

A row is kept if no row that is better to keep, looks like it, and is kept. Whoever changes that of a row makes those
that come after it and look like it be looked at again, in the order in which all rows are gone through. What comes of
it is what going through all of them anew would give.
"""

from __future__ import annotations

import heapq
from typing import Final

import numpy as np

from pixelmill.curation.near import Check, alike, tiles, units
from pixelmill.curation.stars import NOBODY
from pixelmill.store.reader import MatrixView

_MOST_PAIRS: Final = 5_000_000
_MOST_PASSES: Final = 8
_SHARE: Final = 16
"""From one row in so many on, and 1,000 more, all of them are gone through."""
_AT_ONCE: Final = 2_048


class TooMuch(Exception):
    """So much hangs on the change that going through all rows is the shorter way."""


def updated(
    view: MatrixView, rows: np.ndarray, order: np.ndarray, owners: np.ndarray, again: np.ndarray, threshold: float,
    check: Check,
) -> np.ndarray:  # fmt: skip
    """The rows that are kept for `rows` (ascending), as rows of the store; NOBODY for one that is kept itself.

    `order` has their places in `rows`, the best to keep first. `owners` (N,) is what held for the rows of the store
    before, NOBODY also for those that are looked at for the first time; `again` (N,) bool are those and all others that
    may have changed, among them those whose owner has. Raises TooMuch.
    """
    going = _Going(view, rows, order, owners.copy(), again.copy(), threshold)
    going.go(check)
    result: np.ndarray = going.owners[rows]
    return result


class _Going:
    """One update. `rank` (N,) is the place of a row in the order, `kept` (N,) bool which rows are kept so far."""

    def __init__(
        self, view: MatrixView, rows: np.ndarray, order: np.ndarray, owners: np.ndarray, again: np.ndarray,
        threshold: float,
    ) -> None:  # fmt: skip
        self.owners, self._view, self._rows, self._threshold = owners, view, rows, threshold
        self._rank = np.full(len(owners), len(rows), np.int64)
        self._rank[rows[order]] = np.arange(len(rows))
        is_asked = np.zeros(len(owners), bool)
        is_asked[rows] = True
        self._kept = is_asked & (owners == NOBODY) & ~again
        owners[again] = NOBODY
        self._by_rank = rows[order]
        self._heap = self._rank[again & is_asked].tolist()
        heapq.heapify(self._heap)
        self._waiting = set(self._heap)
        self._near: dict[int, np.ndarray] = {}
        self._passes = self._pairs = 0

    def go(self, check: Check) -> None:
        while self._heap:
            if self._heap[0] not in self._near:
                self._look(check)
            rank = heapq.heappop(self._heap)
            self._waiting.discard(rank)
            self._decide(rank, self._near[rank])

    def _decide(self, rank: int, near: np.ndarray) -> None:
        """Whether a row is kept, now that this is known of all that are better; `near` are the ranks of its alikes."""
        row, better, worse = self._by_rank[rank], near[near < rank], self._by_rank[near[near > rank]]
        best = better[self._kept[self._by_rank[better]]]
        is_kept, was_kept = not len(best), bool(self._kept[row])
        if is_kept and not was_kept:
            owners = self.owners[worse]
            behind = self._kept[worse] | ((owners != NOBODY) & (self._rank[owners] > rank))
            self._push(worse[behind])
        elif was_kept and not is_kept:
            self._push(worse[self.owners[worse] == row])
        self._kept[row] = is_kept
        self.owners[row] = NOBODY if is_kept else self._by_rank[best.min()]

    def _push(self, rows: np.ndarray) -> None:
        for rank in self._rank[rows].tolist():
            if rank not in self._waiting:
                self._waiting.add(rank)
                heapq.heappush(self._heap, rank)

    def _look(self, check: Check) -> None:
        """Find what looks like the rows that wait, in one pass over all."""
        waiting = np.array(sorted(self._waiting - self._near.keys()), np.int64)
        self._passes += 1
        if self._passes > _MOST_PASSES or len(waiting) * _SHARE > len(self._rows) + 1_000 * _SHARE:
            raise TooMuch
        vectors = units(self._view, self._by_rank[waiting])
        found = [np.empty((0, 2), np.int64)]
        for start, tile in tiles(self._view, self._rows):
            for first in range(0, len(waiting), _AT_ONCE):
                check()
                pairs = np.argwhere(alike(vectors[first : first + _AT_ONCE], tile, self._threshold))
                self._pairs += len(pairs)
                if self._pairs > _MOST_PAIRS:
                    raise TooMuch
                found.append(np.stack([first + pairs[:, 0], self._rank[self._rows[start + pairs[:, 1]]]], axis=1))
        pairs = np.concatenate(found)
        pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
        cuts = np.searchsorted(pairs[:, 0], np.arange(1, len(waiting)))
        for rank, near in zip(waiting.tolist(), np.split(pairs[:, 1], cuts), strict=True):
            self._near[rank] = near[near != rank]
