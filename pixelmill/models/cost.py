"""What a model costs, before anybody has measured it."""

from __future__ import annotations

from functools import cache

from pixelmill.models.base import ModelSpec
from pixelmill.models.load import instantiate

_SPARE = 1.2
"""What a model takes beside its weights, as a factor: layers' results for a batch."""
_CONTEXT = 600 << 20
"""Bytes that PyTorch takes on a device before the first weight: CUDA's context, cuBLAS' and cuDNN's work space."""


def memory_needed(spec: ModelSpec) -> int:
    """About how many bytes of its device's memory a model takes: float32 weights, since `auto` begins with them."""
    return int(spec.parameters * 4 * _SPARE) + _CONTEXT


@cache
def gflops(spec: ModelSpec) -> float:
    """Billions of floating-point operations to embed one image, counted by PyTorch on `meta` (no weights needed)."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = instantiate(spec)
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        model.encode_image(torch.empty(1, 3, spec.image_size, spec.image_size, device="meta"))
    return counter.get_total_flops() / 1e9
