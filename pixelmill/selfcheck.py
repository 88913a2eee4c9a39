"""Do the models still give what is stored? Embed a sample again and compare."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pixelmill.devices import resolve_device
from pixelmill.images.decode import DecodeOptions
from pixelmill.images.discover import FoundFile
from pixelmill.models.base import ModelSpec
from pixelmill.models.load import load
from pixelmill.models.weights import WeightsCache
from pixelmill.pipeline import Pipeline, Target
from pixelmill.precision import LEAST_COSINE, least_cosine
from pixelmill.store.manifest import Provenance
from pixelmill.store.reader import MatrixView, Store

SAMPLE = 16


@dataclass(frozen=True, slots=True)
class Check:
    """The comparison of one model's stored vectors with fresh ones: how many, and the least cosine; NaN if none."""

    model: str
    compared: int
    least_cosine: float
    problem: str = ""

    @property
    def sound(self) -> bool:
        """Whether the vectors agree, as far as they could be compared."""
        return not self.problem and (not self.compared or self.least_cosine >= LEAST_COSINE)

    def as_dict(self) -> dict[str, Any]:
        cosine = None if np.isnan(self.least_cosine) else self.least_cosine
        return {**asdict(self), "least_cosine": cosine, "sound": self.sound}

    def __str__(self) -> str:
        if self.problem:
            return f"{self.model}: {self.problem}"
        return f"{self.model}: {self.compared} vectors embedded again, least cosine {self.least_cosine:.6f}"


def reembed(folder: Path, find: Callable[[str], ModelSpec], cache: WeightsCache) -> list[Check]:
    """Embed up to 16 images of each served matrix again, spread over its rows, and compare."""
    store = Store(folder)
    return [_check(store, store[name], find(name), cache) for name in store.models]


def _check(store: Store, view: MatrixView, spec: ModelSpec, cache: WeightsCache) -> Check:
    made = view.provenance
    model = load(spec, cache, device=resolve_device("auto"), dtype=made.precision)
    if model.weights_sha256 != made.weights_sha256:
        return Check(
            made.model,
            0,
            float("nan"),
            f"made with weights {made.weights_sha256[:12]}, now {model.weights_sha256[:12]}",
        )
    rows = _sample(store, view)
    pipeline = Pipeline([Target(model, made.fingerprint)], _options(made), batch_size=SAMPLE, threads=2)
    wanted = {bytes(sha): int(row) for row, sha in zip(rows, store.sha256()[rows], strict=True)}
    result = pipeline.run(_files(store, rows), lambda sha: frozenset({made.fingerprint} if sha in wanted else ()))
    vectors = result.harvest.vectors.get(made.fingerprint)
    if vectors is None:
        return Check(made.model, 0, float("nan"))
    stored = view.take([wanted[result.harvest.contents[i].sha256] for i in vectors.index])
    return Check(made.model, len(stored), least_cosine(stored.astype(np.float32), vectors.values))


def _sample(store: Store, view: MatrixView) -> np.ndarray:
    rows = np.flatnonzero(view.embedded & (store.paths != b""))
    if len(rows) <= SAMPLE:
        return rows
    spread: np.ndarray = rows[np.linspace(0, len(rows) - 1, SAMPLE).astype(int)]
    return spread


def _files(store: Store, rows: np.ndarray) -> Sequence[FoundFile]:
    return [FoundFile(os.fsdecode(store.sources[row]), os.fsdecode(store.paths[row]), 0, 0, 0) for row in rows]


def _options(made: Provenance) -> DecodeOptions:
    return DecodeOptions(decode=made.decode, exif_orientation=made.exif_orientation, background=made.background)
