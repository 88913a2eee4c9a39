"""The chip's pace: plain products of matrices of each model's largest layer, and what that makes of its images/s."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch
from torch import nn

from benchmarks.gpu.cells import Cells, Figure, Key, Setting
from benchmarks.gpu.models import DTYPES, calls_per_second, spec_of
from pixelmill.models.cost import gflops
from pixelmill.models.load import instantiate

TABLE = "chip"


def cells(setting: Setting) -> Cells:
    """TFLOP/s, and the limit that follows, by model."""
    rows = {"products in {}, TFLOP/s": _product, "limit in {}, images/s": _limit}
    return {
        Key(TABLE, row.format(dtype), name): partial(measure, setting, name, dtype)
        for row, measure in rows.items()
        for dtype in DTYPES
        for name in setting.models
    }


def limit(name: str, dtype: str) -> Key:
    """The cell with a model's limit."""
    return Key(TABLE, f"limit in {dtype}, images/s", name)


def _product(setting: Setting, name: str, dtype: str) -> Figure:
    return Figure(_pace(setting, name, dtype) / 1e12)


def _limit(setting: Setting, name: str, dtype: str) -> Figure:
    """If all of the model's multiplications went at the pace of its largest layer's."""
    return Figure(_pace(setting, name, dtype) / (1e9 * gflops(spec_of(name))))


@cache
def _pace(setting: Setting, name: str, dtype: str) -> float:
    """Floating-point operations a second of a product with the largest layer's shape, for the largest batch."""
    rows, across, down = _largest_layer(name)
    kind = {"dtype": getattr(torch, dtype), "device": setting.device}
    left, right = torch.randn(setting.batches[-1] * rows, across, **kind), torch.randn(down, across, **kind)
    return 2 * left.numel() * down * calls_per_second(setting, lambda: nn.functional.linear(left, right), at_once=32)


@cache
def _largest_layer(name: str) -> tuple[int, int, int]:
    """Of the layer with the most weights: rows for one image, what a row holds before it, and after it."""
    found: list[tuple[int, int, int]] = []

    def note(layer: Any, _given: object, made: torch.Tensor) -> None:
        after, before = len(layer.weight), layer.weight[0].numel()
        found.append((made.numel() // after, before, after))

    model = instantiate(spec_of(name))
    for layer in model.module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.register_forward_hook(note)
    side = model.preprocessing.image_size
    with torch.inference_mode():
        model.encode_image(torch.empty(1, 3, side, side, device="meta"))
    return max(found, key=lambda shape: shape[1] * shape[2])
