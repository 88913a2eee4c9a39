"""How alike two models' vectors are, whatever their dims: linear CKA (Kornblith et al. 2019, equation 3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def linear_cka(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Of (N, dim) and (N, other dim), rows of the same pictures: 1 for vectors that are the same up to turning and
    scaling, 0 for what has nothing in common; 0 also where all vectors of one are the same."""
    a, b = (part - part.mean(axis=0, dtype=np.float64).astype(np.float32) for part in (a, b))
    of_both, of_a, of_b = (float(np.linalg.norm(x.T @ y)) for x, y in ((a, b), (a, a), (b, b)))
    return of_both**2 / (of_a * of_b) if of_a and of_b else 0.0
