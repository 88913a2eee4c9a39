"""`pixelmill.own_model`: an upstream architecture with a checkpoint of one's own."""

from __future__ import annotations

import os
from typing import TypeAlias

from pixelmill.api.names import AnyPath
from pixelmill.api.settings import own_spec
from pixelmill.models.base import BackendName, ModelSpec

Channels: TypeAlias = tuple[float, float, float]


def own_model(
    name: str, *, backend: BackendName, architecture: str, checkpoint: AnyPath, sha256: str | None = None,
    image_size: int | None = None, mean: Channels | None = None, std: Channels | None = None,
) -> ModelSpec:  # fmt: skip
    """A model of one's own, to be given where a model's name is: an upstream architecture with one's own checkpoint.

    `checkpoint` is a local path or an http(s) address, `sha256` its whole digest, without which a TorchScript archive
    is not loaded. `image_size`, `mean` and `std` replace upstream's. The same as `[models.NAME]` in a settings file,
    and as docs/own-models.md tells it. Raises SettingsError for what would be none there, such as an architecture or a
    size that the backend lacks.
    """
    return own_spec(
        name, backend=backend, architecture=architecture, checkpoint=os.fspath(checkpoint), sha256=sha256,
        image_size=image_size, mean=mean, std=std,
    )  # fmt: skip
