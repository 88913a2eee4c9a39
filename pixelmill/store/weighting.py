"""How much each of several models counts where their vectors stand side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pixelmill.errors import StoreError


def weighting(weights: Sequence[float] | None, models: int) -> list[float]:
    """One weight for each of `models`, 1 where none are given.

    Raises StoreError for weights that are too few or too many, no numbers, not finite as float32, or all 0.
    """
    if weights is None:
        return [1.0] * models
    if np.ndim(weights) != 1 or len(weights) != models:
        raise StoreError(f"Expected one weight for each of {models} models. Got {_told(weights)}.")
    try:
        with np.errstate(over="ignore"):
            numbers = np.array(weights, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise StoreError(f"Expected weights that are numbers. Got {list(weights)}.") from error
    if not np.isfinite(numbers).all() or not numbers.any():
        raise StoreError(f"Expected finite weights, one of them other than 0. Got {list(weights)}.")
    return [float(weight) for weight in weights]


def _told(weights: object) -> str:
    return (
        f"{len(weights)} weights" if isinstance(weights, Sequence | np.ndarray) and np.ndim(weights) else f"{weights!r}"
    )
