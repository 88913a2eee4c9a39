"""Words put into prompts, and the vectors of what comes of it, by a text tower (Radford et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.choices import PROMPTS
from pixelmill.errors import QueryError

Float32 = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Float32]
"""Raw embeddings float32 (texts, dim) of texts."""

_TEXTS: Final = 64
"""Prompts that go through the text tower together."""


def prompt_vectors(words: Sequence[str], prompts: Sequence[str], encode: Encode) -> Float32:
    """(words, dim) of unit length: of each the mean of its prompts' unit vectors."""
    of_prompts = [_unit(_encoded([prompt.replace("{}", word) for word in words], encode)) for prompt in prompts]
    return _unit(np.mean(np.stack(of_prompts), axis=0, dtype=np.float32))


def check_prompts(prompts: Sequence[str]) -> None:
    """Raises QueryError for a prompt without a place for the label."""
    for prompt in prompts:
        if "{}" not in prompt:
            raise QueryError(f"Expected {{}} in a prompt, where the label goes, as in {PROMPTS[0]!r}. Got {prompt!r}.")


def _encoded(texts: Sequence[str], encode: Encode) -> Float32:
    return np.concatenate([encode(texts[at : at + _TEXTS]) for at in range(0, len(texts), _TEXTS)])


def _unit(vectors: Float32) -> Float32:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Float32 = (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return unit
