"""Models as they are named from Python: by name, or as `own_model` gives them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeAlias

from pixelmill.models.base import ModelSpec

Model: TypeAlias = str | ModelSpec
"""A name, as `pixelmill models` has them, or what `own_model` gives."""
Models: TypeAlias = Model | Sequence[Model]
AnyPath: TypeAlias = str | os.PathLike[str]


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
