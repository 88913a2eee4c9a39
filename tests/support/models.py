"""A model whose vectors a test can reckon, in place of one of a library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

from pixelmill.images.preprocess import Preprocessing
from pixelmill.models.backends import register
from pixelmill.models.base import EmbeddingModel, ModelSpec, WeightsSource
from pixelmill.models.weights import CachedFile
from pixelmill.run import schedule, throughput


class BlockMeans(EmbeddingModel):
    """The mean colour of each quarter of the picture, times a factor of its own that follows from name and weights: 12
    dims. Counts what it is given."""

    seen = 0

    def __init__(self, spec: ModelSpec, sha256: str) -> None:
        half = (0.5, 0.5, 0.5)
        upstream = Compose([Resize(8), CenterCrop(8), ToTensor(), Normalize(half, half)])
        super().__init__(spec, torch.nn.Identity(), Preprocessing(8, 8, half, half), upstream, weights_sha256=sha256)

    @property
    def factor(self) -> float:
        return len(self.spec.name) + int(self.weights_sha256[:2] or "0", 16) / 64

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        BlockMeans.seen += len(pixels)
        return torch.nn.functional.adaptive_avg_pool2d(pixels, 2).flatten(1) * self.factor


class StandIns:
    """The backend of the stand-ins: `kind` makes what a spec asks for, of the spec and the sha256 of its weights."""

    def __init__(self, kind: Callable[[ModelSpec, str], EmbeddingModel] = BlockMeans) -> None:
        self.kind = kind

    def load(self, spec: ModelSpec, file: CachedFile) -> EmbeddingModel:
        return self.kind(spec, file.sha256)

    def instantiate(self, spec: ModelSpec) -> EmbeddingModel:
        return self.kind(spec, "")


BACKEND, STAND_INS = "stand_in", StandIns()
register(BACKEND, STAND_INS)


def spec_of(name: str, folder: Path) -> ModelSpec:
    """The spec of a stand-in whose weights are the file `weights` of a folder."""
    return ModelSpec(
        name=name, backend=BACKEND, architecture=name, pretrained="", dim=12, image_size=8, parameters=0, licence="none",
        weights=WeightsSource(f"file:{folder}/weights"),
    )  # fmt: skip


class Limited(BlockMeans):
    """A model on a device that holds `most` pictures; remembers the batches that it was given."""

    def __init__(self, name: str = "one", most: int = 100) -> None:
        super().__init__(spec_of(name, Path()), "")
        self.most = most
        self.batches: list[int] = []

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.batches.append(len(pixels))
        return super().encode_image(pixels)


def share_out_by_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stand-ins be shared out among workers: no table knows how fast they are, or how large."""
    monkeypatch.setattr(throughput, "gflops", lambda _spec: 1.0)
    monkeypatch.setattr(throughput, "GUESSED", {"cpu": 1.0, "cuda": 1.0})
    monkeypatch.setattr(schedule, "memory_needed", lambda _spec: 2**20)
