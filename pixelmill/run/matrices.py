"""Which matrix of the store a model fills: one that is there and that it still makes, or a new one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from pixelmill.choices import Decode
from pixelmill.embedding.precision import fastest_precision
from pixelmill.errors import ImageRejected
from pixelmill.images.sandbox import decode_in_sandbox
from pixelmill.models.base import EmbeddingModel, ModelSpec
from pixelmill.models.weights import CachedFile
from pixelmill.provenance import provenance_of, still_makes
from pixelmill.run.drift import reproduces
from pixelmill.run.job import Job
from pixelmill.run.loaded import loaded_model
from pixelmill.sources.found import FoundFile
from pixelmill.sources.reading import read_image
from pixelmill.store.commit import StoreWriter
from pixelmill.store.ledger import Ledger
from pixelmill.store.manifest import Manifest, Matrix, Provenance
from pixelmill.watch.calls import answer, begin
from pixelmill.watch.hangs import Unanswered

_SAMPLES = 8


def existing_matrices(manifest: Manifest, job: Job, spec: ModelSpec, weights_sha256: str) -> list[Matrix]:
    """The matrices of the store that this job could continue for a model, found without loading the model.

    Those of the model whose recorded choices are the job's, which for `auto` are any: of the latest generation first,
    then the one that is served, then the newest.
    """
    fitting = [m for m in reversed(manifest.matrices) if _fits(m.provenance, job, spec, weights_sha256)]
    return sorted(fitting, key=lambda matrix: (-matrix.provenance.generation, not matrix.serving))


def _fits(made: Provenance, job: Job, spec: ModelSpec, weights_sha256: str) -> bool:
    wanted: dict[str, Any] = {
        "model": spec.name,
        "backend": spec.backend,
        "architecture": spec.architecture,
        "weights_sha256": weights_sha256,
        "image_size": spec.image_size,
        "exif_orientation": job.exif_orientation,
        "background": job.background,
        "mean": spec.mean,
        "std": spec.std,
        "precision": None if job.precision == "auto" else job.precision,
        "decode": job.decode,
    }
    return all(value is None or getattr(made, name) == value for name, value in wanted.items())


def matrix_to_fill(
    job: Job, writer: StoreWriter, spec: ModelSpec, file: CachedFile, found: Sequence[Matrix],
    samples: Sequence[FoundFile],
) -> Matrix | None:  # fmt: skip
    """The matrix that a model fills, of those `found` or a new one. If the model hangs, the first one found."""
    try:
        return _settled(job, writer, spec, file, found, samples)
    except Unanswered:  # it is on record as what hangs
        return found[0] if found else None


def _settled(
    job: Job,
    writer: StoreWriter,
    spec: ModelSpec,
    file: CachedFile,
    found: Sequence[Matrix],
    samples: Sequence[FoundFile],
) -> Matrix:
    """The matrix to fill: the first of those found that the model still makes, else one for what it makes now.

    Where only the vectors differ, and nothing that is recorded does, that is the next generation.
    """
    generation = 1
    for matrix in found:
        model = _loaded_in_time(job, spec, file, matrix.provenance.precision)
        if still_makes(model, matrix.provenance):
            if answer(partial(reproduces, writer, matrix, model), deadline=job.deadline):
                writer.continue_with(matrix.provenance.fingerprint)
                return matrix
            generation = max(generation, matrix.provenance.generation + 1)
    newest = found[0].provenance if found else None
    decode: Decode = job.decode or (newest.decode if newest else "fast")
    if newest:
        precision: str = newest.precision
    else:
        precision = job.precision if job.precision != "auto" else measured_precision(job, spec, file, samples)
    model = _loaded_in_time(job, spec, file, precision)
    made = provenance_of(model, job.decode_options(decode), precision=precision, generation=generation)
    return writer.matrix(made, job.vector_dtype)


def measured_precision(job: Job, spec: ModelSpec, file: CachedFile, files: Sequence[FoundFile]) -> str:
    """The fastest precision that holds for a model on its device, measured with the first few images of `files`."""
    model = _loaded_in_time(job, spec, file, "float32")
    samples: list[np.ndarray] = []
    for found in files:
        try:
            data = answer(partial(_read, found, job.max_bytes), deadline=job.deadline)
            made = model.preprocessing
            decoded = decode_in_sandbox(data, job.decode_options("fast"), shortest=made.resize, wanted=[made])
        except (ImageRejected, OSError):
            continue
        samples.append(decoded.arrays[0])
        if len(samples) == _SAMPLES:
            break
    return answer(partial(_fastest, model, samples), deadline=job.deadline)


def sample_files(ledger: Ledger, scan: int) -> list[FoundFile]:
    """Images of a scan, enough to measure with though a few cannot be read."""
    return [file for _, (file, _) in zip(range(4 * _SAMPLES), ledger.worklist.images(scan), strict=False)]


def _loaded_in_time(job: Job, spec: ModelSpec, file: CachedFile, precision: str) -> EmbeddingModel:
    def load() -> EmbeddingModel:
        begin("load", spec.name)
        return loaded_model(job, spec, file, precision)

    return answer(load, deadline=job.deadline)


def _read(file: FoundFile, max_bytes: int) -> bytes:
    begin("read", file.absolute, file.source)
    return read_image(file, max_bytes=max_bytes)


def _fastest(model: EmbeddingModel, samples: Sequence[np.ndarray]) -> str:
    begin("embed", f"{model.spec.name}, to measure which precision is fastest")
    return fastest_precision(model, samples)
