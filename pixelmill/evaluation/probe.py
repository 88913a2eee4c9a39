"""Linear probe: how well a linear classifier tells labels apart, learnt from the vectors of the other folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from pixelmill.evaluation.blocks import blocks_of
from pixelmill.heads.logistic import PENALTY, fitted, has_settled, scaling

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

RIDGE: Final = 0.1
"""The penalty of least squares, by the number of training rows."""
_WORK: Final = 10**9
"""Rows x dim x classes up to which a logistic regression takes seconds a fold; 10,000 classes are beyond."""


@dataclass(frozen=True)
class Probe:
    """Which classifier; the same for all that are compared."""

    kind: Literal["logistic", "least_squares"]

    @property
    def words(self) -> str:
        """What it is, for people."""
        if self.kind == "logistic":
            return f"logistic regression, C = {PENALTY}"
        return f"least squares, penalty {RIDGE} a row (too many classes for logistic regression)"

    def predict(self, known: Float32, labels: Int64, asked: Float32) -> tuple[Int64, bool]:
        """The labels (Q,) of `asked` (Q, dim), learnt from `known` (N, dim), and whether learning came to its end."""
        if len(np.unique(labels)) == 1:
            return np.full(len(asked), labels[0]), True
        scale = scaling(known)
        if self.kind == "least_squares":
            return least_squares(scale.of(known), labels, scale.of(asked)), True
        model = fitted(scale.of(known), labels)
        return model.predict(scale.of(asked)), has_settled(model)


def probe_for(rows: int, dim: int, classes: int) -> Probe:
    """Logistic regression where that stays feasible, else least squares."""
    return Probe("logistic" if rows * dim * classes <= _WORK else "least_squares")


def least_squares(known: Float32, labels: Int64, asked: Float32) -> Int64:
    """What scikit-learn's RidgeClassifier predicts, by its normal equations: the targets, a number for each row and
    class, are never made. `known` is centred."""
    classes, index = np.unique(labels, return_inverse=True)
    counts = np.bincount(index)
    sums = np.zeros((len(classes), known.shape[1]))
    np.add.at(sums, index, known)
    gram = (known.T @ known).astype(np.float64)
    gram[np.diag_indices_from(gram)] += RIDGE * len(known)
    slopes = np.linalg.solve(gram, 2 * sums.T).astype(np.float32)
    constant = (2 * counts / len(known) - 1).astype(np.float32)
    blocks = (asked[block] @ slopes + constant for block in blocks_of(len(asked), len(classes)))
    chosen: Int64 = classes[np.concatenate([np.empty(0, np.int64), *(block.argmax(axis=1) for block in blocks)])]
    return chosen
