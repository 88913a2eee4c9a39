"""Models of one's own: an upstream architecture with one's own checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from pixelmill.errors import SettingsError
from pixelmill.models.base import Backend, ModelSpec, WeightsSource

Channels = tuple[float, float, float]


def own_spec(
    name: str, *, backend: Backend, architecture: str, checkpoint: str, sha256: str | None = None,
    image_size: int | None = None, mean: Channels | None = None, std: Channels | None = None,
) -> ModelSpec:  # fmt: skip
    """The spec of a person's own checkpoint (a local path or an http(s) URL); its dim is that of the architecture.

    `sha256` is the whole digest, without which a TorchScript archive is not loaded. `image_size`, `mean` and `std`
    replace upstream's. Raises SettingsError for an architecture or a size that the backend does not have.
    """
    draft = ModelSpec(
        name=name, backend=backend, architecture=architecture, pretrained="", dim=0, image_size=image_size or 0,
        parameters=0, weights=WeightsSource(_address(checkpoint), sha256), licence="your own",
        text=backend in ("openai_clip", "open_clip"), mean=mean, std=std,
        options=(("force_image_size", image_size),) if image_size else (),
    )  # fmt: skip
    return measured(draft)


def measured(draft: ModelSpec) -> ModelSpec:
    """The draft of a spec with the dim, input size and parameters that its architecture has, found on `meta`."""
    import torch

    from pixelmill.models.load import instantiate

    model = instantiate(draft)
    side = model.preprocessing.image_size
    if draft.image_size not in (0, side):
        raise SettingsError(
            f"Expected image_size = {side} for {draft.name}: {draft.architecture} has no other. Got {draft.image_size}."
        )
    dim = int(model.encode_image(torch.empty(1, 3, side, side, device="meta")).shape[1])
    return replace(draft, dim=dim, image_size=side, parameters=sum(p.numel() for p in model.module.parameters()))


def _address(checkpoint: str) -> str:
    if checkpoint.startswith(("http://", "https://", "file:")):
        return checkpoint
    return f"file:{quote(str(Path(checkpoint).expanduser().absolute()), errors='surrogateescape')}"
