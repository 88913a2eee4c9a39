"""The contract of a model: pixels in, one embedding a picture out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pixelmill.images.preprocess import Preprocessing

if TYPE_CHECKING:
    import torch
    from PIL import Image

Backend = Literal["openai_clip", "open_clip", "torchvision", "timm"]


@dataclass(frozen=True, slots=True)
class WeightsSource:
    """Where a model's weights come from upstream.

    `url` is an https URL (Hugging Face files as https://huggingface.co/REPO/resolve/REVISION/FILE),
    `package:MODULE/PATH` for a file that an installed Python package ships, or `file:PATH`.
    `sha256` is the full digest, or its published leading hex digits (torchvision publishes 8), or None when
    upstream publishes none.
    """

    url: str
    sha256: str | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model by name: which upstream architecture and weights, and what comes out.

    `dim` is the length of the embedding, `image_size` the side of the square input in pixels,
    `parameters` the number of parameters of the whole model (text tower included).
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


class EmbeddingModel(ABC):
    """A loaded model on one device, in eval mode. A backend is a subclass with `encode_image` and a `load` function."""

    spec: ModelSpec
    preprocessing: Preprocessing
    reference_preprocess: Callable[[Image.Image], torch.Tensor]
    """Upstream's own transform: RGB picture -> float32 (3, image_size, image_size), normalised."""
    module: torch.nn.Module
    device: torch.device
    dtype: torch.dtype
    weights_sha256: str

    @abstractmethod
    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Raw, unnormalised embeddings (B, dim) of normalised pixels (B, 3, image_size, image_size), both in `dtype` on `device`."""


Loader = Callable[[ModelSpec, Path], EmbeddingModel]
