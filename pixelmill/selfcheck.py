"""Do the models still give what is stored? Embed a sample again and compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from pixelmill.devices import resolve_device
from pixelmill.images.decode import DecodeOptions
from pixelmill.images.found import FoundFile
from pixelmill.models.base import EmbeddingModel, ModelSpec
from pixelmill.models.load import load
from pixelmill.models.weights import WeightsCache
from pixelmill.pipeline import Pipeline, Target
from pixelmill.precision import LEAST_COSINE, least_cosine
from pixelmill.store.manifest import Matrix, Provenance
from pixelmill.store.reader import MatrixView, Store

SAMPLE: Final = 16
NIGHTLY: Final = 8
"""Images of each matrix that a run embeds again before it adds to it: a fraction of a second."""


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
    return [_loaded_and_checked(store[name], find(name), cache) for name in store.models]


def nightly(store: Store, matrix: Matrix, model: EmbeddingModel) -> Check:
    """Embed the first 8 images of a matrix that are still there again, the same ones every night, and compare."""
    view = MatrixView(store, matrix)
    return _compared(view, model, np.flatnonzero(view.embedded & store.present)[:NIGHTLY])


def _loaded_and_checked(view: MatrixView, spec: ModelSpec, cache: WeightsCache) -> Check:
    made = view.provenance
    model = load(spec, cache, device=resolve_device("auto"), dtype=made.precision)
    if model.weights_sha256 != made.weights_sha256:
        words = f"made with weights {made.weights_sha256[:12]}, now {model.weights_sha256[:12]}"
        return Check(made.model, 0, float("nan"), words)
    rows = np.flatnonzero(view.embedded & view.store.present)
    if len(rows) > SAMPLE:
        rows = rows[np.linspace(0, len(rows) - 1, SAMPLE).astype(int)]
    return _compared(view, model, rows)


def _compared(view: MatrixView, model: EmbeddingModel, rows: np.ndarray) -> Check:
    made, store = view.provenance, view.store
    pipeline = Pipeline([Target(model, made.fingerprint)], _options(made), batch_size=SAMPLE, threads=2)
    wanted = {store.sha256(row, row + 1).tobytes(): row for row in rows.tolist()}
    result = pipeline.run(_files(store, rows), lambda sha: frozenset({made.fingerprint} if sha in wanted else ()))
    vectors = result.harvest.vectors.get(made.fingerprint)
    if vectors is None:
        return Check(made.model, 0, float("nan"))
    stored = view.take([wanted[result.harvest.contents[i].sha256] for i in vectors.index])
    return Check(made.model, len(stored), least_cosine(stored.astype(np.float32), vectors.values))


def _files(store: Store, rows: np.ndarray) -> Sequence[FoundFile]:
    return [FoundFile(*store.place(row), 0, 0, 0) for row in rows.tolist()]


def _options(made: Provenance) -> DecodeOptions:
    return DecodeOptions(decode=made.decode, exif_orientation=made.exif_orientation, background=made.background)
