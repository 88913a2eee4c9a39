"""Unit vectors of some rows of a matrix, in blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pixelmill.curation.near import units
from pixelmill.store.reader import MatrixView

BLOCK = 2_048


def newest(rows: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the sorted `rows`: the last ones, as rows are given in the order in which images came."""
    return rows[max(len(rows) - most, 0) :]


def blocks(view: MatrixView, rows: np.ndarray) -> Iterator[np.ndarray]:
    """The unit vectors of `rows`, in order, as float32 arrays of at most BLOCK rows; zeros stay zeros."""
    for start in range(0, len(rows), BLOCK):
        yield units(view, rows[start : start + BLOCK])
