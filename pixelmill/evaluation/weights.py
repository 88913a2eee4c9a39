"""Weights of an ensemble: how much each model counts, searched among the training rows of each fold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import comb
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.evaluation.neighbours import majority

Float32 = NDArray[np.float32]
Weights = tuple[float, ...]

_MOST: Final = 40
"""Weightings that are tried."""
_FINEST: Final = 10
"""Steps between none and all of a model, at most."""
_ASKED: Final = 500
"""Training rows that are asked about to try a weighting."""
_K: Final = 5


def side_by_side(members: Sequence[Float32], weights: Weights) -> Float32:
    """(N, sum of dims) of unit length, of members (N, dim) of unit length: as a search of the ensemble sees them."""
    whole = float(np.sqrt(sum(w * w for w in weights)))
    if len(members) == 1:
        return members[0]
    parts = [member * np.float32(w / whole) for member, w in zip(members, weights, strict=True)]
    return np.hstack(parts)


def weightings(models: int) -> list[Weights]:
    """Those that are tried, the equal ones first: all shares of the cosine in equal steps, the finer the fewer models.
    A share is the square of a weight."""
    steps = max((n for n in range(1, _FINEST + 1) if comb(n + models - 1, models - 1) <= _MOST), default=1)
    shares = [(1 / models,) * models, *(tuple(part / steps for part in parts) for parts in _divided(steps, models))]
    return [tuple(float(np.sqrt(share)) for share in one) for one in dict.fromkeys(shares)]


def search_weights(members: Sequence[Float32], labels: NDArray[np.int64], seed: int) -> Weights:
    """Of members (N, dim), the weighting by which most of some of these rows are of the class that most of their
    nearest among the others have; of equally good ones, the first tried."""
    asked = np.random.default_rng(seed).permutation(len(labels))[:_ASKED]
    cosines = [member[asked] @ member.T for member in members]
    for of_member in cosines:
        of_member[np.arange(len(asked)), asked] = -1e9
    tried = weightings(len(members))
    return max(tried, key=lambda weights: _right(cosines, weights, labels, asked))


def weights_by_fold(
    members: Sequence[Float32], labels: NDArray[np.int64], folds: NDArray[np.int64], seed: int = 0
) -> list[Weights]:
    """For each fold, what is found without its rows."""
    result = []
    for fold in range(int(folds.max()) + 1):
        known = folds != fold
        result.append(search_weights([member[known] for member in members], labels[known], seed))
    return result


def typical(by_fold: Sequence[Weights]) -> Weights:
    """One weighting for those of all folds: their shares on average."""
    shares: NDArray[np.float64] = np.square(np.array(by_fold, np.float64)).mean(axis=0)
    return tuple(round(float(weight), 3) for weight in np.sqrt(shares))


def _right(cosines: Sequence[Float32], weights: Weights, labels: NDArray[np.int64], asked: NDArray[np.int64]) -> int:
    total = np.zeros_like(cosines[0])
    for of_member, weight in zip(cosines, weights, strict=True):
        total += of_member * np.float32(weight**2)
    k = min(_K, len(labels) - 1)
    some = np.argpartition(-total, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(total, some, axis=1), axis=1, kind="stable")
    found = majority(labels[np.take_along_axis(some, order, axis=1)])
    return int(np.count_nonzero(found == labels[asked]))


def _divided(steps: int, models: int) -> Iterator[tuple[int, ...]]:
    """All ways to share out steps among models."""
    if models == 1:
        yield (steps,)
        return
    for first in range(steps, -1, -1):
        for rest in _divided(steps - first, models - 1):
            yield (first, *rest)
