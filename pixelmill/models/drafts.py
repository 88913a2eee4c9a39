"""Specs of architectures beyond the catalog: a draft by name, completed by what the architecture has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pixelmill.errors import SettingsError
from pixelmill.models.base import EmbeddingModel, ModelSpec

MODEL_CONFIG = "model_config"
"""The option that holds an open_clip_config.json of one's own, as canonical JSON."""


def canonical(stem: str, config: Mapping[str, Any]) -> tuple[str, str]:
    """A name for an open_clip_config.json that changes with its content, and the content as canonical JSON."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return f"{stem}@{hashlib.sha256(text.encode()).hexdigest()[:12]}", text


def measured_as(draft: ModelSpec, model: EmbeddingModel) -> ModelSpec:
    """The draft of a spec with what its architecture, `model` on `meta`, has."""
    import torch

    side = model.preprocessing.image_size
    if draft.image_size not in (0, side):
        raise SettingsError(
            f"Expected image_size = {side} for {draft.name}: {draft.architecture} has no other. Got {draft.image_size}."
        )
    dim = int(model.encode_image(torch.empty(1, 3, side, side, device="meta")).shape[1])
    return replace(draft, dim=dim, image_size=side, parameters=sum(p.numel() for p in model.module.parameters()))
