"""The contract of a model: pixels in, one embedding a picture out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

from pixelmill.images.preprocess import Preprocessing

if TYPE_CHECKING:
    import torch
    from PIL import Image

BackendName = Literal["openai_clip", "open_clip", "torchvision", "timm"]
Activation = Literal["gelu", "quick_gelu"]
HUB: Final = "https://huggingface.co"


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

    `backend` is a `BackendName`, or one that was registered. `dim` is the length of the embedding, `image_size` the
    side of the square input in pixels, `parameters` the number of parameters of the whole model (text tower or
    classifier included). `pretrained` is upstream's tag of the weights, and '' for a person's own checkpoint. `mean`
    and `std` replace upstream's normalisation where they are given. `others` are what it needs besides its weights
    (a tokenizer's files). `recommended` says what the model is the right choice for.
    """

    name: str
    backend: str
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
    """A model on one device, in eval mode. A backend is a subclass with `encode_image`, and a `Backend` that makes it.

    `reference_preprocess` is upstream's own transform: RGB picture -> float32 (3, image_size, image_size), normalised.
    `weights_sha256` is '' without weights. `activation`: of a CLIP, which its transformers have; its tensors do not
    tell. `beside` are the files that lie beside the weights.
    """

    doubts: tuple[str, ...] = ()
    """What a person should know before trusting the embeddings; of published weights nothing."""

    def __init__(
        self, spec: ModelSpec, module: torch.nn.Module, preprocessing: Preprocessing,
        reference_preprocess: Callable[[Image.Image], torch.Tensor], *,
        weights_sha256: str = "", activation: Activation | None = None, beside: tuple[Path, ...] = (),
    ) -> None:  # fmt: skip
        import torch

        self.spec = spec
        self.module = module.eval().requires_grad_(False)
        self.preprocessing = preprocessing
        self.reference_preprocess = reference_preprocess
        self.weights_sha256 = weights_sha256
        self.activation = activation
        self.beside = beside
        self.device, self.dtype = torch.device("cpu"), torch.float32

    @abstractmethod
    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Raw, unnormalised embeddings (B, dim) of normalised pixels (B, 3, image_size, image_size).

        Both are in `dtype` on `device`.
        """

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """This model, moved to `device` and turned to `dtype`. Never autocast: on a CPU it casts the weights again at
        each call, ten times slower."""
        self.device, self.dtype = device, dtype
        self._cast(dtype)
        self.module.to(device)
        return self

    def _cast(self, dtype: torch.dtype) -> None:
        """Turn the weights to `dtype`, for the device that the model is to be on."""
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

    @property
    def logit_scale(self) -> float:
        """What upstream multiplies cosines of pictures and texts by before a softmax: exp of its parameter. As it was
        trained in float32 only."""

        learnt: torch.Tensor = self.module.logit_scale  # type: ignore[assignment]
        return float(learnt.detach().exp())


def hub_source(repo: str, *, bytes: int | None = None) -> WeightsSource:
    """open_clip's file in a Hugging Face repository: safetensors, or its older pickle where there is none."""
    base = f"{HUB}/{repo}/resolve/main"
    return WeightsSource(
        f"{base}/open_clip_model.safetensors", bytes=bytes, alternative=f"{base}/open_clip_pytorch_model.bin"
    )
