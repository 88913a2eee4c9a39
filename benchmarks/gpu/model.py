"""The model alone, from pixels on its device: by precision, as a CUDA graph, and compiled."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from benchmarks.gpu import chip
from benchmarks.gpu.cells import Cells, Figure, Key, Setting
from benchmarks.gpu.models import DTYPES, calls_per_second, loaded, pixels
from pixelmill.embedding.precision import least_cosine

TABLE = "model"
_COMPARED = 16
"""Pictures whose vectors are compared with those in float32."""


def cells(setting: Setting) -> Cells:
    """Images/s of each model, a share of the chip's limit."""
    return {
        **{
            alone(name, dtype, batch): partial(_eager, setting, name, dtype, batch)
            for name in setting.models
            for dtype in DTYPES
            for batch in setting.batches
        },
        **{
            Key(TABLE, f"{setting.half}, batches of {batch}, CUDA graph", name): partial(_graph, setting, name, batch)
            for name in setting.models
            for batch in setting.batches
        },
    }


def compiled_cells(setting: Setting) -> Cells:
    """The same, compiled: a part of its own, as that may take minutes."""
    batch = setting.batches[-1]
    return {
        Key(TABLE, f"{setting.half}, batches of {batch}, torch.compile", name): partial(_compiled, setting, name, batch)
        for name in setting.models
    }


def alone(name: str, dtype: str, batch: int) -> Key:
    """The cell with what a model does alone."""
    return Key(TABLE, f"{dtype}, batches of {batch}", name)


def _eager(setting: Setting, name: str, dtype: str, batch: int) -> Figure:
    cosine = least_cosine(_vectors(setting, name, "float32"), _vectors(setting, name, dtype))
    note = "" if dtype == "float32" else f"cosine {cosine:.5f}"
    model = loaded(setting, name, dtype)
    given = pixels(model, batch)
    rate = calls_per_second(setting, lambda: model.encode_image(given))
    return Figure(batch * rate, (chip.limit(name, dtype),), note)


@cache
def _vectors(setting: Setting, name: str, dtype: str) -> np.ndarray:
    model = loaded(setting, name, dtype)
    with torch.inference_mode():
        made: np.ndarray = model.encode_image(pixels(model, _COMPARED)).float().cpu().numpy()
    return made


def _graph(setting: Setting, name: str, batch: int) -> Figure:
    """Captured once, and replayed over one input's memory, into which each batch is copied."""
    setting.need_cuda()
    model = loaded(setting, name, setting.half)
    given = pixels(model, batch)
    kept = given.clone()
    with torch.inference_mode():
        cuda: Any = torch.cuda  # has no annotations
        beside = cuda.Stream()
        beside.wait_stream(cuda.current_stream())
        with cuda.stream(beside):  # PyTorch's notes: some passes before, on a stream of their own
            for _ in range(3):
                model.encode_image(kept)
        cuda.current_stream().wait_stream(beside)
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            model.encode_image(kept)

    def replay() -> None:
        kept.copy_(given)
        graph.replay()

    return Figure(batch * calls_per_second(setting, replay), (chip.limit(name, setting.half),))


def _compiled(setting: Setting, name: str, batch: int) -> Figure:
    setting.need_cuda()
    model = loaded(setting, name, setting.half)
    given = pixels(model, batch)
    forward: Callable[[torch.Tensor], torch.Tensor] = torch.compile(model.encode_image, dynamic=False)
    start = time.perf_counter()
    with torch.inference_mode():
        forward(given).cpu()
    took = time.perf_counter() - start
    rate = calls_per_second(setting, lambda: forward(given))
    return Figure(batch * rate, (chip.limit(name, setting.half),), f"compiling took {took:.0f} s")
