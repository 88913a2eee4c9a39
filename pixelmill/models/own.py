"""Models of one's own: an upstream architecture with one's own checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pixelmill.models.base import Backend, ModelSpec, WeightsSource

Channels = tuple[float, float, float]


def own_spec(
    name: str, *, backend: Backend, architecture: str, checkpoint: str, sha256: str | None = None,
    image_size: int | None = None, mean: Channels | None = None, std: Channels | None = None,
) -> ModelSpec:  # fmt: skip
    """The spec of a person's own checkpoint (a local path or an http(s) URL); its dim is that of the architecture.

    Raises SettingsError or UnknownModel for an architecture that the backend does not have.
    """
    import torch

    from pixelmill.models.load import instantiate

    url = checkpoint if "://" in checkpoint else f"file:{Path(checkpoint).expanduser().absolute()}"
    draft = ModelSpec(
        name=name, backend=backend, architecture=architecture, pretrained="", dim=0,
        image_size=image_size or usual_image_size(backend, architecture), parameters=0,
        weights=WeightsSource(url, sha256), licence="your own", text=backend in ("openai_clip", "open_clip"),
        options=(("force_image_size", image_size),) if backend == "open_clip" and image_size else (),
        mean=mean, std=std,
    )  # fmt: skip
    model = instantiate(draft)
    side = model.preprocessing.image_size
    dim = model.encode_image(torch.empty(1, 3, side, side, device="meta")).shape[1]
    return replace(draft, dim=int(dim), image_size=side, parameters=sum(p.numel() for p in model.module.parameters()))


def usual_image_size(backend: Backend, architecture: str) -> int:
    """The input side in pixels that upstream uses for an architecture; 0 where its own configuration says."""
    if backend == "torchvision":
        from pixelmill.models.torchvision import resolve

        return resolve(f"torchvision:{architecture}").image_size
    if backend == "timm":
        import timm

        return int(timm.create_model(architecture, pretrained=False).pretrained_cfg["input_size"][-1])
    return 0
