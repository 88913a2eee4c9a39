"""Folds: pictures dealt out so that each is asked about once, by what was learnt from the others."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

FOLDS: Final = 5
SEED: Final = 0


def fold_of(labels: NDArray[np.int64], folds: int = FOLDS, seed: int = SEED) -> NDArray[np.int64]:
    """(N,): the fold of each picture, stratified: of a class no fold has more than one picture more than another, and
    two of a class of two are never in the same. The same for the same labels."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    result = np.empty(len(labels), np.int64)
    result[order] = np.arange(len(labels)) % folds
    return result


def sample(labels: NDArray[np.int64], most: int, seed: int = SEED) -> NDArray[np.int64]:
    """At most so many pictures, their numbers ascending: two of each class first, as far as they go, and of the rest
    the same share of each; where that is too many, of classes drawn by lot. The same for the same labels."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = np.where(rank < 2, -1.0, rank / counts[labels[order]])
    turn = np.random.default_rng(seed).permutation(len(counts))[labels[order]]
    return np.sort(order[np.lexsort((rank, turn, share))[:most]])
