"""What the files beside a checkpoint say of it that its tensors do not: activation, normalisation, input size."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pixelmill.errors import WeightsRefused
from pixelmill.models.base import EmbeddingModel


@dataclass(frozen=True, slots=True)
class Declared:
    """One thing that a file says: which (`activation`, `mean`, `std`, `image_size`), and what."""

    file: Path
    what: str
    value: Any


def declarations(beside: Iterable[Path]) -> list[Declared]:
    """What the files beside a checkpoint say; others than these say nothing. Raises WeightsRefused for a broken one."""
    return [Declared(file, what, value) for file in beside for what, value in _said(file) if value is not None]


def require_agreement(model: EmbeddingModel, beside: Iterable[Path]) -> tuple[str, ...]:
    """Compare a model with what the files beside its checkpoint say; the words on what the settings overrule.

    Raises WeightsRefused where they disagree on something that the settings do not state.
    """
    spec, pre = model.spec, model.preprocessing
    has = {"activation": model.activation, "mean": pre.mean, "std": pre.std, "image_size": pre.image_size}
    stated = {"mean": spec.mean, "std": spec.std, "image_size": dict(spec.options).get("force_image_size")}
    doubts = []
    for said in declarations(beside):
        if has[said.what] is None or _same(has[said.what], said.value):
            continue
        words = f"{said.file} says {said.what} = {said.value}, and {spec.name} has {has[said.what]}"
        if not stated.get(said.what):
            raise WeightsRefused(f"Expected what the checkpoint was trained with. {words}. {_advice(said)}")
        doubts.append(f"{words}, as the settings have it")
    return tuple(doubts)


def _advice(said: Declared) -> str:
    if said.what == "activation":
        return (
            'Name an architecture of open_clip that ends in "-quickgelu", or the backend openai_clip.'
            if said.value == "quick_gelu"
            else "Name the backend open_clip and an architecture without -quickgelu."
        )
    value = list(said.value) if isinstance(said.value, tuple) else said.value
    return f"Give {said.what} = {value} in the settings."


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        return len(a) == len(b) and all(math.isclose(x, y, abs_tol=1e-4) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def _said(file: Path) -> Iterator[tuple[str, Any]]:
    if file.name not in READERS:
        return
    try:
        found = json.loads(file.read_text("utf-8"))
        yield from list(READERS[file.name](found)) if isinstance(found, dict) else ()
    except (OSError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise WeightsRefused(
            f"Expected what is known of a checkpoint in {file}. It cannot be read ({type(error).__name__}: {error})."
        ) from error


def _config(found: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Hugging Face's CLIPModel (models/clip/configuration_clip.py), or timm's (timm/models/_hub.py)."""
    if found.get("model_type", "clip") == "clip" and "vision_config" in found and "text_config" in found:
        towers = [found[name] or {} for name in ("text_config", "vision_config")]
        acts = {tower.get("hidden_act", "quick_gelu") for tower in towers}
        yield "activation", acts.pop() if len(acts) == 1 else " and ".join(sorted(acts))
        yield "image_size", towers[1].get("image_size", 224)
    elif "pretrained_cfg" in found:
        cfg = found["pretrained_cfg"]
        yield "mean", _channels(cfg.get("mean"))
        yield "std", _channels(cfg.get("std"))


def _preprocessor(found: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Hugging Face's image processors."""
    yield "mean", _channels(found.get("image_mean"))
    yield "std", _channels(found.get("image_std"))


def _open_clip(found: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """open_clip's push_to_hf_hub (open_clip/push_to_hf_hub.py)."""
    model, pre = found.get("model_cfg") or {}, found.get("preprocess_cfg") or {}
    if "timm_model_name" not in model.get("vision_cfg", {}):
        yield "activation", "quick_gelu" if model.get("quick_gelu") else "gelu"
    yield "mean", _channels(pre.get("mean"))
    yield "std", _channels(pre.get("std"))


def _channels(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(value) for value in values)


READERS: Final[dict[str, Callable[[dict[str, Any]], Iterator[tuple[str, Any]]]]] = {
    "config.json": _config,
    "preprocessor_config.json": _preprocessor,
    "open_clip_config.json": _open_clip,
}
"""The files that are looked for beside a checkpoint, and how each is read."""
