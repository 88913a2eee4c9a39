"""Do the models still give what is stored? Embed a sample again and compare."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pixelmill.devices import resolve_device
from pixelmill.embedding.precision import LEAST_COSINE, least_cosine
from pixelmill.embedding.targets import Target
from pixelmill.errors import EmbeddingFailed
from pixelmill.images.decode import DecodeOptions
from pixelmill.models.base import EmbeddingModel, ModelSpec
from pixelmill.models.load import load
from pixelmill.models.weights import WeightsCache
from pixelmill.pipeline import Pipeline
from pixelmill.sources.found import FoundFile
from pixelmill.store.commit import Overtaken, StoreWriter
from pixelmill.store.manifest import Matrix, Provenance
from pixelmill.store.reader import MatrixView, Store
from pixelmill.store.rows import ShardRows
from pixelmill.watch.calls import go_on

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

SAMPLE: Final = 16
NIGHTLY: Final = 8
"""Images of each matrix that a run embeds again before it adds to it: a fraction of a second."""
_measured: set[tuple[str, str, torch.device]] = set()
"""What this process was seen to make as it is stored, or was the first to make: by store, fingerprint and device."""


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
    """Embed the first 8 images of a matrix that are still there again, the same ones every night, and compare.

    Where none of them can be read here (on a disk that only other machines see), the last ones are looked at, then some
    that are spread over all.
    """
    view = MatrixView(store, matrix)
    rows = np.flatnonzero(view.embedded & store.present)
    check = _compared(view, model, rows[:NIGHTLY])
    for others in (rows[NIGHTLY:][-NIGHTLY:], _spread(rows[NIGHTLY:-NIGHTLY])):
        if not check.compared and len(others):
            check = _compared(view, model, others)
    return check


def reproduces(writer: StoreWriter, matrix: Matrix, model: EmbeddingModel) -> bool:
    """Whether a model makes here what a matrix holds, by a few of its images, as far as they can be compared. Kept in
    the ledger, for the report."""
    check = _measure(writer, writer.snapshot(), matrix, model)
    if check and not check.sound:
        writer.ledger.runs.record_check(matrix.provenance.fingerprint, check.compared, check.least_cosine)
        log.warning("the vectors of a matrix are not made any more: %s", check)
    return check is None or check.sound


def forget_measured() -> None:
    """Look again at what this process makes."""
    _measured.clear()


class Measured:
    """Stores what a worker makes, if it is of one kind with what the matrices hold.

    The first vectors of a matrix are the measure for all that follow. Where it holds nothing yet, two workers may begin
    at once: one of them stores the first, and the other compares before it stores any.
    """

    def __init__(self, writer: StoreWriter, targets: Sequence[Target], worker: str) -> None:
        self.targets = targets
        self._writer = writer
        self._worker = worker

    def require(self) -> list[tuple[Matrix, EmbeddingModel]]:
        """The matrices, as they are now, that hold nothing with which this worker can compare what its models make.
        Raises EmbeddingFailed where they make other vectors than are stored."""
        store, unmeasured = self._writer.snapshot(), []
        for target in self.targets:
            matrix = store.manifest.matrix(target.fingerprint)
            if matrix and _key(store, matrix, target.model) not in _measured:
                check = _measure(self._writer, store, matrix, target.model)
                if check is None:
                    unmeasured.append((matrix, target.model))
                elif not check.sound:
                    raise self._other_vectors(target.model, check)
        return unmeasured

    def commit(self, rows: ShardRows) -> tuple[str, ...]:
        """Store the rows of a shard; warnings about vectors that could not be compared with those that are there."""
        while True:
            unmeasured = [
                (matrix, model)
                for matrix, model in (self.require() if rows.vectors else ())
                if matrix.provenance.fingerprint in rows.vectors
            ]
            try:
                self._writer.commit(rows, looked_at=[matrix for matrix, _ in unmeasured])
            except Overtaken:
                continue
            return tuple(self._unchecked(matrix) for matrix, model in unmeasured if not self._is_first(matrix, model))

    def _is_first(self, matrix: Matrix, model: EmbeddingModel) -> bool:
        """Whether a matrix was empty: what this worker has added is the measure now."""
        if not matrix.extents:
            _measured.add(_key(self._writer.snapshot(), matrix, model))
        return not matrix.extents

    def _unchecked(self, matrix: Matrix) -> str:
        return (
            f"{matrix.provenance.model}: worker {self._worker!r} could read none of the images that were looked at to "
            "compare what it makes with what is stored. Let it see the files of the sources, to have that checked."
        )

    def _other_vectors(self, model: EmbeddingModel, check: Check) -> EmbeddingFailed:
        return EmbeddingFailed(
            f"Expected worker {self._worker!r} to make of {model.spec.name} on {model.device} what its matrix holds. "
            f"{check.compared} images that are stored, embedded again, come out otherwise (least cosine "
            f"{check.least_cosine:.4f}): its driver or libraries are others than those that made the matrix. Nothing "
            "was embedded here."
        )


def _measure(writer: StoreWriter, store: Store, matrix: Matrix, model: EmbeddingModel) -> Check | None:
    """How near to what a matrix holds a model comes in this process; None if there is nothing to compare with."""
    check = nightly(store, matrix, model)
    go_on()  # nothing is put on record by a call that was given up meanwhile
    if not check.compared:
        return None
    if check.sound:
        writer.ledger.runs.record_check(matrix.provenance.fingerprint, check.compared, check.least_cosine)
        _measured.add(_key(store, matrix, model))
    return check


def _key(store: Store, matrix: Matrix, model: EmbeddingModel) -> tuple[str, str, torch.device]:
    return store.manifest.store_id, matrix.provenance.fingerprint, model.device


def _loaded_and_checked(view: MatrixView, spec: ModelSpec, cache: WeightsCache) -> Check:
    made = view.provenance
    model = load(spec, cache, device=resolve_device("auto"), dtype=made.precision)
    if model.weights_sha256 != made.weights_sha256:
        words = f"made with weights {made.weights_sha256[:12]}, now {model.weights_sha256[:12]}"
        return Check(made.model, 0, float("nan"), words)
    return _compared(view, model, _spread(np.flatnonzero(view.embedded & view.store.present)))


def _spread(rows: np.ndarray) -> np.ndarray:
    """At most 16 of `rows`, spread over them."""
    return rows if len(rows) <= SAMPLE else rows[np.linspace(0, len(rows) - 1, SAMPLE).astype(int)]


def _compared(view: MatrixView, model: EmbeddingModel, rows: np.ndarray) -> Check:
    made, store = view.provenance, view.store
    pipeline = Pipeline([Target(model, made.fingerprint)], _options(made), batch_size=SAMPLE, threads=2)
    wanted = {store.sha256(row, row + 1).tobytes(): row for row in rows.tolist()}
    result = pipeline.run(_files(store, rows), lambda sha: frozenset({made.fingerprint} if sha in wanted else ()))
    vectors = result.rows.vectors.get(made.fingerprint)
    if vectors is None:
        return Check(made.model, 0, float("nan"))
    stored = view.take([wanted[result.rows.contents[i].sha256] for i in vectors.index])
    return Check(made.model, len(stored), least_cosine(stored.astype(np.float32), vectors.values))


def _files(store: Store, rows: np.ndarray) -> Sequence[FoundFile]:
    return [FoundFile(*store.place(row), 0, 0, 0) for row in rows.tolist()]


def _options(made: Provenance) -> DecodeOptions:
    return DecodeOptions(decode=made.decode, exif_orientation=made.exif_orientation, background=made.background)
