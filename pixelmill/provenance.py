"""Which matrix of the store a model fills: the one that its fingerprint names, or a new one."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Literal

from pixelmill.models.base import EmbeddingModel, ModelSpec
from pixelmill.run.job import Job
from pixelmill.store.manifest import Manifest, Matrix, Provenance
from pixelmill.version import VERSION

if TYPE_CHECKING:
    from pixelmill.images.preprocess import Preprocessing

Decode = Literal["fast", "reference"]
_PACKAGES = ("torch", "torchvision", "open_clip_torch", "clip-anytorch", "timm", "pillow", "numpy")
_NOT_IN_FINGERPRINT = {"fingerprint", "versions", "normalized", "model"}


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


def provenance_of(
    model: EmbeddingModel, job: Job, *, precision: str, decode: Decode, generation: int = 1
) -> Provenance:
    """What a model makes in this job, with the fingerprint that names it."""
    spec, pre = model.spec, model.preprocessing
    made: dict[str, Any] = {
        "model": spec.name,
        "backend": spec.backend,
        "architecture": spec.architecture,
        "pretrained": spec.pretrained,
        "weights_sha256": model.weights_sha256,
        "dim": spec.dim,
        **preprocessing_attributes(pre),
        "precision": precision,
        "decode": decode,
        "exif_orientation": job.exif_orientation,
        "background": job.background,
        **({"generation": generation} if generation > 1 else {}),
    }
    return Provenance(**made, fingerprint=fingerprint(made), versions=_versions())


def preprocessing_attributes(pre: Preprocessing) -> dict[str, Any]:
    """The preprocessing as a matrix records it."""
    return {
        "image_size": pre.image_size,
        "resize": pre.resize,
        "resize_mode": pre.resize_mode,
        "mean": pre.mean,
        "std": pre.std,
        "interpolation": pre.interpolation,
    }


def still_makes(model: EmbeddingModel, made: Provenance) -> bool:
    """Whether a loaded model preprocesses as the matrix records: an upgraded library may not."""
    attributes = preprocessing_attributes(model.preprocessing)
    return made.dim == model.spec.dim and all(getattr(made, name) == value for name, value in attributes.items())


def fingerprint(made: dict[str, Any]) -> str:
    """The sha256 (hex) of everything that decides what a vector is; names and library versions do not."""
    decisive = {name: value for name, value in made.items() if name not in _NOT_IN_FINGERPRINT}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _versions() -> dict[str, str]:
    return {"pixelmill": VERSION, **{name: found for name in _PACKAGES if (found := _version(name))}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
