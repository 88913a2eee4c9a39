"""Is a checkpoint what it is taken for? It is loaded, embeds pictures, and is compared with the model it came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from pixelmill.images.preprocess import normalize
from pixelmill.models.base import EmbeddingModel, ModelSpec, TextModel
from pixelmill.models.load import load_file
from pixelmill.models.weights import CachedFile, WeightsCache

if TYPE_CHECKING:
    import torch

ALIKE: Final = 0.99
"""Two pictures whose embeddings have more cosine than this are not told apart."""
RELATED: Final = 0.5
"""Tensors of a fine-tuned model lie nearer to those of its base than half their length; unrelated ones at 1.4."""


@dataclass(frozen=True, slots=True)
class Base:
    """The published model that a checkpoint is nearest to. `change` is the median over its tensors of the length of
    the difference by the length of the base's tensor; `changed` are the tensors that differ at all, the most first, and
    `changed_by` is the median of these alone."""

    name: str
    tensors: int
    changed: tuple[str, ...]
    change: float
    changed_by: float
    activation: str | None
    preprocessing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """What a model is and does: weights, shape, lengths and cosines of the embeddings of pictures, its base, doubts."""

    name: str
    backend: str
    architecture: str
    path: str
    sha256: str
    dim: int
    image_size: int
    parameters: int
    text: bool
    norms: tuple[float, float]
    cosines: tuple[float, float]
    base: Base | None
    doubts: tuple[str, ...]


def check(spec: ModelSpec, cache: WeightsCache, candidates: Iterable[ModelSpec]) -> Checked:
    """Load a model on the CPU, embed rendered pictures, and compare it with those `candidates` of its architecture
    whose weights are on this machine. Raises WeightsError where it cannot be loaded."""
    file = cache.fetch_model(spec)
    model = load_file(spec, file)
    vectors = _embedded(model)
    norms = np.linalg.norm(vectors, axis=1)
    cosines = (vectors @ vectors.T / np.outer(norms, norms))[np.triu_indices(len(vectors), 1)]
    base = _nearest(model, file, cache, candidates)
    return Checked(
        name=spec.name, backend=spec.backend, architecture=spec.architecture, path=str(file.path), sha256=file.sha256,
        dim=vectors.shape[1], image_size=spec.image_size, parameters=spec.parameters, text=isinstance(model, TextModel),
        norms=_range(norms), cosines=_range(cosines), base=base,
        doubts=(*model.doubts, *_seen(norms, cosines), *_about(model, base)),
    )  # fmt: skip


def pictures(side: int) -> list[np.ndarray]:
    """Four pictures that a trained model tells apart, uint8 (side, side, 3): a gradient, checks, noise, a disc."""
    y, x = np.mgrid[0:side, 0:side] / side
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    checks = ((x * 8).astype(int) + (y * 8).astype(int)) % 2 * 255
    disc = np.hypot(x - 0.5, y - 0.5) < 0.3
    gradient = np.stack([x * 255, y * 255, np.full_like(x, 60)], axis=-1)
    red = np.stack([np.full_like(x, 200), *[np.where(disc, 240, 30)] * 2], axis=-1)
    return [
        gradient.astype(np.uint8),
        np.repeat(checks[..., None], 3, -1).astype(np.uint8),
        noise,
        red.astype(np.uint8),
    ]


def _embedded(model: EmbeddingModel) -> np.ndarray:
    import torch

    batch = torch.from_numpy(np.stack(pictures(model.preprocessing.image_size)))
    with torch.inference_mode():
        vectors: np.ndarray = model.encode_image(normalize(batch, model.preprocessing, model.dtype)).float().numpy()
    return vectors


def _seen(norms: np.ndarray, cosines: np.ndarray) -> Iterable[str]:
    if not np.isfinite(norms).all():
        yield "its embeddings are not finite"
    elif cosines.min() > ALIKE:
        yield f"it does not tell checks from a gradient (cosines from {cosines.min():.4f}), as random weights do not"


def _about(model: EmbeddingModel, base: Base | None) -> Iterable[str]:
    if base and base.activation != model.activation:
        yield (
            f"its tensors come from {base.name}, which was trained with {base.activation}; {model.spec.architecture} "
            f"has {model.activation}"
        )
    if base:
        yield from (f"{words}; it comes from {base.name}" for words in base.preprocessing)


def _nearest(
    model: EmbeddingModel, file: CachedFile, cache: WeightsCache, candidates: Iterable[ModelSpec]
) -> Base | None:
    family = _family(model.spec)
    bases = [spec for spec in candidates if _family(spec) == family and spec.name != model.spec.name]
    found = [_compared(model, load_file(spec, here)) for spec in bases if (here := _here(spec, cache, file))]
    return min((base for base in found if base.change < RELATED), key=lambda base: base.change, default=None)


def _here(spec: ModelSpec, cache: WeightsCache, file: CachedFile) -> CachedFile | None:
    found = cache.cached(spec.weights)
    return found if found and found.sha256 != file.sha256 else None


def _family(spec: ModelSpec) -> tuple[str, str]:
    """OpenAI's CLIPs have the same tensors in both libraries."""
    library = "clip" if spec.backend in ("openai_clip", "open_clip") else spec.backend
    return library, spec.architecture.partition(".")[0].replace("/", "-").removesuffix("-quickgelu")


def _compared(model: EmbeddingModel, base: EmbeddingModel) -> Base:
    ours, theirs = model.module.state_dict(), base.module.state_dict()
    both = [n for n, t in theirs.items() if n in ours and ours[n].shape == t.shape and t.is_floating_point()]
    changes = {name: _change(ours[name], theirs[name]) for name in both}
    changed = sorted((name for name, change in changes.items() if change), key=lambda name: -changes[name])
    a, b = model.preprocessing, base.preprocessing
    differing = [w for w in ("mean", "std", "resize", "resize_mode", "interpolation") if getattr(a, w) != getattr(b, w)]
    return Base(
        base.spec.name, len(both), tuple(changed), float(np.median(list(changes.values()) or [1.4])),
        float(np.median([changes[name] for name in changed] or [0.0])), base.activation,
        tuple(f"its {what} is {getattr(a, what)}, not {getattr(b, what)}" for what in differing),
    )  # fmt: skip


def _change(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    length = float(theirs.float().norm())
    return float((ours.float() - theirs.float()).norm()) / (length or 1.0)


def _range(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    return float(np.min(values)), float(np.max(values))
