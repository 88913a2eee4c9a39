"""Models as they are named from Python: by name, or by a spec of one's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeAlias

from pixelmill.models.base import BackendName, ModelSpec

Model: TypeAlias = str | ModelSpec
"""A name, as `pixelmill models` has them, or what `own_model` gives."""
Models: TypeAlias = Model | Sequence[Model]
AnyPath: TypeAlias = str | os.PathLike[str]
Channels: TypeAlias = tuple[float, float, float]


def own_model(
    name: str, *, backend: BackendName, architecture: str, checkpoint: AnyPath, sha256: str | None = None,
    image_size: int | None = None, mean: Channels | None = None, std: Channels | None = None,
) -> ModelSpec:  # fmt: skip
    """A model of one's own, to be given where a model's name is: an upstream architecture with one's own checkpoint.

    `checkpoint` is a local path or an http(s) address, `sha256` its whole digest, without which a TorchScript archive
    is not loaded. `image_size`, `mean` and `std` replace upstream's. The same as `[models.NAME]` in a settings file,
    and as docs/own-models.md tells it. Raises SettingsError for an architecture or a size that the backend lacks.
    """
    from pixelmill.models.own import own_spec

    return own_spec(
        name, backend=backend, architecture=architecture, checkpoint=os.fspath(checkpoint), sha256=sha256,
        image_size=image_size, mean=mean, std=std,
    )  # fmt: skip


def several(models: Models | None) -> tuple[Model, ...]:
    """One model or several, as several."""
    if models is None:
        return ()
    return (models,) if isinstance(models, str | ModelSpec) else tuple(models)


def name_of(model: Model) -> str:
    """What a model is called."""
    return model if isinstance(model, str) else model.name


def specs_of(models: Sequence[Model]) -> dict[str, ModelSpec]:
    """Those that need not be looked for, by name."""
    return {model.name: model for model in models if isinstance(model, ModelSpec)}
