"""The vectors of labels' words, by the text tower of each model that has one; which have not is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import PixelmillError
from pixelmill.evaluation.zero_shot import text_vectors
from pixelmill.search.encoder import Encoder, has_text
from pixelmill.store.reader import Store

Float32 = NDArray[np.float32]
Texts = Callable[[str], Encoder | None]
"""The encoder of queries of the matrix with a fingerprint, as `Searcher.encoder` gives it."""


class TextVectors:
    """Of the classes' words, by model; each is made when it is first asked for. `notes` say what could not be."""

    def __init__(
        self, store: Store, classes: Sequence[str], prompts: Sequence[str], texts: Texts | None, *, are_words: bool
    ) -> None:
        self._store, self._classes, self._prompts, self._texts = store, classes, prompts, texts
        self._made: dict[str, Float32 | None] = {}
        self._are_words = are_words
        self.notes: list[str] = []

    def of(self, models: Sequence[str]) -> list[Float32] | None:
        """(classes, dim) of unit length for each of the models; None where one of them has none."""
        found = [self._of(model) for model in models]
        return None if any(one is None for one in found) else [one for one in found if one is not None]

    def _of(self, model: str) -> Float32 | None:
        if model not in self._made:
            self._made[model] = self._make(model)
        return self._made[model]

    def _make(self, model: str) -> Float32 | None:
        made = self._store[model].provenance
        if self._texts is None or not has_text(made):
            return None
        if not self._are_words:
            self._say(f"Zero-shot of {model} was left out: labels that are numbers say nothing to a text tower.")
            return None
        encoder = self._texts(made.fingerprint)
        if encoder is None:
            self._say(f"Zero-shot of {model} was left out: the store does not serve its matrix any more.")
            return None
        try:
            return text_vectors(self._classes, self._prompts, lambda some: encoder.texts(some)[0])
        except PixelmillError as error:  # weights that cannot be had cost this measure, and are told
            self._say(f"Zero-shot of {model} was left out: {error}")
            return None

    def _say(self, note: str) -> None:
        self.notes.append(note)
