"""The encoder of queries, built from what a matrix says made it, so that the two cannot mismatch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import NoTextTower, UnknownModel, WeightsRefused
from pixelmill.store.manifest import Provenance

if TYPE_CHECKING:
    from pixelmill.models.base import EmbeddingModel, ModelSpec, TextModel
    from pixelmill.models.weights import CachedFile
    from pixelmill.pipeline import Pipeline

Float32 = NDArray[np.float32]


class Weights(Protocol):
    """Where verified weights come from: a `WeightsCache`, or what makes one when it is asked."""

    def fetch_model(self, spec: ModelSpec) -> CachedFile:
        """The weights of a model and, beside them, its other files."""


class Encoder(Protocol):
    """What makes vectors of queries; see `QueryEncoder`."""

    @property
    def model(self) -> str:
        """The model's name."""

    @property
    def context_length(self) -> int:
        """Tokens that a text can have, begin and end among them."""

    def texts(self, texts: Sequence[str]) -> tuple[Float32, tuple[int, ...]]:
        """Raw embeddings float32 (len(texts), dim), and how many tokens of each text were cut off."""

    def picture(self, data: bytes) -> Float32:
        """The raw embedding float32 (dim,) of an image file's bytes."""


class Load(Protocol):
    """Loads a model, as `load_file` does; perhaps one that is kept."""

    def __call__(self, spec: ModelSpec, file: CachedFile, *, device: str, dtype: str) -> EmbeddingModel: ...


TEXT_BACKENDS = ("openai_clip", "open_clip")


def has_text(made: Provenance) -> bool:
    """Whether words can be searched for in what was made so."""
    return made.backend in TEXT_BACKENDS


class QueryEncoder:
    """Texts and pictures as vectors of the matrix that `made` describes. Safe to use from many threads.

    The model is loaded when first needed, in the precision of the matrix. Pictures are decoded as the matrix was made:
    same decode mode, orientation and background. Raises WeightsRefused when the weights that `find` leads to are not
    those that made the matrix, or the libraries preprocess otherwise than they did then.
    """

    def __init__(
        self, made: Provenance, find: Callable[[str], ModelSpec], cache: Weights, *, device: str = "cpu",
        load: Load | None = None,
    ) -> None:  # fmt: skip
        self._made, self._find, self._cache, self._device, self._load = made, find, cache, device, load
        self._lock = threading.Lock()

    @property
    def model(self) -> str:
        """The model's name."""
        return self._made.model

    @property
    def context_length(self) -> int:
        """Tokens that a text can have, begin and end among them."""
        return int(self._text_model().tokenize([""]).ids.shape[1])

    @property
    def is_loaded(self) -> bool:
        """Whether the model is in memory."""
        return "_model" in self.__dict__

    def load(self) -> None:
        """Have the model in memory. Raises WeightsRefused, and what fetching weights raises."""
        with self._lock:
            _ = self._model

    def texts(self, texts: Sequence[str]) -> tuple[Float32, tuple[int, ...]]:
        """Raw embeddings float32 (len(texts), dim), and how many tokens of each text were cut off.

        Raises NoTextTower where the model has none.
        """
        import torch

        model = self._text_model()
        with self._lock, torch.inference_mode():
            tokens = model.tokenize(texts)
            vectors: Float32 = model.encode_text(tokens.ids.to(model.device)).float().cpu().numpy()
        return vectors, tokens.cut

    def logit_scale(self) -> float:
        """What the model's authors multiply cosines of pictures and texts by before a softmax. Raises NoTextTower."""
        return self._text_model().logit_scale

    def picture(self, data: bytes) -> Float32:
        """The raw embedding float32 (dim,) of an image file's bytes. Raises ImageRejected."""
        with self._lock:
            return self._pipeline.embed_bytes(data)[self._made.fingerprint]

    @cached_property
    def _pipeline(self) -> Pipeline:
        from pixelmill.embedding.targets import Target
        from pixelmill.pipeline import Pipeline
        from pixelmill.provenance import decode_options_of

        made = self._made
        options = decode_options_of(made)
        return Pipeline([Target(self._model, made.fingerprint)], options, batch_size=1, threads=1)

    @cached_property
    def _model(self) -> EmbeddingModel:
        from pixelmill.models.load import load_file
        from pixelmill.provenance import still_makes

        made, spec = self._made, self._spec()
        file = self._cache.fetch_model(spec)
        found = (spec.backend, spec.architecture, file.sha256)
        if found != (made.backend, made.architecture, made.weights_sha256):
            raise WeightsRefused(
                f"Expected the weights that made the matrix of {made.model}: {made.backend} {made.architecture}, "
                f"sha256 {made.weights_sha256[:12]}. Found {spec.backend} {spec.architecture}, sha256 "
                f"{file.sha256[:12]} ({file.path}). Put the old weights back, or embed anew with `pixelmill run`."
            )
        model = (self._load or load_file)(spec, file, device=self._device, dtype=made.precision)
        if not still_makes(model, made):
            raise WeightsRefused(
                f"Expected {made.model} to preprocess as it did when its matrix was made. These versions of the "
                "libraries do not: install those that `pixelmill info --json` names, or embed anew."
            )
        return model

    def _spec(self) -> ModelSpec:
        """Where the matrix' model is to be had. Raises UnknownModel, with what is likely for a model of one's own."""
        made = self._made
        try:
            return self._find(made.model)
        except UnknownModel as error:
            raise UnknownModel(
                f"Expected {made.model} ({made.backend} {made.architecture}), which made the matrix that is searched, "
                "in the settings or the catalog. It is in neither. If it is a model of your own, name the settings "
                "file of its run: --config FILE, config= in Python, or PIXELMILL_CONFIG."
            ) from error

    def _text_model(self) -> TextModel:
        if not has_text(self._made):
            raise NoTextTower(f"Expected a model that understands words. {self._made.model} knows pictures only.")
        from pixelmill.models.base import TextModel

        with self._lock:
            model = self._model
        assert isinstance(model, TextModel)
        return model


def from_catalog(name: str) -> ModelSpec:
    """The model called `name` in the catalog. Raises UnknownModel."""
    from pixelmill import catalog

    return catalog.get(name)
