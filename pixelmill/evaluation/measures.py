"""What is measured of one candidate, picture by picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.evaluation.neighbours import majority, nearest_labels
from pixelmill.evaluation.probe import Probe
from pixelmill.evaluation.retrieval import retrieve

MEASURES: Final = {
    "neighbour_1": "1-NN", "neighbours_5": "5-NN", "probe": "probe", "mean_average_precision": "mAP",
    "recall_at_1": "R@1", "recall_at_5": "R@5", "recall_at_10": "R@10", "zero_shot": "zero-shot",
}  # fmt: skip
"""Their names, and how a table heads them."""
_K: Final = 5
_RANKS: Final = (1, 5, 10)
Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Asked:
    """Labels (N,), the fold of each picture, and which have another of their label: only these are asked about."""

    labels: NDArray[np.int64]
    folds: NDArray[np.int64]
    has_another: NDArray[np.bool_]


def by_picture(
    asked: Asked, probe: Probe, vectors_at: Callable[[int], Float32]
) -> tuple[dict[str, NDArray[np.float64]], bool]:
    """Each measure of the pictures asked about, ascending, from 0 to 1, and whether the probe came to its end each
    time. `vectors_at` gives vectors (N, dim) of unit length, as they are when that fold is asked about."""
    values = {name: np.full(len(asked.labels), np.nan) for name in MEASURES if name != "zero_shot"}
    settled = True
    for fold in range(int(asked.folds.max()) + 1):
        vectors, known = vectors_at(fold), asked.folds != fold
        queries = np.flatnonzero(~known & asked.has_another)
        if len(queries):
            predicted, ended = probe.predict(vectors[known], asked.labels[known], vectors[queries])
            settled &= ended
            values["probe"][queries] = predicted == asked.labels[queries]
            _neighbours(values, asked, vectors, fold)
            _retrieval(values, asked.labels, vectors, queries)
    return {name: of_all[asked.has_another] for name, of_all in values.items()}, settled


def _neighbours(values: dict[str, NDArray[np.float64]], asked: Asked, vectors: Float32, fold: int) -> None:
    known = asked.folds != fold
    queries = np.flatnonzero(~known & asked.has_another)
    found = nearest_labels(vectors[queries], vectors[known], asked.labels[known], _K)
    values["neighbour_1"][queries] = found[:, 0] == asked.labels[queries]
    values["neighbours_5"][queries] = majority(found) == asked.labels[queries]


def _retrieval(
    values: dict[str, NDArray[np.float64]], labels: NDArray[np.int64], vectors: Float32, queries: NDArray[np.int64]
) -> None:
    found = retrieve(vectors, labels, queries)
    values["mean_average_precision"][queries] = found.precision
    for rank in _RANKS:
        values[f"recall_at_{rank}"][queries] = found.first <= rank
