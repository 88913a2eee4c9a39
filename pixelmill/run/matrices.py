"""Which matrix of the store a model fills: one that is there and that it still makes, or a new one."""

from __future__ import annotations

from typing import Any, Final

from pixelmill.models.base import ModelSpec
from pixelmill.run.job import Job
from pixelmill.sources.found import FoundFile
from pixelmill.store.ledger import Ledger
from pixelmill.store.manifest import Manifest, Matrix, Provenance

_SAMPLES: Final = 48
"""More than a precision is measured with: a few may not be readable."""


def existing_matrices(manifest: Manifest, job: Job, spec: ModelSpec, weights_sha256: str | None) -> list[Matrix]:
    """The matrices of the store that this job could continue for a model, found without loading the model; without
    `weights_sha256`, of any weights.

    Those of the model whose recorded choices are the job's, which for `auto` are any: of the latest generation first,
    then the one that is served, then the newest.
    """
    fitting = [m for m in reversed(manifest.matrices) if _fits(m.provenance, job, spec, weights_sha256)]
    return sorted(fitting, key=lambda matrix: (-matrix.provenance.generation, not matrix.serving))


def _fits(made: Provenance, job: Job, spec: ModelSpec, weights_sha256: str | None) -> bool:
    wanted: dict[str, Any] = {
        "model": spec.name,
        "backend": spec.backend,
        "architecture": spec.architecture,
        "weights_sha256": weights_sha256,
        "image_size": spec.image_size,
        "exif_orientation": job.exif_orientation,
        "background": job.background,
        "frames": job.frames,
        "mean": spec.mean,
        "std": spec.std,
        "precision": None if job.precision == "auto" else job.precision,
        "decode": job.decode,
    }
    return all(value is None or getattr(made, name) == value for name, value in wanted.items())


def sample_files(ledger: Ledger, scan: int) -> list[FoundFile]:
    """Images of a scan, as many as are measured with though a few cannot be read."""
    return [file for _, (file, _) in zip(range(_SAMPLES), ledger.worklist.images(scan), strict=False)]
