"""The contract of a model: pixels in, one embedding a picture out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pixelmill.images.preprocess import Preprocessing

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from pixelmill.models.weights import CachedFile

Backend = Literal["openai_clip", "open_clip", "torchvision", "timm"]


@dataclass(frozen=True, slots=True)
class WeightsSource:
    """Where a model's weights come from upstream.

    `url` is an http(s) URL (Hugging Face files as https://huggingface.co/REPO/resolve/REVISION/FILE),
    `package:MODULE/PATH` for a file that an installed Python package ships, or `file:PATH`.
    `sha256` is the full digest, or its published leading hex digits (torchvision publishes 8 or more), or None when
    upstream publishes none. `bytes` is the approximate size, for display only. `alternative` is a second URL, asked
    only when the server says that `url` does not exist (a `.bin` beside a `.safetensors`). `optional`: some upstreams
    have it, others do not.
    """

    url: str
    sha256: str | None = None
    bytes: int | None = None
    alternative: str | None = None
    optional: bool = False

    @property
    def pinned(self) -> bool:
        """Whether the whole digest is known beforehand: the condition for loading a format that can run code."""
        return self.sha256 is not None and len(self.sha256) == 64


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model by name: which upstream architecture and weights, and what comes out.

    `dim` is the length of the embedding, `image_size` the side of the square input in pixels,
    `parameters` the number of parameters of the whole model (text tower or classifier included).
    `pretrained` is upstream's tag of the weights, and '' for a person's own checkpoint. `mean` and `std` replace
    upstream's normalisation where they are given. `others` are what it needs besides its weights (a tokenizer's files).
    `recommended` says what the model is the right choice for.
    """

    name: str
    backend: Backend
    architecture: str
    pretrained: str
    dim: int
    image_size: int
    weights: WeightsSource
    licence: str
    parameters: int
    text: bool = False
    options: tuple[tuple[str, int | str | bool], ...] = ()
    recommended: str = ""
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    others: tuple[WeightsSource, ...] = ()

    @property
    def files(self) -> tuple[WeightsSource, ...]:
        """Every file that the model needs from upstream: its weights first."""
        return (self.weights, *self.others)


class EmbeddingModel(ABC):
    """A loaded model on one device, in eval mode. A backend is a subclass with `encode_image`, and a `Loader`."""

    spec: ModelSpec
    preprocessing: Preprocessing
    reference_preprocess: Callable[[Image.Image], torch.Tensor]
    """Upstream's own transform: RGB picture -> float32 (3, image_size, image_size), normalised."""
    module: torch.nn.Module
    device: torch.device
    dtype: torch.dtype
    weights_sha256: str
    activation: Literal["gelu", "quick_gelu"] | None = None
    """Of a CLIP, which activation its transformers have: its tensors do not tell."""
    doubts: tuple[str, ...] = ()
    """What a person should know before trusting the embeddings; of published weights nothing."""

    @abstractmethod
    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Raw, unnormalised embeddings (B, dim) of normalised pixels (B, 3, image_size, image_size).

        Both are in `dtype` on `device`.
        """

    def cast(self, dtype: torch.dtype) -> None:
        """Turn the weights to `dtype`. Never autocast: on a CPU it casts them again at each call, ten times slower."""
        self.module.to(dtype)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Texts as a text tower takes them: `ids` int64 (B, context length), and of each text how many tokens are cut."""

    ids: torch.Tensor
    cut: tuple[int, ...]


class TextModel(EmbeddingModel):
    """A model whose text tower embeds into the same space as its image tower."""

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """The texts by upstream's own tokenizer, cut off where they exceed the context length, on the CPU."""

    @abstractmethod
    def encode_text(self, ids: torch.Tensor) -> torch.Tensor:
        """Raw, unnormalised embeddings (B, dim) in `dtype` of token ids (B, context length), both on `device`."""


Loader = Callable[[ModelSpec, "CachedFile"], EmbeddingModel]
"""What a backend offers: a spec and its verified file -> the model on the CPU, in float32."""
