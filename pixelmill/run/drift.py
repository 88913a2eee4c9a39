"""Do the models still give what is stored? Embed a sample again and compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pixelmill.devices import resolve_device
from pixelmill.embedding.precision import LEAST_COSINE, least_cosine
from pixelmill.embedding.progress import telling
from pixelmill.embedding.targets import Target
from pixelmill.models.base import EmbeddingModel, ModelSpec
from pixelmill.models.load import load
from pixelmill.models.weights import WeightsCache
from pixelmill.pipeline import Pipeline
from pixelmill.provenance import decode_options_of
from pixelmill.run.measure import SAMPLE, Measure, measured, spread
from pixelmill.sources.found import FoundFile
from pixelmill.store.manifest import Provenance
from pixelmill.store.reader import MatrixView, Store

ReadFile = Callable[[FoundFile], bytes]


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


def checked(model: EmbeddingModel, made: Provenance, measure: Measure, read: ReadFile | None = None) -> Check:
    """How near a model comes here to what is stored of the images that it is measured by, as far as they can be read
    (by `read`, if they lie elsewhere for this process)."""
    check = Check(made.model, 0, float("nan"))
    for part in measure.parts():
        if not check.compared and measure.files[part]:
            check = _compared(model, made, measure, part, read)
    return check


def _compared(
    model: EmbeddingModel, made: Provenance, measure: Measure, part: slice, read: ReadFile | None
) -> Check:  # fmt: skip
    pipeline = Pipeline(
        [Target(model, made.fingerprint)], decode_options_of(made), batch_size=SAMPLE, threads=2, read=read
    )
    wanted = {content.tobytes(): i for i, content in enumerate(measure.contents[part])}
    with telling(_nobody, alone=True):
        result = pipeline.run(measure.files[part], lambda sha: frozenset({made.fingerprint} if sha in wanted else ()))
    vectors = result.rows.vectors.get(made.fingerprint)
    if vectors is None:
        return Check(made.model, 0, float("nan"))
    stored = measure.vectors[part][[wanted[result.rows.contents[i].sha256] for i in vectors.index]]
    return Check(made.model, len(stored), least_cosine(stored, vectors.values))


def _loaded_and_checked(view: MatrixView, spec: ModelSpec, cache: WeightsCache) -> Check:
    made = view.provenance
    model = load(spec, cache, device=resolve_device("auto"), dtype=made.precision)
    if model.weights_sha256 != made.weights_sha256:
        words = f"made with weights {made.weights_sha256[:12]}, now {model.weights_sha256[:12]}"
        return Check(made.model, 0, float("nan"), words)
    rows = spread(np.flatnonzero(view.embedded & view.store.present))
    return _compared(model, made, measured(view, rows), slice(None), None)


def _nobody(_model: str, _images: int) -> None:
    """What is embedded to compare is no progress of a run."""
