"""The directions along which vectors differ most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Principal:
    """The principal components of `rows` vectors: their `mean` (dim,), the `axes` (dim, dim), of length 1, and how much
    they vary along each, `variances` (dim,), the greatest first."""

    rows: int
    mean: Float64
    axes: Float64
    variances: Float64

    def share(self, components: int) -> float:
        """Of all variance, what the first components show."""
        shown = self.variances[:components].sum() / max(self.variances.sum(), np.finfo(np.float64).tiny)
        return float(np.clip(shown, 0, 1))


def principal(blocks: Iterable[NDArray[np.floating]], dim: int) -> Principal:
    """As sklearn.decomposition.PCA gives them by the eigenvectors of the covariance, of blocks (n, dim), two rows or
    more in all. Products are made in the type of a block, and summed in float64. The largest number of each axis is
    positive: it has no direction of its own."""
    rows, total, products = 0, np.zeros(dim), np.zeros((dim, dim))
    for block in blocks:
        rows += len(block)
        total += block.sum(axis=0, dtype=np.float64)
        products += block.T @ block
    mean = total / rows
    variances, vectors = np.linalg.eigh((products - rows * np.outer(mean, mean)) / (rows - 1))
    axes = vectors.T[::-1]
    axes = axes * np.sign(axes[np.arange(dim), np.abs(axes).argmax(axis=1)])[:, None]
    return Principal(rows, mean, axes, np.clip(variances[::-1], 0, None))
