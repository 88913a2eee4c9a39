"""What is to be embedded: models, the matrices that they fill, and which of these lack a content."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from pixelmill.models.base import EmbeddingModel

MissingMatrices = Callable[[bytes], frozenset[str]]
"""The fingerprints of the matrices that lack a content, by its sha256."""


@dataclass(frozen=True, slots=True)
class Target:
    """A loaded model and the fingerprint of the matrix that it fills."""

    model: EmbeddingModel
    fingerprint: str


class Guarded:
    """A function that several threads may call, one at a time."""

    def __init__(self, function: MissingMatrices) -> None:
        self._function = function
        self._lock = threading.Lock()

    def __call__(self, sha256: bytes) -> frozenset[str]:
        with self._lock:
            return self._function(sha256)
