"""torchvision's classifiers: pooled features, which are the input of the last layer."""

from __future__ import annotations

import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pixelmill.errors import SettingsError, UnknownModel, nearest
from pixelmill.images.preprocess import Preprocessing
from pixelmill.models.base import EmbeddingModel, ModelSpec, WeightsSource
from pixelmill.models.checkpoint.state_dict import fill, read_state_dict, refusing
from pixelmill.models.meta_init import Skeleton

if TYPE_CHECKING:
    from pixelmill.models.weights import CachedFile

SWAG_LICENCE = "CC-BY-NC-4.0"
"""Of the SWAG weights only (facebookresearch/SWAG); the others come under torchvision's BSD-3-Clause."""


class TorchvisionModel(EmbeddingModel):
    """A torchvision classifier whose last layer passes its input on."""

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pooled features before the classifier, (B, dim)."""
        features: torch.Tensor = self.module(pixels)
        return features


def load(spec: ModelSpec, file: CachedFile) -> TorchvisionModel:
    """The model of `spec` with the weights in `file`, on the CPU, in float32."""
    module = build(spec.architecture, _weights(spec), spec.image_size)
    state = _modern_names(read_state_dict(file.path))
    if not spec.pretrained:
        with refusing(spec.architecture, file.path):
            _fit_classes(module, state)
            state = _fit_positions(module, state)
    fill(module, state, file.path)
    return _model(spec, _pooled(module), weights_sha256=file.sha256)


def instantiate(spec: ModelSpec) -> TorchvisionModel:
    """The architecture of `spec` on `meta`, without weights."""
    return _model(
        spec, _pooled(build(spec.architecture, _weights(spec), spec.image_size)).to("meta"), weights_sha256=""
    )


def resolve(name: str) -> ModelSpec:
    """The spec of `torchvision:<name>/<weights>`; without `/<weights>` its DEFAULT. Raises UnknownModel."""
    import torchvision.models as upstream

    architecture, _, tag = name.removeprefix("torchvision:").partition("/")
    known = upstream.list_models(module=upstream)
    if architecture not in known:
        raise UnknownModel(f"Expected a classifier of torchvision. Got {architecture!r}.{nearest(architecture, known)}")
    members = upstream.get_model_weights(architecture).__members__
    if (tag or "DEFAULT") not in members:
        raise UnknownModel(f"Expected weights of {architecture} among {', '.join(members)}. Got {tag!r}.")
    return describe(name, architecture, members[tag or "DEFAULT"])


def describe(name: str, architecture: str, weights: Any) -> ModelSpec:
    """The spec of a torchvision model with one member of its weights enum."""
    licence = SWAG_LICENCE if "SWAG" in weights.meta.get("license", "") else "BSD-3-Clause"
    prefix = re.search(r"-([0-9a-f]{8,})\.pth$", weights.url)
    return ModelSpec(
        name=name, backend="torchvision", architecture=architecture, pretrained=weights.name,
        dim=_width(_last_layer(build(architecture, weights))[2]), image_size=weights.transforms().crop_size[0],
        parameters=weights.meta["num_params"], licence=licence,
        # torchvision records the size in MiB, to three decimals
        weights=WeightsSource(
            weights.url, sha256=prefix[1] if prefix else None, bytes=round(weights.meta["_file_size"] * 2**20)
        ),
    )  # fmt: skip


def build(architecture: str, weights: Any, image_size: int = 0) -> nn.Module:
    """The whole classifier as torchvision's own builder makes it for `weights`, its parameters still without memory.

    `image_size` matters to a vision transformer only; 0 means that of `weights`.
    """
    import torchvision.models as upstream

    with Skeleton(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        module: nn.Module = upstream.get_model(
            architecture, weights=None, **_arguments(architecture, weights, image_size)
        )
    return module.eval()


def _arguments(architecture: str, weights: Any, image_size: int) -> dict[str, Any]:
    # What each builder sets when it is given weights (torchvision/models/{googlenet,inception,vision_transformer}.py).
    if architecture in ("googlenet", "inception_v3"):
        return {"transform_input": True, "aux_logits": True, "init_weights": False}
    if architecture.startswith("vit_"):
        return {"image_size": image_size or weights.meta["min_size"][0]}
    return {}


def _fit_classes(module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Give a fine-tuned model its own number of classes; the layer is taken off later, but must load."""
    parent, name, layer = _last_layer(module)
    path = next(path for path, found in module.named_modules() if found is layer)
    found = state.get(f"{path}.weight")
    if isinstance(layer, nn.Linear) and found is not None and found.shape[1:] == layer.weight.shape[1:]:
        with Skeleton():
            setattr(parent, name, nn.Linear(layer.in_features, found.shape[0], bias=layer.bias is not None))


def _fit_positions(module: nn.Module, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """Position embeddings of a vision transformer for another input size, by torchvision's own interpolation."""
    from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

    name = "encoder.pos_embedding"
    if not isinstance(module, VisionTransformer) or state[name].shape == module.state_dict()[name].shape:
        return state
    resized: Mapping[str, torch.Tensor] = interpolate_embeddings(
        module.image_size, module.patch_size, OrderedDict(state)
    )
    return resized


def _modern_names(state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    # DenseNet files still say norm.1 where the module says norm1 (torchvision/models/densenet.py: _load_state_dict).
    old = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")
    if not any(old.match(name) for name in state):
        return state  # as it is, with the versions that state_dict() keeps beside the tensors
    return {old.sub(r"\1\2", name): tensor for name, tensor in state.items()}


def _weights(spec: ModelSpec) -> Any:
    import torchvision.models as upstream

    known = upstream.list_models(module=upstream)
    if spec.architecture not in known:
        hint = nearest(spec.architecture, known)
        raise SettingsError(f"Expected a classifier of torchvision. Got {spec.architecture!r}.{hint}")
    return upstream.get_model_weights(spec.architecture)[spec.pretrained or "DEFAULT"]


def _pooled(module: Any) -> nn.Module:
    """Take the classifier's last layer off, and the auxiliary heads that only training uses."""
    for head in ("aux1", "aux2", "AuxLogits"):
        if hasattr(module, head):
            setattr(module, head, None)
            module.aux_logits = False
    parent, name, _ = _last_layer(module)
    setattr(parent, name, nn.Identity())
    result: nn.Module = module
    return result


def _last_layer(module: nn.Module) -> tuple[nn.Module, str, nn.Module]:
    """The classifier's layer in front of the logits: its parent, its name there, and itself.

    Linear everywhere but in SqueezeNet, which classifies by a 1x1 convolution and pools afterwards.
    """
    kind = nn.Conv2d if type(module).__name__ == "SqueezeNet" else nn.Linear
    path = [name for name, layer in module.named_modules() if isinstance(layer, kind)][-1]
    parent, _, name = path.rpartition(".")
    return module.get_submodule(parent), name, module.get_submodule(path)


def _width(layer: nn.Module) -> int:
    return int(layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features)  # type: ignore[arg-type]


def _model(spec: ModelSpec, module: nn.Module, *, weights_sha256: str) -> TorchvisionModel:
    transform = _transform(spec)
    preprocessing = Preprocessing(
        image_size=transform.crop_size[0],
        resize=transform.resize_size[0],
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        interpolation=transform.interpolation.value,
    )
    return TorchvisionModel(spec, module, preprocessing, transform, weights_sha256=weights_sha256)


def _transform(spec: ModelSpec) -> Any:
    transform = _weights(spec).transforms()
    if spec.image_size not in (0, transform.crop_size[0]):
        transform.resize_size = [round(transform.resize_size[0] * spec.image_size / transform.crop_size[0])]
        transform.crop_size = [spec.image_size]
    transform.mean = list(spec.mean or transform.mean)
    transform.std = list(spec.std or transform.std)
    return transform
