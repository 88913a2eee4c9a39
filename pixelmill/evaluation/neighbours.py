"""Nearest neighbours: the label that most of a picture's k nearest have, by cosine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pixelmill.evaluation.blocks import blocks_of

Float32 = NDArray[np.float32]


def nearest_labels(queries: Float32, known: Float32, labels: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """(Q, k): the labels of the `k` of `known` (N, dim) nearest to each of `queries` (Q, dim), the nearest first; all
    of them where there are fewer. Vectors are of unit length, so that their product is the cosine."""
    k = min(k, len(known))
    return labels[_by_faiss(queries, known, k) if _has_faiss() else by_numpy(queries, known, k)]


def majority(neighbours: NDArray[np.int64]) -> NDArray[np.int64]:
    """(Q,): the label that most of each row's have; among labels that equally many have, that of the nearest."""
    by_rank = 1 + 1e-3 * 0.5 ** np.arange(neighbours.shape[1])
    votes = (neighbours[:, :, None] == neighbours[:, None, :]) @ by_rank
    chosen: NDArray[np.int64] = np.take_along_axis(neighbours, votes.argmax(axis=1)[:, None], axis=1)[:, 0]
    return chosen


def by_numpy(queries: Float32, known: Float32, k: int) -> NDArray[np.int64]:
    """(Q, k): which of `known` are nearest, without faiss."""
    found = [np.empty((0, k), np.int64)]
    for block in blocks_of(len(queries), len(known)):
        cosines = queries[block] @ known.T
        some = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(cosines, some, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(some, order, axis=1))
    return np.concatenate(found)


def _has_faiss() -> bool:
    from importlib.util import find_spec

    return find_spec("faiss") is not None


def _by_faiss(queries: Float32, known: Float32, k: int) -> NDArray[np.int64]:
    import faiss

    if not len(queries):
        return np.empty((0, k), np.int64)
    contiguous = np.ascontiguousarray(queries), np.ascontiguousarray(known)
    found: NDArray[np.int64] = faiss.knn(*contiguous, k, metric=faiss.METRIC_INNER_PRODUCT)[1]
    return found
