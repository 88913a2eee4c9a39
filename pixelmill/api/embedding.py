"""`pixelmill.embed`: pictures in, their vectors out, and nothing stored."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pixelmill.api.loaded import warm_model
from pixelmill.api.names import AnyPath, Model, Models, name_of, several
from pixelmill.api.pictures import Given, Pictures, given, unreadable
from pixelmill.api.settings import find_model, open_cache, settings_of
from pixelmill.catalog import DEFAULT_MODEL
from pixelmill.choices import Background, Decode, Frames, Precision, check_choice
from pixelmill.devices import resolve_device
from pixelmill.embedding.shard import Result
from pixelmill.embedding.targets import Target
from pixelmill.errors import EmbeddingFailed, ImageRejected, PixelmillError, SettingsError, StoreError
from pixelmill.images.decode import DecodeOptions
from pixelmill.models.base import EmbeddingModel, ModelSpec
from pixelmill.pipeline import Pipeline
from pixelmill.progress import download_bar
from pixelmill.sources.found import FoundFile
from pixelmill.store.weighting import weighting

if TYPE_CHECKING:
    from settings import Settings

Vectors: TypeAlias = NDArray[np.float32]
Errors: TypeAlias = Literal["raise", "nan"]


def embed(
    images: Pictures, model: Models = DEFAULT_MODEL, *, device: str | None = None, precision: Precision = "float32",
    decode: Decode = "fast", batch_size: int | None = None, threads: int | None = None,
    weights: Sequence[float] | None = None, normalize: bool = False, errors: Errors = "raise",
    exif_orientation: bool | None = None, background: Background | None = None, frames: Frames | None = None,
    config: AnyPath | None = None,
) -> Vectors:  # fmt: skip
    """The vectors of pictures, float32 (N, dim): row i is that of the i-th picture, also of one that is there twice.

    What a run stores of the same pictures, vector for vector but for rounding, if it has the same `precision` and
    `decode`; nothing is stored here, and nothing looked up. One picture is N = 1. No picture is an array (0, dim).

    images: Paths, addresses, bytes of image files, pictures of Pillow's, arrays uint8 (height, width, 3), with alpha
        (height, width, 4), grey (height, width), many (N, height, width, 3). Files are decoded in other processes.
    model: By name, or as `own_model` gives it. Of several, the vectors are side by side, in the order named.
    device: "auto" (the first GPU, else the CPU), "cpu", "gpu", "cuda" or "cuda:N". The model stays loaded there for the
        next call; `release_models` lets it go.
    precision: What the model computes in: "float32", "bfloat16", "float16". Nothing is measured.
    decode: "fast", or "reference" for upstream's own preprocessing.
    batch_size, threads: Images that a model takes at once, 32; how many read and decode.
    weights, normalize: Of several models, how much each counts, and whether each vector is at length 1 before.
    errors: "raise", or "nan": a picture that has no vector is a row of NaN and a warning that names it.
    exif_orientation, background, frames, config: As in `run`.

    Raises ImageRejected for a picture that is damaged and SourceError for one that cannot be read, both with its number
    and name; TypeError for what is no picture; UnknownModel, SettingsError, DeviceUnavailable, WeightsError.
    """
    for name, value, choices in (
        ("precision", precision, Precision), ("decode", decode, Decode), ("errors", errors, Errors)
    ):  # fmt: skip
        check_choice(name, value, choices)
    settings = settings_of(
        config, run={"device": device, "batch_size": batch_size, "threads": threads},
        images={"exif_orientation": exif_orientation, "background": background, "frames": frames},
    )  # fmt: skip
    pictures = {one: one.file for one in given(images)}
    chosen = _chosen(model)
    shares = _shares(weights, len(chosen))
    models = [_loaded(settings, one, precision) for one in chosen]
    made = _Made(_embedded(settings, pictures, models, settings.images.decode_options(decode)))
    problems = list(made.problems(pictures))
    if problems and errors == "raise":
        raise problems[0]
    for problem in problems:
        warnings.warn(str(problem), stacklevel=2)
    parts = [made.matrix(pictures.values(), str(number), one.spec.dim) for number, one in enumerate(models)]
    return _side_by_side(parts, shares, normalize=normalize)


def _chosen(models: Models) -> tuple[Model, ...]:
    chosen = several(models)
    names = [name_of(one) for one in chosen]
    if not chosen or len(set(names)) != len(names):
        raise SettingsError(f"Expected one or more models, each named once. Got {', '.join(names) or 'none'}.")
    return chosen


def _shares(weights: Sequence[float] | None, models: int) -> list[float]:
    """How much each of the models counts."""
    try:
        return weighting(weights, models)
    except StoreError as error:
        raise SettingsError(str(error)) from error


def _loaded(settings: Settings, model: Model, precision: Precision) -> EmbeddingModel:
    spec = model if isinstance(model, ModelSpec) else find_model(settings, model)
    own = settings.models.get(spec.name)
    device = resolve_device(own.device if own and own.device else settings.run.device)
    with download_bar(f"weights {spec.name}") as progress:
        file = open_cache(settings).fetch_model(spec, progress=progress)
    return warm_model(spec, file, device=device, dtype=precision)


def _embedded(
    settings: Settings, pictures: Mapping[Given, FoundFile], models: Sequence[EmbeddingModel], options: DecodeOptions
) -> Result:
    """What becomes of the pictures, each place once; a model's number is its key."""
    targets = [Target(model, str(number)) for number, model in enumerate(models)]
    keys = frozenset(target.fingerprint for target in targets)
    at = {file: one for one, file in pictures.items()}
    pipeline = Pipeline(
        targets, options, batch_size=settings.run.batch_size, threads=settings.run.threads,
        read=lambda file: at[file].read(options),
    )  # fmt: skip
    return pipeline.run(dict.fromkeys(pictures.values()), lambda _sha256: keys)


class _Made:
    """What became of files, by file: copies of one content share its vectors and its failure."""

    def __init__(self, result: Result) -> None:
        self._rows = rows = result.rows
        indices = {content.sha256: index for index, content in enumerate(rows.contents)}
        self._index = {content.file: index for index, content in enumerate(rows.contents)}
        self._index |= {file: indices[sha256] for file, sha256 in rows.copies}
        self._unread = dict(result.unread)
        self._refused = {failure.sha256 or failure.path: failure for failure in rows.failures}

    def problems(self, pictures: Mapping[Given, FoundFile]) -> Iterator[PixelmillError]:
        """Why pictures have no vector, in their order."""
        for one, file in pictures.items():
            if file in self._unread:
                yield unreadable(one, self._unread[file])
            elif failure := self._refused.get(self._content(file)):
                words = f"{one.name}: {failure.reason}"
                yield EmbeddingFailed(words) if failure.model else ImageRejected(failure.stage, words)

    def matrix(self, files: Collection[FoundFile], key: str, dim: int) -> Vectors:
        """The vectors of one model in the order of the files; NaN where there is none."""
        contents = len(self._rows.contents)
        made = np.full((contents + 1, dim), np.nan, np.float32)
        if key in self._rows.vectors:
            made[self._rows.vectors[key].index] = self._rows.vectors[key].values
        return made[[self._index.get(file, contents) for file in files]]

    def _content(self, file: FoundFile) -> bytes | str:
        """Its sha256, or its place if it was refused unread."""
        index = self._index.get(file)
        return file.absolute if index is None else self._rows.contents[index].sha256


def _side_by_side(parts: Sequence[Vectors], weights: Sequence[float], *, normalize: bool) -> Vectors:
    """As `Store.concatenated` has it."""
    for part, weight in zip(parts, weights, strict=True):
        if normalize:
            norms = np.linalg.norm(part, axis=1, keepdims=True)
            part /= np.where(norms == 0, 1, norms)
        part *= np.float32(weight)
    return parts[0] if len(parts) == 1 else np.hstack(parts)
