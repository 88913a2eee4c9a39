"""Exactly what makes a vector: what a matrix records of it, and the fingerprint that names it."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from pixelmill.models.base import EmbeddingModel
from pixelmill.store.manifest import Provenance
from pixelmill.version import VERSION

if TYPE_CHECKING:
    from pixelmill.images.decode import DecodeOptions
    from pixelmill.images.preprocess import Preprocessing

_PACKAGES = (
    "torch", "torchvision", "open_clip_torch", "clip-anytorch", "timm", "pillow", "pi-heif", "rawpy", "imagecodecs",
    "numpy",
)  # fmt: skip
_NOT_IN_FINGERPRINT = {"fingerprint", "versions", "normalized", "model"}


def provenance_of(model: EmbeddingModel, options: DecodeOptions, *, precision: str, generation: int = 1) -> Provenance:
    """What a model makes of pictures decoded so, with the fingerprint that names it."""
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
        "decode": options.decode,
        "exif_orientation": options.exif_orientation,
        "background": options.background,
        **({"frames": options.frames} if options.frames != "first" else {}),
        **({"generation": generation} if generation > 1 else {}),
    }
    return Provenance(**made, fingerprint=fingerprint(made), versions=_versions())


def decode_options_of(made: Provenance) -> DecodeOptions:
    """How the pictures of a matrix were decoded."""
    from pixelmill.images.decode import DecodeOptions

    return DecodeOptions(
        decode=made.decode, exif_orientation=made.exif_orientation, background=made.background, frames=made.frames
    )


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
