"""From the inputs of many images to their embeddings, a batch at a time, as large as the device's memory allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pixelmill.devices import free_gpu_memory
from pixelmill.embedding.targets import Target
from pixelmill.embedding.transfer import Collect, Feed
from pixelmill.images.preprocess import normalize
from pixelmill.models.base import EmbeddingModel


class Embedder:
    """Runs models, in the calling thread. A batch that does not fit the device's memory halves `batch_size` for
    good."""

    def __init__(self, targets: Sequence[Target], *, batch_size: int) -> None:
        self.batch_size = batch_size
        self._feeds = {target.model.device: Feed(target.model.device) for target in targets}

    def embed(self, target: Target, inputs: Sequence[Any]) -> np.ndarray:
        """Raw embeddings, float32 (len(inputs), dim)."""
        return self.start(target, inputs)()

    def start(self, target: Target, inputs: Sequence[Any]) -> Collect:
        """Ask for the embeddings of `inputs`; a GPU makes them while the caller goes on, and collects them later."""
        try:
            return self._forward(target.model, inputs)
        except RuntimeError as error:
            if len(inputs) == 1 or not _out_of_memory(error):
                raise
        half = (len(inputs) + 1) // 2
        self.batch_size = min(self.batch_size, half)
        free_gpu_memory()
        halves = np.concatenate([self.embed(target, inputs[:half]), self.embed(target, inputs[half:])])
        return lambda: halves

    def ahead(self, target: Target) -> int:
        """How many batches may be on their way while the next is made ready."""
        return self._feeds[target.model.device].ahead

    def _forward(self, model: EmbeddingModel, inputs: Sequence[Any]) -> Collect:
        import torch

        feed = self._feeds[model.device]
        with torch.inference_mode():
            if isinstance(inputs[0], torch.Tensor):  # as upstream's own transform made it: normalised already
                batch = feed.to_device(torch.stack(list(inputs)).to(model.dtype))
            else:
                pixels = feed.to_device(torch.from_numpy(np.stack(inputs)))
                batch = normalize(pixels, model.preprocessing, model.dtype)
            return feed.from_device(model.encode_image(batch))


def _out_of_memory(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
