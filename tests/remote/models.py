"""A model for workers elsewhere, whose vectors a test can reckon."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

from tests.remote.backend import LOG, ODD
from tests.support.models import BlockMeans

COSINE = 0.95
"""How near the vectors of an odd worker are to everybody's."""


class Far(BlockMeans):
    """Twelve numbers, over and over, as far as they are asked for."""

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        if log := os.environ.get(LOG):
            with Path(log).open("a") as file:
                file.write(f"{len(pixels)}\n")
        vectors = super().encode_image(pixels)
        if os.environ.get(ODD):
            beside = torch.stack([-vectors[:, 1::2], vectors[:, ::2]], dim=2).flatten(1)
            vectors = COSINE * vectors + math.sqrt(1 - COSINE**2) * beside
        return vectors.repeat(1, math.ceil(self.spec.dim / vectors.shape[1]))[:, : self.spec.dim]
