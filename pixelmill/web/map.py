"""A map of the collection: two coordinates an image, so that what a model finds alike lies together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pixelmill.search.principal import principal
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
    found = principal(blocks(view, shown), view.shape[1])
    mean, axes = found.mean.astype(np.float32), found.axes[:2].astype(np.float32)
    points = np.zeros((len(shown), 2), np.float32)
    points[:, : len(axes)] = np.concatenate([(block - mean) @ axes.T for block in blocks(view, shown)])
    return Map(shown, points, len(rows), found.share(2))
