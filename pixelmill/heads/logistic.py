"""scikit-learn's logistic regression over vectors, as it is learnt here: for heads, and for the probe of `evaluate`.

Vectors are centred and divided by one number, both of the training rows: scaling each of their numbers by itself would
undo the weights of an ensemble.
"""

from __future__ import annotations

import warnings
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import PixelmillError

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

PENALTY: Final = 0.1
"""C of the logistic regression: vectors are often longer than there are pictures, and 1 would follow each of them."""
STEPS: Final = 300
"""Of L-BFGS, at most."""
SETTLED: Final = 1e-3
"""The gradient at which it ends: with a tenth it took seven times the steps on 801 stamps, for as good answers."""


class Scaling(NamedTuple):
    """What is taken from each vector (dim,), and by what it is divided then."""

    centre: Float32
    spread: np.float32

    def of(self, vectors: Float32) -> Float32:
        scaled: Float32 = (vectors - self.centre) / self.spread
        return scaled


def scaling(known: Float32) -> Scaling:
    """The mean of training rows (N, dim), and the spread of all their numbers around it."""
    centre = known.mean(axis=0, dtype=np.float64).astype(np.float32)
    spread = float(np.sqrt(np.mean((known - centre) ** 2, dtype=np.float64))) or 1.0
    return Scaling(centre, np.float32(spread))


def fitted(known: Float32, labels: Int64) -> Any:
    """A LogisticRegression learnt from scaled vectors (N, dim) with two labels (N,) or more."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    model = LogisticRegression(C=PENALTY, max_iter=STEPS, tol=SETTLED)
    with warnings.catch_warnings(), threadpool_limits(1):  # its products are small: threads would wait for each other
        warnings.simplefilter("ignore", ConvergenceWarning)  # told in the notes
        return model.fit(known, labels)


def has_settled(model: Any) -> bool:
    """Whether learning came to its end."""
    return bool(np.max(model.n_iter_) < STEPS)


def require_sklearn(what_for: str) -> None:
    """Raises PixelmillError where scikit-learn is not installed."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise PixelmillError(
            f"Expected scikit-learn {what_for}. It is not installed: `pip install 'pixelmill[evaluate]'`."
        ) from error
