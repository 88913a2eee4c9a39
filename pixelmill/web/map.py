"""A map of the collection: two coordinates an image, so that what a model finds alike lies together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pixelmill.store.reader import MatrixView
from pixelmill.web.vectors import blocks, newest

MOST = 20_000
"""Images on a map. Of more, those that came last are shown: a screen has no room for all."""


@dataclass(frozen=True, slots=True)
class Map:
    """`rows` (M,) int64 and where they lie, `points` (M, 2) float32; `of` is how many images there are in all.

    `explained` is the share of the variance that the two axes show.
    """

    rows: np.ndarray
    points: np.ndarray
    of: int
    explained: float


def project(view: MatrixView, rows: np.ndarray, *, most: int = MOST) -> Map:
    """The map of `rows` (those with a vector) by principal components of the unit vectors.

    Reads the matrix twice in blocks, and holds no more of it than one block and a (dim, dim) covariance.
    """
    shown = newest(rows, most)
    if len(shown) < 2:
        return Map(shown, np.zeros((len(shown), 2), np.float32), len(rows), 1.0)
    mean, axes, explained = _principal_axes(view, shown)
    points = [(block - mean) @ axes for block in blocks(view, shown)]
    return Map(shown, np.concatenate(points).astype(np.float32), len(rows), explained)


def _principal_axes(view: MatrixView, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The mean (dim,), the two first axes (dim, 2), and their share of the variance."""
    dim = view.shape[1]
    total, products = np.zeros(dim), np.zeros((dim, dim))
    for block in blocks(view, rows):
        total += block.sum(axis=0, dtype=np.float64)
        products += block.T @ block
    mean = total / len(rows)
    values, vectors = np.linalg.eigh(products / len(rows) - np.outer(mean, mean))
    axes = np.zeros((dim, 2))
    axes[:, : min(dim, 2)] = vectors[:, ::-1][:, :2]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]] + 1e-12)  # an axis has no direction: choose one for good
    share = values[::-1][:2].sum() / max(values.sum(), 1e-12)
    return mean.astype(np.float32), axes.astype(np.float32), float(np.clip(share, 0, 1))
