"""OpenAI's vision transformer with the batch as its first axis: the same numbers in fewer copies."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it


class BatchFirst(nn.Module):
    """Runs the blocks of a `clip.model.Transformer` without mask, with their own weights; called in its place.

    clip/model.py keeps the sequence first, so that every layer norm and attention copies its input. In eval mode only.
    """

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.resblocks = transformer.resblocks

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(length, B, width) -> (length, B, width)."""
        x = tokens.transpose(0, 1).contiguous()
        for block in self.resblocks:
            x = x + _attended(block.attn, block.ln_1(x))
            x = x + _perceived(block.mlp, block.ln_2(x))
        return x.transpose(0, 1)


def _attended(attention: Any, x: torch.Tensor) -> torch.Tensor:
    """`nn.MultiheadAttention` of x (B, length, width) to itself."""
    batch, length, width = x.shape
    heads = attention.num_heads
    projected = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = projected.view(batch, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    seen = F.scaled_dot_product_attention(query, key, value)
    mixed: torch.Tensor = attention.out_proj(seen.transpose(1, 2).reshape(batch, length, width))
    return mixed


def _perceived(mlp: Any, x: torch.Tensor) -> torch.Tensor:
    """The perceptron; its QuickGELU, x * sigmoid(1.702 x), in place."""
    hidden = mlp.c_fc(x)
    hidden *= torch.mul(hidden, 1.702).sigmoid_()
    made: torch.Tensor = mlp.c_proj(hidden)
    return made
