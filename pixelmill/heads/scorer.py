"""What a head is once it is made: layers that turn a picture's vector into a label and a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixelmill.store.weighting import unit

Float32 = NDArray[np.float32]
Layer = tuple[Float32, Float32]
"""Weight (outputs, inputs) and bias (outputs,)."""


@dataclass(frozen=True)
class Scorer:
    """Linear `layers` with ReLU between them, over vectors of length 1 if `normalize`; an output for each label."""

    labels: tuple[str, ...]
    layers: tuple[Layer, ...]
    normalize: bool

    @property
    def width(self) -> int:
        """The outputs of its widest layer."""
        return max(len(weight) for weight, _ in self.layers)

    def logits(self, vectors: NDArray[np.floating]) -> Float32:
        """(N, labels) of vectors (N, dim)."""
        values: Float32 = unit(vectors) if self.normalize else vectors.astype(np.float32)
        *hidden, last = self.layers
        for layer in hidden:
            values = np.maximum(_through(layer, values), 0)
        return _through(last, values)

    def __call__(self, vectors: NDArray[np.floating]) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
        """Of vectors (N, dim) the likeliest labels, UTF-8 (N,), and how likely each is, by a softmax over all (N,); of
        a head with one output its value as it is. Where numbers overflow, both are missing."""
        with np.errstate(over="ignore", invalid="ignore"):
            logits = self.logits(vectors).astype(np.float64)
            best = logits.argmax(axis=1)
            scores = logits[:, 0] if len(self.labels) == 1 else _likelihood(logits)
        told = np.array([label.encode() for label in self.labels], dtype=object)[best]
        lost = ~np.isfinite(scores)
        told[lost], scores[lost] = b"", np.nan
        return told, scores


def _through(layer: Layer, values: Float32) -> Float32:
    weight, bias = layer
    return values @ weight.T + bias


def _likelihood(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the greatest: 1 by the sum of all, each by the greatest."""
    likelihood: NDArray[np.float64] = 1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
    return likelihood


def layer(weight: NDArray[np.floating], bias: NDArray[np.floating] | Sequence[float] | None = None) -> Layer:
    """A layer in float32; without a bias, that is 0."""
    zeros = np.zeros(len(weight), np.float32)
    return np.ascontiguousarray(weight, np.float32), zeros if bias is None else np.asarray(bias, np.float32)
