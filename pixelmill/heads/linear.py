"""A linear head: scikit-learn's logistic regression, learnt from the vectors of labelled pictures."""

from __future__ import annotations

import numpy as np

from pixelmill.heads.examples import Examples
from pixelmill.heads.logistic import fitted, has_settled, scaling
from pixelmill.heads.scorer import Scorer, layer
from pixelmill.store.reader import MatrixView
from pixelmill.store.weighting import unit


def learnt(view: MatrixView, examples: Examples) -> tuple[Scorer, tuple[str, ...]]:
    """What LogisticRegression learns from the examples' vectors, of length 1, centred and divided by one number; and
    what there is to tell of it. With two labels it gives one output, of which the other is the opposite."""
    vectors = unit(view.take(examples.rows))
    scale = scaling(vectors)
    model = fitted(scale.of(vectors), examples.labels)
    weight, bias = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
    if len(examples.classes) == 2:
        weight, bias = np.vstack([np.zeros_like(weight), weight]), np.concatenate([[0.0], bias])
    weight = weight / float(scale.spread)
    bias = bias - weight @ scale.centre.astype(np.float64)
    notes = () if has_settled(model) else ("Learning was ended before it had settled.",)
    return Scorer(examples.classes, (layer(weight, bias),), normalize=True), notes
