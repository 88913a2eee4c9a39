"""OpenAI's CLIP through its own package (`clip`, from clip-anytorch)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torchvision.transforms import Compose, Normalize

from pixelmill.errors import SettingsError, WeightsRefused, nearest
from pixelmill.images.preprocess import Preprocessing
from pixelmill.models.base import ModelSpec, TextModel, Tokens
from pixelmill.models.checkpoint.hf_clip import is_hf_clip, require_config, to_openai
from pixelmill.models.checkpoint.state_dict import is_torchscript, read_state_dict, refusing
from pixelmill.models.meta_init import Skeleton, Uninitialised

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "pkg_resources is deprecated")  # clip imports it; setuptools is pinned for that
    import clip
    import clip.model

if TYPE_CHECKING:
    from pixelmill.models.weights import CachedFile

# Arguments of clip.model.CLIP: embedding, image side, vision layers, vision width, patch side, context length,
# vocabulary, text width, text heads, text layers. From the checkpoints, as clip/model.py's build_model reads them.
DESIGNS: dict[str, tuple[Any, ...]] = {
    "ViT-B/32": (512, 224, 12, 768, 32, 77, 49408, 512, 8, 12),
    "ViT-B/16": (512, 224, 12, 768, 16, 77, 49408, 512, 8, 12),
    "ViT-L/14": (768, 224, 24, 1024, 14, 77, 49408, 768, 12, 12),
    "ViT-L/14@336px": (768, 336, 24, 1024, 14, 77, 49408, 768, 12, 12),
    "RN50": (1024, 224, (3, 4, 6, 3), 64, None, 77, 49408, 512, 8, 12),
    "RN101": (512, 224, (3, 4, 23, 3), 64, None, 77, 49408, 512, 8, 12),
    "RN50x4": (640, 288, (4, 6, 10, 6), 80, None, 77, 49408, 640, 10, 12),
    "RN50x16": (768, 384, (6, 8, 18, 8), 96, None, 77, 49408, 768, 12, 12),
    "RN50x64": (1024, 448, (3, 15, 36, 10), 128, None, 77, 49408, 1024, 16, 12),
}


class OpenAIClip(TextModel):
    """`clip.model.CLIP`, both towers."""

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """What `clip`'s encode_image returns: projected, not normalised, (B, dim)."""
        features: torch.Tensor = self.module.encode_image(pixels)  # type: ignore[operator]
        return features

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """What `clip.tokenize(truncate=True)` gives: 77 tokens at most, begin and end among them."""
        length: int = self.module.context_length  # type: ignore[assignment]
        ids = clip.tokenize(list(texts), context_length=length, truncate=True)
        encode = clip.clip._tokenizer.encode
        return Tokens(ids, tuple(max(len(encode(text)) + 2 - length, 0) for text in texts))

    def encode_text(self, ids: torch.Tensor) -> torch.Tensor:
        """What `clip`'s encode_text returns: projected, not normalised, (B, dim)."""
        features: torch.Tensor = self.module.encode_text(ids)  # type: ignore[operator]
        return features

    def _cast(self, dtype: torch.dtype) -> None:
        """Turn all but the layer norms to `dtype`: clip/model.py's LayerNorm computes in float32 whatever comes in.

        So does PyTorch's own on a CPU, without a copy of what comes in and another of what goes out.
        """
        for layer in self.module.modules():
            if isinstance(layer, torch.nn.LayerNorm):
                if self.device.type == "cpu":
                    layer.__class__ = torch.nn.LayerNorm
                continue
            for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)):
                if tensor.is_floating_point():
                    tensor.data = tensor.data.to(dtype)


def load(spec: ModelSpec, file: CachedFile) -> OpenAIClip:
    """The model of `spec` with the weights in `file`, on the CPU, in float32.

    A TorchScript archive runs code while it loads; it is loaded only if `spec` pins its whole sha256 and that is the
    file's. Anything else is read as tensors.
    """
    module = _from_archive(spec, file) if is_torchscript(file.path) else _from_tensors(file)
    if module.visual.output_dim != spec.dim:
        raise WeightsRefused(f"Expected {spec.dim} dims for {spec.name}. {file.path} has {module.visual.output_dim}.")
    return _model(spec, module, weights_sha256=file.sha256)


def instantiate(spec: ModelSpec) -> OpenAIClip:
    """The architecture of `spec` on `meta`, without weights."""
    if spec.architecture not in DESIGNS:
        raise SettingsError(
            f"Expected an architecture of OpenAI's CLIP. Got {spec.architecture!r}."
            f"{nearest(spec.architecture, DESIGNS)}"
        )
    with Skeleton():
        module = clip.model.CLIP(*DESIGNS[spec.architecture])
    return _model(spec, module.eval().to("meta"), weights_sha256="")


def _from_archive(spec: ModelSpec, file: CachedFile) -> Any:
    if not spec.weights.pinned or spec.weights.sha256 != file.sha256:
        raise WeightsRefused(
            f"Expected the whole sha256 of {file.path} to be pinned: it is a TorchScript archive, which runs code while"
            f" it loads. Got {spec.weights.sha256 or 'none'}. If you trust the file, give sha256 = {file.sha256!r}."
        )
    with Uninitialised():
        module, _ = clip.load(str(file.path), device="cpu", jit=False)
    return module.float()


def _from_tensors(file: CachedFile) -> Any:
    state = read_state_dict(file.path)
    if is_hf_clip(state):
        require_config(file.beside, file.path)
        state = to_openai(state)
    with refusing("OpenAI's CLIP", file.path), Uninitialised():
        module = clip.model.build_model(dict(state)).float()
        # Once more: build_model rounds to float16, which OpenAI's own weights are, and fine-tuned ones need not be.
        module.load_state_dict({name: state[name] for name in module.state_dict()})
        return module


def _model(spec: ModelSpec, module: Any, *, weights_sha256: str) -> OpenAIClip:
    transform = _transform(spec, module.visual.input_resolution)
    normalize = transform.transforms[-1]
    preprocessing = Preprocessing(
        image_size=module.visual.input_resolution,
        resize=module.visual.input_resolution,
        mean=tuple(normalize.mean),
        std=tuple(normalize.std),
        interpolation="bicubic",
    )
    return OpenAIClip(spec, module, preprocessing, transform, weights_sha256=weights_sha256, activation="quick_gelu")


def _transform(spec: ModelSpec, side: int) -> Any:
    """clip/clip.py's `_transform`, with a person's own normalisation where the settings give one."""
    transform: Any = clip.clip._transform(side)
    *steps, normalize = transform.transforms
    return Compose([*steps, Normalize(spec.mean or normalize.mean, spec.std or normalize.std)])
