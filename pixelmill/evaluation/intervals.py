"""Intervals of means, by bootstrap over pictures (Efron 1979, percentiles), and which means can be told apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.evaluation.told import Measured

RESAMPLINGS: Final = 1000
SEED: Final = 0
_INNER: Final = (2.5, 97.5)
"""Percentiles between which 95% lie."""


def resampled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(RESAMPLINGS, M): the means of `values` (N, M) over N pictures drawn with replacement; the same draws for the
    same N, so that columns can be compared picture by picture."""
    rng, pictures = np.random.default_rng(SEED), len(values)
    means = np.empty((RESAMPLINGS, values.shape[1]))
    for mean in means:
        drawn = np.bincount(rng.integers(pictures, size=pictures), minlength=pictures)
        mean[:] = drawn @ values / pictures
    return means


def measured(values: NDArray[np.float64]) -> list[Measured]:
    """The mean of each column of (N, M), with its interval."""
    low, high = np.percentile(resampled(values), _INNER, axis=0)
    means = values.mean(axis=0)
    return [
        Measured(value=float(v), low=float(lo), high=float(hi), pictures=len(values))
        for v, lo, hi in zip(means, low, high, strict=True)
    ]


def best_of(values: Mapping[str, NDArray[np.float64]]) -> tuple[str, ...]:
    """Of scores (N,) of the same pictures by name: the greatest mean, and behind it, the greater the sooner, those
    whose difference to it has an interval that holds 0."""
    names = sorted(values, key=lambda name: -values[name].mean())
    behind = np.stack([values[names[0]] - values[name] for name in names], axis=1)
    low = np.percentile(resampled(behind), _INNER[0], axis=0)
    return tuple(name for name, least in zip(names, low, strict=True) if least <= 0)
