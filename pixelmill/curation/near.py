"""Which rows look alike: one definition, whoever asks, and however the rows are cut into blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from pixelmill.store.reader import MatrixView
from pixelmill.store.weighting import put_weighted

TILE: Final = 8_192
"""Rows that are compared at once: 32 MB of 1024 dims."""
ROUNDING: Final = 1e-6
"""What the cosine of equal float32 vectors may lack to 1."""
_CLOSE: Final = 2e-5
"""More than what a dot product of 4096 float32 can be off by: what is so close to the threshold is looked at again."""
_AGAIN: Final = 4_096

Check = Callable[[], None]
"""Called now and then; raises when there is no time left."""


def units(view: MatrixView, rows: np.ndarray) -> np.ndarray:
    """The unit vectors (len(rows), dim) of `rows`, in order, float32; zeros stay zeros."""
    stored = view.take(rows)
    values = np.empty(stored.shape, np.float32)
    put_weighted(values, stored, 1, normalize=True)
    return values


def alike(some: np.ndarray, others: np.ndarray, threshold: float) -> np.ndarray:
    """(len(some), len(others)) bool: which unit vectors have a cosine of at least `threshold`, but for ROUNDING.

    What float32 cannot tell is decided in float64, so that a pair comes out the same in every block and order.
    """
    least = threshold - ROUNDING
    cosines = some @ others.T
    result: np.ndarray = cosines >= least
    if cosines.max(initial=-1) < least - _CLOSE:
        return result
    cosines -= np.float32(least)
    close = np.flatnonzero(np.abs(cosines, out=cosines) < _CLOSE)
    for start in range(0, len(close), _AGAIN):
        at = close[start : start + _AGAIN]
        i, j = np.divmod(at, len(others))
        result.flat[at] = np.einsum("ij,ij->i", some[i], others[j], dtype=np.float64) >= least
    return result


def tiles(view: MatrixView, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The unit vectors of `rows` in blocks of TILE, each with where it begins."""
    for start in range(0, len(rows), TILE):
        yield start, units(view, rows[start : start + TILE])


def cosines_of(view: MatrixView, some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(len(some),) float64: the cosine of each row to the one that stands in its place in `others`."""
    result = np.empty(len(some))
    for start in range(0, len(some), TILE):
        at = slice(start, start + TILE)
        result[at] = np.einsum("ij,ij->i", units(view, some[at]), units(view, others[at]), dtype=np.float64)
    return np.clip(result, -1, 1)
