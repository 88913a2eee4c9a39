"""From a model's name to a model that embeds: fetch, verify, load, move to its device and precision."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pixelmill.errors import WeightsRefused
from pixelmill.models.base import EmbeddingModel, ModelSpec
from pixelmill.models.fetch.records import Progress
from pixelmill.models.weights import CachedFile, WeightsCache

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "bfloat16", "float16")


def load(
    spec: ModelSpec,
    cache: WeightsCache,
    *,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
    progress: Progress | None = None,
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

    model: EmbeddingModel = _backend(spec).load(spec, file)
    if model.preprocessing.image_size != spec.image_size:
        raise WeightsRefused(
            f"Expected input of {spec.image_size} pixels for {spec.name}."
            f" {file.path} takes {model.preprocessing.image_size}."
        )
    # Of published weights the library says all that is to know; files beside them are others' business.
    beside = () if spec.pretrained else [one for one in file.beside if one.parent == file.path.parent]
    model.doubts = (*require_agreement(model, beside, model.activation), *untrained(model))
    wanted = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    model.device, model.dtype = torch.device(device), wanted
    model.module.eval().requires_grad_(False)
    quicken(model.module)
    model.cast(wanted)
    model.module.to(model.device)
    return model


def instantiate(spec: ModelSpec, device: str = "meta") -> EmbeddingModel:
    """The architecture of `spec` without weights: on `meta` it costs no memory, and shows dims and parameters."""
    import torch

    model: EmbeddingModel = _backend(spec).instantiate(spec)
    model.device, model.dtype = torch.device(device), torch.float32
    if device != "meta":
        model.module.to_empty(device=device)
    model.module.eval().requires_grad_(False)
    return model


def _backend(spec: ModelSpec) -> Any:
    return importlib.import_module(f"pixelmill.models.{spec.backend}")
