"""From a model's name to a model that embeds: fetch, verify, load, move to its device and precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from pixelmill.choices import Precision
from pixelmill.errors import WeightsRefused
from pixelmill.models.backends import backend
from pixelmill.models.base import EmbeddingModel, ModelSpec
from pixelmill.models.weights import CachedFile, WeightsCache
from pixelmill.progress import DownloadProgress

if TYPE_CHECKING:
    import torch

PRECISIONS = get_args(Precision)


def load(
    spec: ModelSpec,
    cache: WeightsCache,
    *,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
    progress: DownloadProgress | None = None,
) -> EmbeddingModel:
    """The model of `spec`, its weights fetched through `cache`, on `device` in `dtype`, in eval mode.

    Raises WeightsUnavailable (worth a retry), WeightsRefused or another WeightsError.
    """
    return load_file(spec, cache.fetch_model(spec, progress=progress), device=device, dtype=dtype)


def load_file(
    spec: ModelSpec, file: CachedFile, *, device: str | torch.device = "cpu", dtype: str | torch.dtype = "float32"
) -> EmbeddingModel:
    """The model of `spec` with the weights in a verified `file`. Raises WeightsRefused if they are not its weights."""
    import torch

    from pixelmill.models.checkpoint.sidecars import require_agreement
    from pixelmill.models.checkpoint.untrained import untrained
    from pixelmill.models.fuse import quicken
    from pixelmill.models.without_compiler import without_compiler

    with without_compiler():
        model = backend(spec.backend).load(spec, file)
    if model.preprocessing.image_size != spec.image_size:
        raise WeightsRefused(
            f"Expected input of {spec.image_size} pixels for {spec.name}."
            f" {file.path} takes {model.preprocessing.image_size}."
        )
    # Of published weights the library says all that is to know; files beside them are others' business.
    beside = () if spec.pretrained else [one for one in file.beside if one.parent == file.path.parent]
    model.doubts = (*require_agreement(model, beside), *untrained(model))
    quicken(model.module)
    return model.to(torch.device(device), getattr(torch, dtype) if isinstance(dtype, str) else dtype)


def instantiate(spec: ModelSpec, device: str = "meta") -> EmbeddingModel:
    """The architecture of `spec` without weights: on `meta` it costs no memory, and shows dims and parameters."""
    import torch

    from pixelmill.models.without_compiler import without_compiler

    with without_compiler():
        model = backend(spec.backend).instantiate(spec)
    model.device = torch.device(device)
    if device != "meta":
        model.module.to_empty(device=device)
    return model
