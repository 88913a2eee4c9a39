"""Zero-shot: each picture gets the label whose words, put into prompts, are nearest to it (Radford et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pixelmill.evaluation.blocks import blocks_of
from pixelmill.search.prompts import Encode, Float32, prompt_vectors


def words_of(label: str) -> str:
    """A label as people write it: of a path its last folder; `_` and `-` are blanks."""
    return label.rstrip("/").rpartition("/")[2].replace("_", " ").replace("-", " ").strip() or label


def text_vectors(classes: Sequence[str], prompts: Sequence[str], encode: Encode) -> Float32:
    """(classes, dim) of unit length: of each class the mean of its prompts' unit vectors."""
    return prompt_vectors([words_of(label) for label in classes], prompts, encode)


def zero_shot(vectors: Float32, texts: Float32) -> NDArray[np.int64]:
    """(N,): the class of the nearest of `texts` (classes, dim) to each of `vectors` (N, dim), all of unit length."""
    found = [(vectors[block] @ texts.T).argmax(axis=1) for block in blocks_of(len(vectors), len(texts))]
    return np.concatenate([np.empty(0, np.int64), *found])
