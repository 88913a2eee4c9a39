"""Weights that nobody trained: what can be told from them alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from pixelmill.models.base import EmbeddingModel


def untrained(model: EmbeddingModel) -> tuple[str, ...]:
    """The words on a model, as it was loaded, whose normalisation layers all stand where initialisation puts them.

    The first step of any training moves their weights from 1 and their biases from 0; a checkpoint in which none has
    moved was saved before it, or by the wrong script. Models without such layers give no sign.
    """
    from torch import nn

    kinds = (nn.LayerNorm, nn.BatchNorm2d, nn.GroupNorm)
    norms = [layer for layer in model.module.modules() if isinstance(layer, kinds) and layer.weight is not None]
    if not norms or not all(_stands(layer.weight, 1) and _stands(layer.bias, 0) for layer in norms):
        return ()
    return (
        f"all {len(norms)} normalisation layers of {model.spec.name} stand at their initial values: its weights look "
        "random, as before any training",
    )


def _stands(tensor: torch.Tensor | None, value: float) -> bool:
    return tensor is None or bool((tensor == value).all())
