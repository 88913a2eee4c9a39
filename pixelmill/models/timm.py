"""timm's image models: pooled features before the classifier."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from pixelmill.errors import SettingsError, UnknownModel, WeightsRefused, nearest
from pixelmill.images.preprocess import Preprocessing
from pixelmill.models.base import EmbeddingModel, ModelSpec, WeightsSource
from pixelmill.models.checkpoint.state_dict import fill, read_state_dict, refusing
from pixelmill.models.drafts import measured_as
from pixelmill.models.meta_init import Skeleton, Uninitialised

if TYPE_CHECKING:
    from pixelmill.models.weights import CachedFile


class TimmModel(EmbeddingModel):
    """A timm model with its classifier off."""

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """What timm calls `num_classes=0`: pooled features, (B, dim)."""
        features: torch.Tensor = self.module(pixels)
        return features


def load(spec: ModelSpec, file: CachedFile) -> TimmModel:
    """The model of `spec` with the weights in `file`, on the CPU, in float32."""
    module = _build(spec, Uninitialised())
    state = read_state_dict(file.path)
    with refusing(spec.architecture, file.path):
        if not spec.pretrained:
            _fit_classes(module, state)
        if dict(spec.options).get("by_position"):
            state = _by_position(module, state, file)
        else:
            state = _converted(module, state)
    fill(module, state, file.path)
    return _model(spec, module, weights_sha256=file.sha256)


def instantiate(spec: ModelSpec) -> TimmModel:
    """The architecture of `spec` on `meta`, without weights."""
    return _model(spec, _bare(spec), weights_sha256="")


def resolve(name: str) -> ModelSpec:
    """The spec of `timm:<architecture>[.<tag>]`, from timm's own registry. Raises UnknownModel."""
    import timm

    upstream = name.removeprefix("timm:")
    cfg = timm.get_pretrained_cfg(upstream, allow_unregistered=False) if _known(upstream) else None
    if cfg is None:
        hint = nearest(upstream, timm.list_models(pretrained=True))
        raise UnknownModel(f"Expected a model of timm with weights. Got {upstream!r}.{hint}")
    draft = ModelSpec(
        name=name, backend="timm", architecture=upstream, pretrained=cfg.tag or "upstream",
        dim=0, image_size=0, parameters=0, weights=_source(cfg), licence=cfg.license or "see the model card",
    )  # fmt: skip
    module = _bare(draft)
    whole = sum(p.numel() for p in module.parameters())
    return replace(measured_as(draft, _model(draft, module, weights_sha256="")), parameters=whole)


def _known(upstream: str) -> bool:
    import timm

    return upstream.partition(".")[0] in timm.list_models() and timm.is_model_pretrained(upstream)


def _source(cfg: Any) -> WeightsSource:
    if cfg.hf_hub_id:
        repo = f"https://huggingface.co/{cfg.hf_hub_id}/resolve/main"
        return WeightsSource(f"{repo}/model.safetensors", alternative=f"{repo}/pytorch_model.bin")
    return WeightsSource(cfg.url)


def _build(spec: ModelSpec, mode: AbstractContextManager[Any]) -> Any:
    import timm

    if not timm.is_model(spec.architecture):
        hint = nearest(spec.architecture, timm.list_models())
        raise SettingsError(f"Expected an architecture of timm. Got {spec.architecture!r}.{hint}")
    size = dict(spec.options).get("force_image_size")
    fixed = timm.get_pretrained_cfg_value(spec.architecture, "fixed_input_size")
    # Only architectures with position embeddings are built for one size; the others do not know `img_size`.
    arguments: dict[str, Any] = {"img_size": size} if size and fixed else {}
    if given := dict(spec.options).get("pretrained_cfg"):
        arguments["pretrained_cfg"] = json.loads(str(given))
    with mode:
        module: Any = timm.create_model(spec.architecture, pretrained=False, **arguments)
    return module.eval()


def _bare(spec: ModelSpec) -> Any:
    try:
        return _build(spec, Skeleton()).to("meta")
    except RuntimeError:  # a stem that is tried with an empty picture while it is built (timm's HybridEmbed)
        return _build(spec, torch.device("meta"))


def _fit_classes(module: Any, state: Mapping[str, torch.Tensor]) -> None:
    """Give a fine-tuned model its own number of classes, or none; the layer is taken off later, but must load."""
    name = module.pretrained_cfg["classifier"]
    found = state.get(f"{name}.weight") if isinstance(name, str) else None
    if isinstance(name, str) and (found is None or found.shape != module.get_submodule(name).weight.shape):
        module.reset_classifier(0 if found is None else found.shape[0])


def _converted(module: Any, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The architecture's own conversions, which timm's `load_pretrained` calls: older names, position embeddings for
    another input size (`checkpoint_filter_fn` in the architecture's file)."""
    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    converted: dict[str, torch.Tensor] = convert(state, module) if convert else state
    return converted


def _by_position(
    module: torch.nn.Module, state: Mapping[str, torch.Tensor], file: CachedFile
) -> dict[str, torch.Tensor]:
    # The package's file names its layers as lukemelas/EfficientNet-PyTorch does; the layers and their order are timm's.
    wanted = module.state_dict()
    same = [(a.rpartition(".")[2], state[a].shape) for a in state] == [
        (b.rpartition(".")[2], wanted[b].shape) for b in wanted
    ]
    if not same:
        raise WeightsRefused(
            f"Expected {len(wanted)} tensors in the order and shapes of {type(module).__name__}."
            f" Got {len(state)} others in {file.path}."
        )
    return dict(zip(wanted, state.values(), strict=True))


def _model(spec: ModelSpec, module: Any, *, weights_sha256: str) -> TimmModel:
    from timm.data.transforms_factory import create_transform

    config = _data_config(spec, module)
    if not hasattr(module, "reset_classifier"):
        raise SettingsError(f"Expected a model that gives one vector a picture. {spec.architecture} gives many.")
    module.reset_classifier(0)
    transform = create_transform(**config, is_training=False)
    return TimmModel(spec, module, _preprocessing(spec, config), transform, weights_sha256=weights_sha256)


def _data_config(spec: ModelSpec, module: Any) -> dict[str, Any]:
    # efficientnet_lite0: timm's own configuration (mean = std = 0.5, bicubic, crop 0.875) is right for the package's
    # file too. Measured on 34 Tux Paint stamps of ImageNet classes, white background, mean log probability of the true
    # class: 0.5/0.5 -1.68; RangiLyu's (x - 127) / 128 -1.69; ImageNet mean and std -2.47; 0.5/0.5 without TensorFlow's
    # "same" padding -2.01. Bilinear -1.65 (23 against 21 of 34 right) is no difference on so few.
    from timm.data.config import resolve_data_config

    size = (3, spec.image_size, spec.image_size) if spec.image_size else None
    overrides = {"mean": spec.mean, "std": spec.std, "input_size": size}
    given = {key: value for key, value in overrides.items() if value is not None}
    resolve: Any = resolve_data_config  # has no annotations
    config: dict[str, Any] = resolve(given, model=module)
    return config


def _preprocessing(spec: ModelSpec, config: Mapping[str, Any]) -> Preprocessing:
    """timm's `create_transform` in our words (timm/data/transforms_factory.py: transforms_imagenet_eval)."""
    if config["crop_mode"] not in ("center", "squash") or config["interpolation"] not in ("bicubic", "bilinear"):
        raise WeightsRefused(
            f"Expected a centre crop or squash with bicubic or bilinear resizing."
            f" {spec.name} wants {config['crop_mode']} and {config['interpolation']}."
        )
    side = config["input_size"][-1]
    return Preprocessing(
        image_size=side,
        resize=math.floor(side / config["crop_pct"]),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
        resize_mode="squash" if config["crop_mode"] == "squash" else "shortest",
    )
