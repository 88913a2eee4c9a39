"""The fastest precision that holds, found by measuring on the device that will be used."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pixelmill.images.preprocess import normalize
from pixelmill.models.base import EmbeddingModel

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

LEAST_COSINE = 0.999
LEAST_GAIN = 1.15
"""A lower precision must be this much faster than float32, so that noise in the measurement does not choose it."""
_REPEATS = 3
_LONG = 2.0
"""Seconds of a first pass that no further one makes more exact."""
_HOPELESS = 5.0
"""A lower precision whose first pass takes so many times float32's is slow in software; it is not tried again."""


def fastest_precision(model: EmbeddingModel, samples: Sequence[np.ndarray]) -> str:
    """The fastest of float32, bfloat16 and (on a GPU) float16 whose vectors keep cosine >= 0.999 to float32's.

    `model` is in float32 on its device; `samples` are pictures as uint8 (image_size, image_size, 3). None: float32.
    """
    import torch

    if not samples:
        return "float32"
    batch = torch.from_numpy(np.stack(samples)).to(model.device)
    candidates = [torch.bfloat16] if model.device.type == "cpu" else [torch.float16, torch.bfloat16]
    plain = _Passes(model, batch, torch.float32)
    best, best_seconds = "float32", float("inf")
    for dtype in candidates:
        name, passes = str(dtype).removeprefix("torch."), _Passes(_as(model, dtype), batch, dtype)
        cosine = least_cosine(plain.vectors, passes.vectors)
        if cosine < LEAST_COSINE:  # how fast it is does not matter
            log.info("precision: model=%s %s cosine=%.5f", model.spec.name, name, cosine)
            continue
        base = plain.seconds()
        seconds = passes.seconds(enough=_HOPELESS * base)
        log.info("precision: model=%s %s cosine=%.5f speed=%.2fx", model.spec.name, name, cosine, base / seconds)
        if seconds < min(best_seconds, base / LEAST_GAIN):
            best, best_seconds = name, seconds
    return best


def _as(model: EmbeddingModel, dtype: torch.dtype) -> EmbeddingModel:
    return copy.deepcopy(model).to(model.device, dtype)


class _Passes:
    """Passes of a batch through a model in one precision: the vectors of the first one, and how long one takes."""

    def __init__(self, model: EmbeddingModel, batch: torch.Tensor, dtype: torch.dtype) -> None:
        self._model = model
        self._pixels = normalize(batch, model.preprocessing, dtype)
        start = time.perf_counter()
        self.vectors = self._embed().numpy()
        self._first = time.perf_counter() - start
        self._best: float | None = None

    def seconds(self, enough: float = float("inf")) -> float:
        """The least that a pass took. A first pass of `enough` seconds, or a long one, is all."""
        if self._best is None:
            repeats = _REPEATS if self._first < min(enough, _LONG) else 0
            self._best = min([self._timed() for _ in range(repeats)], default=self._first)
        return self._best

    def _timed(self) -> float:
        start = time.perf_counter()
        self._embed()
        return time.perf_counter() - start

    def _embed(self) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            return self._model.encode_image(self._pixels).float().cpu()


def least_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The least cosine between rows of the same number in `a` and `b` (k, dim); 0 if `b` is not finite."""
    if not np.isfinite(b).all():
        return 0.0
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / np.where(norms == 0, 1, norms)).min())
