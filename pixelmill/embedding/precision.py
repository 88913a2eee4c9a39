"""The fastest precision that holds, found by measuring on the device that will be used, as a run will use it."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, Final

import numpy as np

from pixelmill.choices import Precision
from pixelmill.embedding.embedder import Embedder
from pixelmill.embedding.targets import Target
from pixelmill.models.base import EmbeddingModel
from pixelmill.watch.calls import begin

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

PICTURES: Final = 32
"""With so many a precision is measured, where there are as many."""
LEAST_COSINE = 0.999
LEAST_GAIN = 1.15
"""A lower precision must be this much faster than float32, so that noise in the measurement does not choose it."""
_REPEATS = 3
_LONG = 2.0
"""Seconds of a pass that no further one makes more exact."""
_HOPELESS = 5.0
"""A lower precision whose first pass takes so many times float32's is slow in software; it is not tried again."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A precision beside float32: the least cosine of its vectors to float32's, and how many times as fast it is (None:
    it does not hold, and was not timed)."""

    precision: Precision
    least_cosine: float
    speed: float | None


@dataclass(frozen=True, slots=True)
class PrecisionFound:
    """What measuring came to: the `precision` to be used; with how many different `pictures`, in batches of which size,
    and each lower one that was `tried`. Without pictures nothing was, and it is float32."""

    precision: Precision
    pictures: int
    batch_size: int
    tried: tuple[Tried, ...] = ()


def fastest_precision(model: EmbeddingModel, samples: Sequence[np.ndarray], *, batch_size: int) -> PrecisionFound:
    """The fastest of float32, bfloat16 and (on a GPU) float16 whose vectors keep cosine >= 0.999 to float32's.

    `model` is in float32 on its device; `samples` are pictures as uint8 (image_size, image_size, 3), of which it
    takes up to PICTURES. All batches are of `batch_size`: where there are fewer pictures, they are repeated.
    """
    samples = samples[:PICTURES]
    if not samples:
        return PrecisionFound("float32", 0, batch_size)
    candidates: Sequence[Precision] = ["bfloat16"] if model.device.type == "cpu" else ["float16", "bfloat16"]
    plain = _Passes(model, samples, "float32", batch_size)
    tried = [_beside(plain, model, samples, precision, batch_size) for precision in candidates]
    gains: dict[Precision, float] = {one.precision: one.speed for one in tried if one.speed and one.speed > LEAST_GAIN}
    best: Precision = max(gains, key=lambda precision: gains[precision]) if gains else "float32"
    return PrecisionFound(best, len(samples), batch_size, tuple(tried))


def _beside(
    plain: _Passes, model: EmbeddingModel, samples: Sequence[np.ndarray], precision: Precision, batch_size: int
) -> Tried:  # fmt: skip
    lower = _Passes(_as(model, precision), samples, precision, batch_size)
    cosine = least_cosine(plain.vectors, lower.vectors)
    if cosine < LEAST_COSINE:  # how fast it is does not matter
        log.info("precision: model=%s %s cosine=%.5f", model.spec.name, precision, cosine)
        return Tried(precision, round(cosine, 7), None)
    for _ in range(_REPEATS):  # in turns: a machine that others use is slow for both
        if max(plain.seconds, lower.seconds) > _LONG or lower.seconds > _HOPELESS * plain.seconds:
            break
        plain.again()
        lower.again()
    speed = plain.seconds / lower.seconds
    log.info("precision: model=%s %s cosine=%.5f speed=%.2fx", model.spec.name, precision, cosine, speed)
    return Tried(precision, round(cosine, 7), round(speed, 2))


def _as(model: EmbeddingModel, precision: Precision) -> EmbeddingModel:
    import torch

    dtype: torch.dtype = getattr(torch, precision)
    return copy.deepcopy(model).to(model.device, dtype)


class _Passes:
    """Passes of full batches through a model in one precision: the vectors of the pictures, once each, and the least
    `seconds` that a pass took."""

    def __init__(
        self, model: EmbeddingModel, samples: Sequence[np.ndarray], precision: Precision, batch_size: int
    ) -> None:  # fmt: skip
        self._target = Target(model, precision)
        self._embedder = Embedder([self._target], batch_size=batch_size)
        pictures = -(-PICTURES // batch_size) * batch_size
        self._inputs = list(islice(cycle(samples), pictures))
        self._what = f"{model.spec.name} in {precision}, to measure which is fastest"
        self.seconds = float("inf")
        self.vectors = self.again()[: len(samples)]

    def again(self) -> np.ndarray:
        """One more pass: its vectors, float32 (pictures, dim)."""
        start, made = time.perf_counter(), list[np.ndarray]()
        while (at := sum(map(len, made))) < len(self._inputs):
            begin("embed", self._what)
            made.append(self._embedder.embed(self._target, self._inputs[at : at + self._embedder.batch_size]))
        self.seconds = min(self.seconds, time.perf_counter() - start)
        return np.concatenate(made)


def least_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The least cosine between rows of the same number in `a` and `b` (k, dim); 0 if `b` is not finite."""
    if not np.isfinite(b).all():
        return 0.0
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / np.where(norms == 0, 1, norms)).min())
