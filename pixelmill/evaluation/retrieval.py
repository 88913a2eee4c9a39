"""Retrieval: each picture is a query, all others are ranked by cosine, and those of its label are to come first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixelmill.evaluation.blocks import blocks_of

Float32 = NDArray[np.float32]


class Retrieved(NamedTuple):
    """Of queries (Q,): their average precision, and the rank of the first of their label, 1 the best."""

    precision: NDArray[np.float64]
    first: NDArray[np.int64]


def retrieve(vectors: Float32, labels: NDArray[np.int64], queries: NDArray[np.int64]) -> Retrieved:
    """Exact, over all of `vectors` (N, dim) of unit length; `queries` are numbers of some, each of a class with two
    pictures or more.

    Average precision is that of scikit-learn: the precision down to each picture of the label, on average; what is
    equally near counts as ranked together. `first` counts strangers that are as near before it.
    """
    order = np.argsort(labels, kind="stable")
    of_class = np.split(order, np.cumsum(np.bincount(labels))[:-1])
    precision, first = np.empty(len(queries)), np.empty(len(queries), np.int64)
    for block in blocks_of(len(queries), 2 * len(vectors)):
        asked = queries[block]
        cosines = vectors[asked] @ vectors.T
        cosines[np.arange(len(asked)), asked] = -np.inf
        ranked = np.sort(cosines, axis=1)
        for i, query in enumerate(asked.tolist()):
            own = of_class[labels[query]]
            precision[block.start + i], first[block.start + i] = _one(ranked[i], cosines[i, own[own != query]])
    return Retrieved(precision, first)


def _one(ranked: Float32, own: Float32) -> tuple[float, int]:
    """Average precision and first rank, of all cosines, ascending, and those of the label."""
    own = np.sort(own)
    down_to = len(ranked) - np.searchsorted(ranked, own)
    own_down_to = len(own) - np.searchsorted(own, own)
    return float(np.mean(own_down_to / down_to)), int(down_to[-1] - own_down_to[-1]) + 1
