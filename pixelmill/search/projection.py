"""Vectors projected to few dims: what a head of kind `pca` has learnt, and queries taken the same way.

STORE/heads/<name>.<key>.safetensors   `mean` (dim,), `axes` (components, dim), float32; what they were learnt from
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import WeightsRefused
from pixelmill.search.encoder import QueryEncoder, has_text
from pixelmill.store.durable import make_folder_durably, write_durably
from pixelmill.store.manifest import Manifest, Provenance
from pixelmill.store.weighting import unit

Float32 = NDArray[np.float32]
BACKEND: Final = "pca"
"""The backend of matrices that are projections of another one."""
FOLDER: Final = "heads"


@dataclass(frozen=True)
class Projection:
    """(x - `mean`) @ `axes`.T of vectors x of length 1: `mean` (dim,), `axes` (components, dim), each divided by the
    deviation along it where it was to be whitened. Learnt from so many `pictures` of the matrix that `parent` made."""

    mean: Float32
    axes: Float32
    parent: Provenance
    pictures: int

    def __call__(self, vectors: NDArray[np.floating]) -> Float32:
        """(n, components) of vectors (n, dim) of any length."""
        projected: Float32 = (unit(vectors) - self.mean) @ self.axes.T
        return projected

    @property
    def digest(self) -> str:
        """The sha256 (hex) of its numbers."""
        return hashlib.sha256(self.mean.tobytes() + self.axes.tobytes()).hexdigest()


def read_projection(folder: Path, made: Provenance) -> Projection:
    """The projection that made a matrix of the store in `folder`. Raises WeightsRefused where it is not there whole."""
    file = file_of(folder, made)
    try:
        projection = _parsed(file.read_bytes())
    except (OSError, ValueError, KeyError, TypeError):
        projection = None
    if projection is None or projection.digest != made.weights_sha256:
        raise WeightsRefused(
            f"Expected the projection that made the vectors of {made.model}, as {file} has it. It is gone, or another "
            "one. The next run with this head learns it anew."
        )
    return projection


def _parsed(content: bytes) -> Projection:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(content)
    except SafetensorError as error:
        raise ValueError(error) from error
    told = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    parent = Provenance.model_validate_json(told["parent"])
    return Projection(tensors["mean"], tensors["axes"], parent, int(told["pictures"]))


def write_projection(folder: Path, made: Provenance, projection: Projection) -> None:
    """Keep the projection that makes a matrix, durably. Raises StoreError."""
    from safetensors.numpy import save

    told = {"parent": projection.parent.model_dump_json(), "pictures": str(projection.pictures)}
    make_folder_durably(folder / FOLDER)
    write_durably(file_of(folder, made), save({"mean": projection.mean, "axes": projection.axes}, told))


def remove_others(folder: Path, manifest: Manifest) -> None:
    """Remove the projections of matrices that the store has no more."""
    known = {file_of(folder, matrix.provenance) for matrix in manifest.matrices}
    for file in {*(folder / FOLDER).glob("*.*.safetensors")} - known:
        with suppress(OSError):
            file.unlink()


def file_of(folder: Path, made: Provenance) -> Path:
    """Where the projection of a matrix is kept."""
    return folder / FOLDER / f"{made.model}.{made.fingerprint[:16]}.safetensors"


def understands_words(made: Provenance) -> bool:
    """Whether words can be searched for in a matrix: its model has a text tower, or the one that it projects."""
    backend, _, _ = made.architecture.partition(" ")
    return has_text(made.model_copy(update={"backend": backend}) if made.backend == BACKEND else made)


class ProjectedEncoder:
    """Texts and pictures as vectors of a matrix that is a projection: by its parent's encoder, which `encode` gives,
    and then as its rows were made. Safe to use from many threads."""

    def __init__(self, folder: Path, made: Provenance, encode: Callable[[Provenance], LocalEncoder]) -> None:
        self._folder, self._made, self._encode = folder, made, encode

    @property
    def model(self) -> str:
        """The name of the head."""
        return self._made.model

    @property
    def context_length(self) -> int:
        """Tokens that a text can have, begin and end among them."""
        return self._parent.context_length

    @property
    def is_loaded(self) -> bool:
        """Whether the parent's model is in memory."""
        return "_parent" in self.__dict__ and self._parent.is_loaded

    def load(self) -> None:
        """Have the parent's model in memory. Raises WeightsRefused, and what fetching weights raises."""
        self._parent.load()

    def texts(self, texts: Sequence[str]) -> tuple[Float32, tuple[int, ...]]:
        """Vectors float32 (len(texts), components), and how many tokens of each text were cut off."""
        vectors, cut = self._parent.texts(texts)
        return self._projection(vectors), cut

    def picture(self, data: bytes) -> Float32:
        """The vector float32 (components,) of an image file's bytes. Raises ImageRejected."""
        vector: Float32 = self._projection(self._parent.picture(data)[None])[0]
        return vector

    @cached_property
    def _projection(self) -> Projection:
        return read_projection(self._folder, self._made)

    @cached_property
    def _parent(self) -> LocalEncoder:
        return self._encode(self._projection.parent)


LocalEncoder = QueryEncoder | ProjectedEncoder
"""What makes vectors of queries in this process."""
