"""How much each of several models counts where their vectors stand side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pixelmill.errors import StoreError

_CACHED = 32_768
"""Numbers that are weighted at a time, so that they stay in a processor's cache."""


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


def unit(vectors: np.ndarray) -> np.ndarray:
    """(n, dim) vectors as new ones of length 1, float32, by lengths taken in float64; one of length 0 stays so."""
    values: np.ndarray = vectors.astype(np.float32)
    lengths = np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    values /= np.where(lengths == 0, 1, lengths).astype(np.float32)
    return values


def put_weighted(place: np.ndarray, stored: np.ndarray, weight: float, *, normalize: bool) -> None:
    """Put vectors, (n, dim) in whatever type, times a weight into a `place` of their shape; with `normalize` divided by
    their L2 norms before, where these are not 0. In float32, whatever they are stored in."""
    step = max(_CACHED // stored.shape[1], 1)
    for start in range(0, len(stored), step):
        values = stored[start : start + step].astype(np.float32)
        if normalize:
            norms = np.linalg.norm(values, axis=1, keepdims=True)
            values /= np.where(norms == 0, 1, norms)
        if weight != 1:
            values *= np.float32(weight)
        place[start : start + step] = values


def _told(weights: object) -> str:
    return (
        f"{len(weights)} weights" if isinstance(weights, Sequence | np.ndarray) and np.ndim(weights) else f"{weights!r}"
    )
