"""Batches to a device and embeddings back, so that neither the host nor a GPU waits for the other's copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch

Collect = Callable[[], "np.ndarray"]
"""Waits for embeddings that were asked for, and gives them: float32 (B, dim)."""


class Feed:
    """The way to one device and back.

    To a GPU, batches go from pinned memory on a stream of their own, while the batch before is embedded; embeddings
    come back into pinned memory, and are waited for when they are collected (PyTorch's notes on CUDA semantics,
    "Use pinned memory buffers"). On a CPU a batch is where it should be, and embeddings are there once they are made.
    """

    def __init__(self, device: torch.device) -> None:
        import torch

        cuda: Any = torch.cuda  # has no annotations
        self._device = device
        self._copies = cuda.Stream(device) if device.type == "cuda" else None
        self.ahead = 1 if self._copies else 0
        """How many batches the device may be at when the next is given to it."""

    def to_device(self, batch: torch.Tensor) -> torch.Tensor:
        """`batch`, of the CPU, on the device, for work of the current stream."""
        import torch

        if self._copies is None:
            return batch.to(self._device)
        with torch.cuda.stream(self._copies):
            there = batch.pin_memory().to(self._device, non_blocking=True)
        work = torch.cuda.current_stream(self._device)
        work.wait_stream(self._copies)
        there.record_stream(work)  # its memory is not given to the next copy before the work is done
        return there

    def from_device(self, embeddings: torch.Tensor) -> Collect:
        """A call that waits for `embeddings` (B, dim) and gives them."""
        import torch

        if self._copies is None:
            values: np.ndarray = embeddings.float().cpu().numpy()
            return lambda: values
        here = torch.empty(embeddings.shape, dtype=torch.float32, pin_memory=True)
        here.copy_(embeddings.float(), non_blocking=True)
        done = torch.cuda.current_stream(self._device).record_event()

        def collect() -> np.ndarray:
            done.synchronize()
            copy: np.ndarray = here.numpy().copy()  # pinned memory is scarce: back to its pool
            return copy

        return collect
