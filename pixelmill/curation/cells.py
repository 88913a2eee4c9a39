"""Rows in cells around centres, so that of very many each is compared with those in the cells near it alone.

The idea of inverted files (Sivic and Zisserman 2003), which the index of a search uses too; as all rows are asked at
once, a cell is one matrix product. How much is missed is measured on rows drawn by lot, which are compared with all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from pixelmill.curation.means import by_cell, nearest, spherical_means
from pixelmill.curation.near import TILE, Check, alike, tiles, units
from pixelmill.curation.stars import NOBODY
from pixelmill.store.reader import MatrixView

RECALL: Final = 0.99
"""Share of look-alikes that are to be in a cell that is looked into."""
_MOST_CELLS: Final = 4_096
_LOOKS: Final = (1, 2, 4, 8, 16)
"""Cells that a row may look into: as few as reach RECALL."""
_UNMEASURED: Final = 4
_TRAINED_WITH: Final = 64
_ROUNDS: Final = 4
_ASKED: Final = 1_000


@dataclass(frozen=True, slots=True)
class Cells:
    """Rows in the order in which they are gone through (`order`): the cell of each, `homes` (N,); the cells that it
    looks into, the nearest first, `looks` (N, cells); the share of look-alikes that are found, `recall`."""

    view: MatrixView
    order: np.ndarray
    threshold: float
    homes: np.ndarray
    looks: np.ndarray
    recall: float

    @classmethod
    def of(cls, view: MatrixView, order: np.ndarray, threshold: float, check: Check) -> Cells:
        """Put all rows into cells."""
        centres = _centres(view, order, check)
        looks = np.empty((len(order), min(_LOOKS[-1], len(centres))), np.int32)
        for start, tile in tiles(view, order):
            check()
            looks[start : start + len(tile)] = nearest(tile, centres, looks.shape[1])
        few, recall = _enough(view, order, threshold, looks, check)
        return cls(view, order, threshold, looks[:, 0].copy(), looks[:, :few].copy(), recall)

    def first_alike(self, at: np.ndarray, vectors: np.ndarray, kept: np.ndarray, check: Check) -> np.ndarray:
        """See `stars.Earlier`: among the kept rows of the cells that each row looks into."""
        none = len(self.order)
        result = np.full(len(at), none, np.int64)
        held = dict(by_cell(self.homes[kept]))
        for cell, asking in by_cell(self.looks[at].ravel()):
            check()
            asking = asking // self.looks.shape[1]
            for start in range(0, len(held.get(cell, ())), TILE):
                there = kept[held[cell][start : start + TILE]]
                found = alike(vectors[asking], units(self.view, self.order[there]), self.threshold)
                first = np.where(found.any(axis=1), there[found.argmax(axis=1)], none)
                result[asking] = np.minimum(result[asking], first)
        result[result == none] = NOBODY
        return result


def _centres(view: MatrixView, order: np.ndarray, check: Check) -> np.ndarray:
    """Unit vectors that rows lie around: k-means over rows drawn by lot."""
    number = max(1, min(math.isqrt(len(order)), _MOST_CELLS))
    drawn = np.random.default_rng(0).permutation(order)[: _TRAINED_WITH * number]
    sample = np.concatenate([tile for _, tile in tiles(view, np.sort(drawn))])
    first = np.random.default_rng(1).permutation(len(sample))[:number]
    return spherical_means(sample, sample[first], _ROUNDS, check)


def _enough(
    view: MatrixView, order: np.ndarray, threshold: float, looks: np.ndarray, check: Check
) -> tuple[int, float]:
    """Into how many cells each row has to look, and the share of look-alikes that it finds there: of rows drawn by lot,
    with all that look like them, each group counting about the same, however large it is. NaN where none has any."""
    drawn = np.sort(np.random.default_rng(2).permutation(len(order))[:_ASKED])
    vectors = units(view, order[drawn])
    found, number = np.zeros((looks.shape[1], len(drawn))), np.zeros(len(drawn))
    for start, tile in tiles(view, order):
        check()
        i, j = np.nonzero(alike(vectors, tile, threshold))
        pairs = drawn[i] != start + j
        i, j = i[pairs], start + j[pairs]
        later, earlier = np.maximum(drawn[i], j), np.minimum(drawn[i], j)
        number += np.bincount(i, minlength=len(drawn))
        for n in range(looks.shape[1]):
            found[n] += np.bincount(i[looks[later, n] == looks[earlier, 0]], minlength=len(drawn))
    few = [n for n in _LOOKS if n <= looks.shape[1]]
    some = number > 0
    if not some.any():
        return min(_UNMEASURED, looks.shape[1]), math.nan
    weights = 1 / number[some]
    shares = {n: float(np.average(found[:n, some].sum(axis=0) * weights, weights=weights)) for n in few}
    chosen = next((n for n in few if shares[n] >= RECALL), few[-1])
    return chosen, shares[chosen]
