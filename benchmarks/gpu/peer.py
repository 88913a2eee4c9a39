"""clip-retrieval's way, on the same pictures, weights and device (rom1504/clip-retrieval, clip_inference/reader.py and
mapper.py, at its defaults but for as many workers as there are cores)."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.gpu import run
from benchmarks.gpu.cells import Cells, Figure, Key, Setting
from benchmarks.gpu.models import loaded
from pixelmill.models.base import EmbeddingModel

TABLE = "peer"
PUBLISHED = 1500.0
"""Images/s of ViT-B/32 that clip-retrieval's README tells, on an RTX 3080."""
_BATCH = 256
_TURNS = 2
"""Batches for each worker: of few pictures they are smaller, or most workers would have none."""


def cells(setting: Setting) -> Cells:
    """Images/s of each model, a share of Pixelmill's run."""
    return {
        Key(TABLE, title, name): partial(_rate, setting, name, title)
        for name in setting.models
        for title in setting.sizes
    }


class _Photographs(Dataset[torch.Tensor]):
    """A file, by PIL and torchvision's transforms, to the model's input in float32."""

    def __init__(self, setting: Setting, title: str, model: EmbeddingModel) -> None:
        self._paths = sorted(setting.photos(title).rglob("*.jpg"))[: _TURNS * _BATCH * setting.threads]
        self._preprocess = model.reference_preprocess

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        return self._preprocess(Image.open(self._paths[number]))


def _rate(setting: Setting, name: str, title: str) -> Figure:
    """With the start of its workers, without that of the process and the model; its vectors stay in memory."""
    model = loaded(setting, name, "float16" if setting.is_cuda else "float32")
    photographs = _Photographs(setting, title, model)
    loader = DataLoader(
        photographs, batch_size=max(1, len(photographs) // (_TURNS * setting.threads)),
        num_workers=setting.threads, pin_memory=setting.is_cuda, prefetch_factor=2, multiprocessing_context="fork",
    )  # fmt: skip
    start = time.perf_counter()
    with torch.no_grad():
        vectors = [_embedded(model, batch) for batch in loader]
    seconds = time.perf_counter() - start
    return Figure(sum(map(len, vectors)) / seconds, (run.in_one_process(setting, title, name),))


def _embedded(model: EmbeddingModel, batch: torch.Tensor) -> np.ndarray:
    features = model.encode_image(batch.to(model.device).to(model.dtype))
    features /= features.norm(dim=-1, keepdim=True)
    made: np.ndarray = features.cpu().to(torch.float16).numpy()
    return made
