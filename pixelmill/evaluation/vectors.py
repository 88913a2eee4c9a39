"""Vectors of chosen rows, of unit length: all that is compared is compared by cosine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pixelmill.store.reader import Store
from pixelmill.store.weighting import unit


def unit_vectors(store: Store, model: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """(len(rows), dim); a vector of length 0 stays so."""
    return unit(store[model].take(rows))
